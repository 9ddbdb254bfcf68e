"""Reconciliations: a workspace's calls at Twenty2, read for those that never came here.

Revision ID: 0009
Revises: 0008
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None
#: The oldest code that may run on this schema: docs/migrations.md.
runs_with = "0008"

_TIME = sa.DateTime(timezone=True)


def _small(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.SmallInteger(), server_default=sa.text("0"), nullable=False)


def _count(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), server_default=sa.text("0"), nullable=False)


def upgrade() -> None:
    op.create_table(
        "reconciliations",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("workspace_id", sa.String(128), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("since", _TIME, nullable=True),
        sa.Column("until", _TIME, nullable=True),
        sa.Column("position", postgresql.JSONB(), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("due_at", _TIME, nullable=False),
        _small("attempts"),
        _small("lapses"),
        sa.Column("lease_token", sa.Uuid(), nullable=True),
        sa.Column("lease_until", _TIME, nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        _count("pages"),
        _count("seen"),
        _count("known"),
        _count("missing"),
        _count("under_way"),
        _count("outside"),
        _count("unreadable"),
        sa.Column("total", sa.Integer(), nullable=True),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("finished_at", _TIME, nullable=True),
        sa.CheckConstraint("kind IN ('by_hand', 'periodic')", name=op.f("ck_reconciliations_kind")),
        sa.CheckConstraint(
            "state IN ('running', 'done', 'canceled', 'failed')",
            name=op.f("ck_reconciliations_state"),
        ),
        sa.CheckConstraint(
            "lease_token IS NULL OR state = 'running'", name=op.f("ck_reconciliations_lease")
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspaces.id"], name=op.f("fk_reconciliations_workspace_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reconciliations")),
    )
    op.create_index(
        "uq_reconciliations_running",
        "reconciliations",
        ["workspace_id"],
        unique=True,
        postgresql_where=sa.text("state = 'running'"),
    )
    op.create_index("ix_reconciliations_workspace", "reconciliations", ["workspace_id", "id"])


def downgrade() -> None:
    op.drop_table("reconciliations")
