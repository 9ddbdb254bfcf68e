"""Looks after the stores in threads of their own, so that health is answered in time.

Each part has a thread that checks when it is asked. One that does not come back
from its check does not answer.
"""

import threading
import time
from collections.abc import Callable, Mapping

import redis
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from aftercall.db.schema import SchemaError, check_schema
from aftercall.flows.heartbeat import silence
from aftercall.flows.service import Service

#: A check that takes longer has hung.
PATIENCE = 2.0
OK = "ok"
SILENT = "does not answer (it hangs)"


class _Fault(Exception):
    """The message is for a person."""


class Probe:
    """One part, checked whenever somebody asks."""

    def __init__(self, name: str, check: Callable[[], None]) -> None:
        self._check = check
        self._asked = 0
        self._answered = 0
        self._outcome = OK
        self._is_stopped = False
        self._changed = threading.Condition()
        threading.Thread(target=self._run, name=f"probe-{name}", daemon=True).start()

    def ask(self) -> int:
        """Wants a check that begins after now; the ticket is for `outcome`."""
        with self._changed:
            self._asked += 1
            self._changed.notify_all()
            return self._asked

    def outcome(self, ticket: int, *, until: float) -> str:
        """`ok`, or what is wrong; that it hangs, when the check is not done by `until`."""
        with self._changed:
            is_done = self._changed.wait_for(
                lambda: self._answered >= ticket, max(until - time.monotonic(), 0)
            )
            return self._outcome if is_done else SILENT

    def stop(self) -> None:
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._asked > self._answered or self._is_stopped)
                if self._is_stopped:
                    return
                ticket = self._asked
            outcome = _outcome_of(self._check)
            with self._changed:
                self._outcome, self._answered = outcome, ticket
                self._changed.notify_all()


class Probes:
    """Every part that readiness is about."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._probes: Mapping[str, Probe] = {
            "database": Probe("database", self._check_database),
            "schema": Probe("schema", lambda: check_schema(service.database)),
            "redis": Probe("redis", self._check_redis),
            "work": Probe("work", self._check_work),
        }

    def outcomes(self) -> dict[str, str]:
        """All parts, checked side by side."""
        until = time.monotonic() + PATIENCE
        tickets = {name: probe.ask() for name, probe in self._probes.items()}
        return {
            name: probe.outcome(tickets[name], until=until) for name, probe in self._probes.items()
        }

    def is_up(self, name: str) -> bool:
        probe = self._probes[name]
        return probe.outcome(probe.ask(), until=time.monotonic() + PATIENCE) == OK

    def stop(self) -> None:
        for probe in self._probes.values():
            probe.stop()

    def _check_database(self) -> None:
        with self._service.database.engine.connect() as connection:
            connection.execute(text("SELECT 1"))

    def _check_redis(self) -> None:
        self._service.redis.ping()

    def _check_work(self) -> None:
        fault = silence(self._service)
        if fault is not None:
            raise _Fault(fault)


def _outcome_of(check: Callable[[], None]) -> str:
    try:
        check()
    except (SchemaError, _Fault) as error:
        return str(error)
    except (SQLAlchemyError, redis.RedisError, OSError) as error:
        return f"does not answer ({type(error).__name__})"
    return OK
