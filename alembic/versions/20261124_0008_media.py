"""Recordings and transcripts that are kept here, late looks at calls, call.updated.

Revision ID: 0008
Revises: 0007
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def _small(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.SmallInteger(), server_default=sa.text("0"), nullable=False)


def upgrade() -> None:
    # Until the version is noted, at the end, all of this may run again.
    op.add_column("calls", sa.Column("look_again_at", _TIME, nullable=True), if_not_exists=True)
    op.add_column("calls", _small("looks"), if_not_exists=True)
    # Concurrently: webhooks go on flowing.
    with op.get_context().autocommit_block():
        op.create_index(
            "ix_calls_look_again",
            "calls",
            ["workspace_id", "look_again_at"],
            postgresql_where=sa.text("look_again_at IS NOT NULL AND state = 'fetched'"),
            postgresql_concurrently=True,
            if_not_exists=True,
        )
    _create_media()
    op.create_table(
        "transcripts",
        sa.Column("call_row_id", sa.BigInteger(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("is_cut", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column(
            "words",
            postgresql.TSVECTOR(),
            sa.Computed("to_tsvector('simple'::regconfig, \"left\"(text, 200000))", persisted=True),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["call_row_id"],
            ["calls.id"],
            ondelete="CASCADE",
            name=op.f("fk_transcripts_call_row_id"),
        ),
        sa.PrimaryKeyConstraint("call_row_id", name=op.f("pk_transcripts")),
    )
    op.create_index("ix_transcripts_words", "transcripts", ["words"], postgresql_using="gin")
    # Who takes every call has had its later revisions until now, under the first one's type.
    op.execute(
        "UPDATE destinations SET events = events || ARRAY['call.updated'] "
        "WHERE events @> ARRAY['call.completed', 'call.failed']"
    )


def _create_media() -> None:
    op.create_table(
        "media",
        sa.Column("call_row_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("due_at", _TIME, nullable=False),
        _small("attempts"),
        _small("lapses"),
        _small("links_asked"),
        sa.Column("lease_token", sa.Uuid(), nullable=True),
        sa.Column("lease_until", _TIME, nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("source_url", sa.Text(), nullable=True),
        sa.Column("source_expires_at", _TIME, nullable=True),
        sa.Column("path", sa.Text(), nullable=True),
        sa.Column("size_bytes", sa.BigInteger(), nullable=True),
        sa.Column("sha256", sa.LargeBinary(), nullable=True),
        sa.Column("content_type", sa.Text(), nullable=True),
        sa.Column("stored_at", _TIME, nullable=True),
        sa.Column("link_version", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.CheckConstraint("kind IN ('recording', 'transcript')", name=op.f("ck_media_kind")),
        sa.CheckConstraint(
            "state IN ('queued', 'fetching', 'stored', 'dead')", name=op.f("ck_media_state")
        ),
        sa.CheckConstraint(
            "(state = 'fetching') = (lease_token IS NOT NULL)", name=op.f("ck_media_lease")
        ),
        sa.ForeignKeyConstraint(
            ["call_row_id"], ["calls.id"], ondelete="CASCADE", name=op.f("fk_media_call_row_id")
        ),
        sa.PrimaryKeyConstraint("call_row_id", "kind", name=op.f("pk_media")),
    )
    op.create_index(
        "ix_media_due", "media", ["due_at"], postgresql_where=sa.text("state = 'queued'")
    )
    op.create_index(
        "ix_media_leased", "media", ["lease_until"], postgresql_where=sa.text("state = 'fetching'")
    )


def downgrade() -> None:
    op.execute(
        "UPDATE destinations SET events = array_remove(events, 'call.updated') "
        "WHERE 'call.updated' = ANY(events)"
    )
    op.execute("UPDATE deliveries SET type = 'call.completed' WHERE type = 'call.updated'")
    op.drop_table("transcripts")
    op.drop_table("media")
    op.drop_index("ix_calls_look_again", "calls")
    op.drop_column("calls", "looks")
    op.drop_column("calls", "look_again_at")
