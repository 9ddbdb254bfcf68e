"""Finds the rows that have cost their worker twice, however many others wait.

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Concurrently: webhooks go on flowing.
    with op.get_context().autocommit_block():
        for table in ("calls", "deliveries"):
            op.create_index(
                f"ix_{table}_last_chance",
                table,
                ["due_at"],
                postgresql_where=sa.text("state = 'queued' AND lapses >= 2"),
                postgresql_concurrently=True,
                if_not_exists=True,
            )


def downgrade() -> None:
    with op.get_context().autocommit_block():
        for table in ("calls", "deliveries"):
            op.drop_index(f"ix_{table}_last_chance", table_name=table, postgresql_concurrently=True)
