"""An access token is got once for all workers, and stands in nothing that is kept or logged."""

import threading
from dataclasses import replace
from datetime import datetime

import pytest
from structlog.testing import capture_logs

from aftercall.crm.connection import Connection
from aftercall.crm.description import descriptions
from aftercall.crm.sending import HookSender
from aftercall.domain.exchange import Exchange
from aftercall.flows.crm_tokens import Token, get_token
from aftercall.flows.look import show_call
from aftercall.http import Request
from aftercall.simulator.crms.fake import Trouble
from tests.crm_sync.conftest import Bench

pytestmark = pytest.mark.parametrize("vendor", ["salesforce", "zoho"], indirect=True)


def test_two_workers_without_a_token_ask_for_one(bench: Bench) -> None:
    id_ = bench.connect()
    connection = Connection(bench.vendor.fake.url, bench.vendor.credentials)
    sender = HookSender(guard=bench.service.guard(), keep=2)
    the_other_waits = threading.Event()
    got: list[object] = []

    def clock_of_the_other() -> datetime:
        the_other_waits.set()
        return bench.clock()

    def ask_slowly(request: Request) -> Exchange:
        other.start()
        assert the_other_waits.wait(10)
        return sender.ask(request)

    def get() -> None:
        got.append(
            get_token(
                replace(bench.service, clock=clock_of_the_other),
                id_,
                descriptions()[bench.vendor.kind],
                connection,
                refused=None,
                ask=sender.ask,
            )
        )

    other = threading.Thread(target=get)
    mine = get_token(
        bench.service,
        id_,
        descriptions()[bench.vendor.kind],
        connection,
        refused=None,
        ask=ask_slowly,
    )
    other.join(20)
    sender.close()
    (theirs,) = got
    assert isinstance(mine, Token)
    assert isinstance(theirs, Token)
    assert mine.value == theirs.value
    assert len(bench.vendor.fake.asked("token")) == 1


def test_secrets_and_tokens_are_in_no_log_attempt_or_error(bench: Bench) -> None:
    bench.connect()
    bench.vendor.fake.fail_next("find", Trouble.EXPIRED)
    bench.vendor.fake.fail_next("token", Trouble.SERVER_ERROR)
    with capture_logs() as logs:
        bench.go()
        bench.go_on()
    assert bench.states() == ["delivered"], bench.errors()
    story = show_call(bench.service, "call_9c4d7e12ab").model_dump_json()
    kept = f"{logs} {story} {bench.errors()}"
    for secret in (*bench.vendor.credentials.values(), "made-up-token", "made-up-access-token"):
        assert secret not in kept
