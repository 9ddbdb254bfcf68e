"""Calls whose person was forgotten: what comes of them later is not taken.

A new, empty table: nothing waits for it, and the code before does not know it.

Revision ID: 0013
Revises: 0008
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0008"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "forgotten_calls",
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("forgotten_at", _TIME, nullable=False),
        sa.Column("arrivals", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("last_arrival_at", _TIME, nullable=True),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_forgotten_calls")),
    )


def downgrade() -> None:
    op.drop_table("forgotten_calls")
