"""Calls whose person was forgotten: what comes of them later is not taken.

A new, empty table: nothing waits for it, and the code before does not know it.

Revision ID: 0012
Revises: 0011
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None
#: The oldest code that may run on this schema: docs/migrations.md.
runs_with = "0008"

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
