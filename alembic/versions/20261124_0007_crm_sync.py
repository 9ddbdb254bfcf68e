"""CRMs: what is written there, the ledger of steps, people, tokens; a workspace's region and zone.

Revision ID: 0007
Revises: 0006
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column(
        "workspaces",
        sa.Column("region", sa.String(2), server_default=sa.text("'IN'"), nullable=False),
    )
    op.add_column(
        "workspaces",
        sa.Column(
            "time_zone", sa.String(64), server_default=sa.text("'Asia/Kolkata'"), nullable=False
        ),
    )
    op.add_column("destinations", sa.Column("sync", postgresql.JSONB(), nullable=True))
    op.add_column("destinations", sa.Column("credentials_sealed", sa.Text(), nullable=True))
    op.create_table(
        "crm_steps",
        sa.Column("call_row_id", sa.BigInteger(), nullable=False),
        sa.Column("destination_id", sa.Uuid(), nullable=False),
        sa.Column("step", sa.String(128), nullable=False),
        sa.Column(
            "state",
            sa.String(16),
            nullable=False,
        ),
        sa.Column("sent_at", _TIME, nullable=False),
        sa.Column("done_at", _TIME, nullable=True),
        sa.Column("remote_id", sa.Text(), nullable=True),
        sa.Column("content_hash", sa.LargeBinary(), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.CheckConstraint("state IN ('sent', 'done')", name=op.f("ck_crm_steps_state")),
        sa.ForeignKeyConstraint(
            ["call_row_id"],
            ["calls.id"],
            ondelete="CASCADE",
            name=op.f("fk_crm_steps_call_row_id"),
        ),
        sa.ForeignKeyConstraint(
            ["destination_id"], ["destinations.id"], name=op.f("fk_crm_steps_destination_id")
        ),
        sa.PrimaryKeyConstraint("call_row_id", "destination_id", "step", name=op.f("pk_crm_steps")),
    )
    op.create_table(
        "crm_people",
        sa.Column("destination_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.String(32), nullable=False),
        sa.Column("remote_id", sa.Text(), nullable=True),
        sa.Column("made_at", _TIME, nullable=True),
        sa.Column("lease_token", sa.Uuid(), nullable=True),
        sa.Column("lease_until", _TIME, nullable=True),
        sa.ForeignKeyConstraint(
            ["destination_id"], ["destinations.id"], name=op.f("fk_crm_people_destination_id")
        ),
        sa.PrimaryKeyConstraint("destination_id", "number", name=op.f("pk_crm_people")),
    )
    op.create_table(
        "crm_tokens",
        sa.Column("destination_id", sa.Uuid(), nullable=False),
        sa.Column("token_sealed", sa.Text(), nullable=True),
        sa.Column("expires_at", _TIME, nullable=True),
        sa.Column("lease_until", _TIME, nullable=True),
        sa.ForeignKeyConstraint(
            ["destination_id"], ["destinations.id"], name=op.f("fk_crm_tokens_destination_id")
        ),
        sa.PrimaryKeyConstraint("destination_id", name=op.f("pk_crm_tokens")),
    )


def downgrade() -> None:
    op.drop_table("crm_tokens")
    op.drop_table("crm_people")
    op.drop_table("crm_steps")
    op.drop_column("destinations", "credentials_sealed")
    op.drop_column("destinations", "sync")
    op.drop_column("workspaces", "time_zone")
    op.drop_column("workspaces", "region")
