"""Counts by the half hour, replays of many deliveries, secrets that overlap.

Revision ID: 0006
Revises: 0005
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "activity_counts",
        sa.Column("at", _TIME, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("scope", sa.String(128), nullable=False),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("duration_bucket", sa.SmallInteger(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            "at",
            "kind",
            "scope",
            "outcome",
            "duration_bucket",
            name=op.f("pk_activity_counts"),
        ),
    )
    op.create_table(
        "activity_marks",
        sa.Column("name", sa.String(16), nullable=False),
        sa.Column("done_id", sa.BigInteger(), nullable=False),
        sa.Column("seen_id", sa.BigInteger(), nullable=False),
        sa.Column("seen_xid", sa.BigInteger(), nullable=False),
        sa.Column("seen_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_activity_marks")),
    )
    op.create_table(
        "replays",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("conditions", postgresql.JSONB(), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("done", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("after_id", sa.Uuid(), nullable=False),
        sa.Column("last_id", sa.Uuid(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("finished_at", _TIME, nullable=True),
        sa.CheckConstraint(
            "state IN ('running', 'done', 'canceled')", name=op.f("ck_replays_state")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_replays")),
    )
    op.create_index(
        "ix_replays_running", "replays", ["id"], postgresql_where=sa.text("state = 'running'")
    )
    op.add_column("destinations", sa.Column("old_secret_sealed", sa.Text(), nullable=True))
    op.add_column("destinations", sa.Column("old_secret_until", _TIME, nullable=True))


def downgrade() -> None:
    op.drop_column("destinations", "old_secret_until")
    op.drop_column("destinations", "old_secret_sealed")
    op.drop_table("replays")
    op.drop_table("activity_marks")
    op.drop_table("activity_counts")
