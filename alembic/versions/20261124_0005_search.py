"""Finds calls and deliveries as people look for them, however many there are.

Partial where the hot path would otherwise pay at each step of a row: a call is
entered once, when it is saved, and a delivery once, when it is settled.

Revision ID: 0005
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_SETTLED = "state IN ('dead', 'held', 'delivered', 'skipped')"


def _phone(column: str) -> str:
    return f"reverse(translate({column}, '+-(). /', ''))"


def upgrade() -> None:
    # Concurrently: webhooks go on flowing.
    with op.get_context().autocommit_block():
        _create("calls", "received", ["received_at", "id"])
        _create("calls", "call_id_prefix", ["call_id"], ops={"call_id": "varchar_pattern_ops"})
        for column in ("callee_phone", "caller_phone"):
            op.execute(
                f"CREATE INDEX CONCURRENTLY IF NOT EXISTS ix_calls_{column} "
                f"ON calls (({_phone(column)}) text_pattern_ops) WHERE {column} IS NOT NULL"
            )
        _create("calls", "agent", ["agent_id"], where="agent_id IS NOT NULL")
        _create("calls", "answered", ["answered_call_id"], where="answered_call_id IS NOT NULL")
        _create(
            "calls",
            "rare_status",
            ["status"],
            where="status IS NOT NULL AND status NOT IN ('completed', 'not_connected')",
        )
        op.execute(
            "CREATE INDEX CONCURRENTLY IF NOT EXISTS ix_call_payloads_output "
            "ON call_payloads USING gin (output_parameters jsonb_path_ops)"
        )
        _create("deliveries", "settled", ["destination_id", "state", "id"], where=_SETTLED)
        _drop("calls", "call_id")
        _drop("deliveries", "stopped")


def downgrade() -> None:
    with op.get_context().autocommit_block():
        _create("calls", "call_id", ["call_id"])
        _create(
            "deliveries",
            "stopped",
            ["destination_id", "state"],
            where="state IN ('dead', 'held')",
        )
        _drop("deliveries", "settled")
        _drop("call_payloads", "output")
        for name in (
            "received",
            "call_id_prefix",
            "callee_phone",
            "caller_phone",
            "agent",
            "answered",
            "rare_status",
        ):
            _drop("calls", name)


def _create(
    table: str,
    name: str,
    columns: list[str],
    *,
    where: str | None = None,
    ops: dict[str, str] | None = None,
) -> None:
    op.create_index(
        f"ix_{table}_{name}",
        table,
        columns,
        postgresql_where=None if where is None else sa.text(where),
        postgresql_ops=ops or {},
        postgresql_concurrently=True,
        if_not_exists=True,
    )


def _drop(table: str, name: str) -> None:
    op.drop_index(
        f"ix_{table}_{name}", table_name=table, postgresql_concurrently=True, if_exists=True
    )
