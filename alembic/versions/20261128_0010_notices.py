"""What the operator's webhook is told: the outbox, what was told, and a line for each death.

The triggers come last: they wait for the writes that are under way on `calls` and `deliveries`,
and hold up those that come then, for as long as the commit takes. They fire for the previous
version's statements as well.

Revision ID: 0010
Revises: 0009
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None
#: The oldest code that may run on this schema: docs/migrations.md.
runs_with = "0008"

_TIME = sa.DateTime(timezone=True)
_STATES = "state IN ('queued', 'sending', 'sent', 'dead')"


def upgrade() -> None:
    op.create_table(
        "notices",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("type", sa.String(32), nullable=False),
        sa.Column("subject", sa.String(200), nullable=False),
        sa.Column("body", postgresql.JSONB(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempts", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("due_at", _TIME, nullable=False),
        sa.Column("lease_token", sa.Uuid(), nullable=True),
        sa.Column("lease_until", _TIME, nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("sent_at", _TIME, nullable=True),
        sa.CheckConstraint(_STATES, name=op.f("ck_notices_state")),
        sa.CheckConstraint(
            "(state = 'sending') = (lease_token IS NOT NULL)", name=op.f("ck_notices_lease")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notices")),
    )
    op.create_index(
        "ix_notices_due", "notices", ["due_at"], postgresql_where=sa.text("state = 'queued'")
    )
    op.create_index(
        "ix_notices_leased",
        "notices",
        ["lease_until"],
        postgresql_where=sa.text("state = 'sending'"),
    )
    op.create_table(
        "notice_subjects",
        sa.Column("subject", sa.String(200), nullable=False),
        sa.Column("told", sa.String(32), nullable=True),
        sa.Column("told_at", _TIME, nullable=True),
        sa.Column("untold", postgresql.JSONB(), nullable=True),
        sa.Column("untold_since", _TIME, nullable=True),
        sa.PrimaryKeyConstraint("subject", name=op.f("pk_notice_subjects")),
    )
    op.create_index(
        "ix_notice_subjects_untold",
        "notice_subjects",
        ["subject"],
        postgresql_where=sa.text("untold IS NOT NULL"),
    )
    op.create_table(
        "deaths",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("scope", sa.String(128), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deaths")),
    )
    _create_triggers()


def _create_triggers() -> None:
    op.execute(
        """
        CREATE FUNCTION note_death() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
          INSERT INTO deaths (kind, scope, reason)
          VALUES (TG_ARGV[0], to_jsonb(NEW) ->> TG_ARGV[1], left(NEW.last_error, 500));
          RETURN NULL;
        END $$
        """
    )
    for table, kind, scope in (
        ("calls", "call", "workspace_id"),
        ("deliveries", "delivery", "destination_id"),
    ):
        op.execute(
            f"""
            CREATE TRIGGER note_death AFTER UPDATE OF state ON {table}
            FOR EACH ROW WHEN (NEW.state = 'dead' AND OLD.state <> 'dead')
            EXECUTE FUNCTION note_death('{kind}', '{scope}')
            """
        )


def downgrade() -> None:
    op.execute("DROP TRIGGER note_death ON calls")
    op.execute("DROP TRIGGER note_death ON deliveries")
    op.execute("DROP FUNCTION note_death()")
    op.drop_table("deaths")
    op.drop_table("notice_subjects")
    op.drop_table("notices")
