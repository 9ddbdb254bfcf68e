"""The spool's lock: whoever lost it goes on with nothing, and takes nobody else's away."""

import pytest

from aftercall.flows.errors import Conflict
from aftercall.flows.service import Service
from aftercall.flows.spool import drain_spool, rewrite_spool, spool_length, spool_webhook
from tests.flows.people import call_ids, webhook

LOCK = "aftercall:spool:lock"


def test_a_lock_that_somebody_else_has_by_now_is_left_to_them(service: Service) -> None:
    spool_webhook(service, webhook("c1"))

    def lose_it(body: bytes) -> bytes:
        service.redis.set(LOCK, "another's")
        return body

    rewrite_spool(service, lose_it)
    assert service.redis.get(LOCK) == "another's"
    assert drain_spool(service) == 0
    service.redis.delete(LOCK)
    assert drain_spool(service) == 1
    assert service.redis.get(LOCK) is None
    assert call_ids(service) == {"c1"}


def test_a_rewriter_that_lost_the_lock_stops_before_the_next_batch(service: Service) -> None:
    for number in range(201):
        spool_webhook(service, webhook(f"c{number}"))
    seen: list[bytes] = []

    def lose_it(body: bytes) -> bytes:
        service.redis.set(LOCK, "another's")
        seen.append(body)
        return body

    with pytest.raises(Conflict, match="took too long"):
        rewrite_spool(service, lose_it)
    assert len(seen) == 200
    assert spool_length(service) == 201
