"""The test webhook of the set-up goes on its way whatever becomes of its note."""

from dataclasses import replace
from unittest.mock import Mock

import pytest
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from aftercall.db.models import Role, Via
from aftercall.flows.audit import Actor
from aftercall.flows.service import Service
from aftercall.flows.set_up import send_test_webhook


def test_the_call_is_rung_for_before_the_audit_log_is_written(service: Service) -> None:
    doorbell = Mock()
    by = Actor(name=Role.ADMIN, via=Via.CONSOLE, address=None)
    with service.database.transaction() as session:
        session.execute(text("ALTER TABLE audit_entries RENAME TO audit_away"))
    try:
        with pytest.raises(SQLAlchemyError):
            send_test_webhook(replace(service, doorbell=doorbell), "call_1", by=by)
    finally:
        with service.database.transaction() as session:
            session.execute(text("ALTER TABLE audit_away RENAME TO audit_entries"))
    doorbell.ring_fetch.assert_called_once()
