"""The plain Celery recipe: one task a call, prefork, SQLAlchemy, requests, Redis."""

import sys
from collections.abc import Sequence

from bench.contestants.contestant import Contestant, Site

_APP = "bench.contestants.celery_plain.tasks"


class CeleryPlain(Contestant):
    """See `tasks.py`, which is all of it."""

    name = "celery_plain"
    what = "Celery, one task a call: prefork, a SQLAlchemy session and a requests.Session"

    waits_for_each_call = True

    def enqueue(self, site: Site, call_ids: Sequence[str]) -> None:
        from celery import Celery

        celery = Celery("calls", broker=site.stores.redis_url, set_as_current=False)
        with celery.connection_for_write() as connection, celery.amqp.Producer(connection) as out:
            for call_id in call_ids:
                celery.send_task("handle_call", args=[call_id], producer=out)

    def start_workers(self, site: Site, *, processes: int) -> None:
        command = [sys.executable, "-m", "celery", "-A", _APP, "worker"]
        options = ["--loglevel", "WARNING", "--concurrency", str(processes)]
        site.children.start("worker", [*command, *options], environment=site.environment())
