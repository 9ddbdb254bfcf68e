"""Attempts are a story that is only added to: written without looking up what they tell of.

Four lookups and row locks a call less. The hot tables are vacuumed early, so
that their indexes on what is due stay small.

Revision ID: 0003
Revises: 0002
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_FOREIGN_KEYS = (("call_row_id", "calls"), ("delivery_id", "deliveries"))
_HOT = ("calls", "deliveries")
_EARLY = (
    "autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.05, "
    "autovacuum_analyze_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0"
)


def upgrade() -> None:
    for column, _ in _FOREIGN_KEYS:
        op.drop_constraint(f"fk_attempts_{column}", "attempts", type_="foreignkey")
    for table in _HOT:
        op.execute(f"ALTER TABLE {table} SET ({_EARLY})")


def downgrade() -> None:
    names = ", ".join(setting.split(" = ")[0] for setting in _EARLY.split(", "))
    for table in _HOT:
        op.execute(f"ALTER TABLE {table} RESET ({names})")
    for column, table in _FOREIGN_KEYS:
        op.create_foreign_key(
            f"fk_attempts_{column}", "attempts", table, [column], ["id"], ondelete="CASCADE"
        )
