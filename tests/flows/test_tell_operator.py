"""The operator's webhook is told once what a person should know, and again when it is over."""

import json
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, text
from standardwebhooks.webhooks import Webhook

from aftercall.crm.destination_spec import DestinationSpec
from aftercall.crm.sending import HookSender
from aftercall.crm.signing import new_secret
from aftercall.db.models import NoticeRow
from aftercall.db.session import Database
from aftercall.domain.notices import KEPT, QUIET, SHORT_BLOCK, NoticeState
from aftercall.domain.schedules import DELIVERY_ATTEMPTS, DELIVERY_JITTER, DELIVERY_WAITS
from aftercall.embedded import StoreUrls
from aftercall.flows.claim_calls import LEASE as FETCH_LEASE
from aftercall.flows.claim_calls import claim_with_permits
from aftercall.flows.configure_destinations import (
    create_destination,
    disable_destination,
    enable_destination,
    remove_destination,
)
from aftercall.flows.configure_workspaces import WorkspaceSpec, set_workspace
from aftercall.flows.errors import Conflict
from aftercall.flows.replay import replay_delivery
from aftercall.flows.service import Service
from aftercall.flows.sweep import sweep
from aftercall.flows.tell_operator import (
    LEASE,
    NoticeSender,
    list_notices,
    note_changes,
    send_test_notice,
    show_operator_hook,
)
from aftercall.simulator import Fault, Simulator
from tests.conftest import WORKSPACE, Clock, make_service, make_settings
from tests.flows.work import accept_rows, add_hook, deliver, delivery_rows, fetch, queued_ids
from tests.raw_server import Peer, RawServer, always, answer

SECRET = new_secret()
PUBLIC_URL = "https://calls.example.com"
KEY = "a-key-in-the-url"
PHONE = "9414077000"
Json = dict[str, Any]


class Ears:
    """The operator's webhook: answers 200 until it is told otherwise."""

    def __init__(self) -> None:
        self.answer = answer()
        self.server = RawServer(self._say)

    def _say(self, peer: Peer) -> None:
        for _ in peer.requests():
            peer.say(self.answer)

    @property
    def heard(self) -> list[tuple[dict[str, str], Json]]:
        """Headers and body of each request, the signature checked."""
        return [_verified(request) for request in self.server.requests]

    @property
    def bodies(self) -> list[Json]:
        return [body for _, body in self.heard]

    @property
    def told(self) -> list[str]:
        return [body["notice"] for body in self.bodies]


def _verified(request: bytes) -> tuple[dict[str, str], Json]:
    head, _, body = request.partition(b"\r\n\r\n")
    lines = [line.partition(": ") for line in head.decode().split("\r\n")[1:]]
    headers = {name.lower(): value for name, _, value in lines}
    # By hand: `verify` compares with a clock that the tests move.
    at = datetime.fromtimestamp(int(headers["webhook-timestamp"]), UTC)
    signature = Webhook(SECRET).sign(headers["webhook-id"], at, body.decode())
    assert headers["webhook-signature"] == signature
    assert headers["idempotency-key"] == headers["webhook-id"]
    assert headers["content-type"] == "application/json"
    found: Json = json.loads(body)
    return headers, found


@pytest.fixture
def ears() -> Iterator[Ears]:
    ears = Ears()
    with ears.server:
        yield ears


@pytest.fixture
def service(
    database: Database, stores: StoreUrls, clock: Clock, simulator: Simulator, ears: Ears
) -> Iterator[Service]:
    settings = make_settings(
        TWENTYTWO_BASE_URL=simulator.twentytwo.base_url,
        AFTERCALL_OPERATOR_WEBHOOK_URL=ears.server.url(f"/services/{KEY}"),
        AFTERCALL_OPERATOR_WEBHOOK_SECRET=SECRET,
        AFTERCALL_PUBLIC_URL=PUBLIC_URL,
    )
    service = make_service(database, stores, settings, clock)
    yield service
    service.redis.close()


def with_settings(service: Service, **settings: object) -> Service:
    """The same with other settings; without any of them nobody is to be told."""
    base_url = service.settings.twentytwo_base_url
    return replace(service, settings=make_settings(TWENTYTWO_BASE_URL=base_url, **settings))


def due(service: Service) -> int:
    with service.database.transaction() as session:
        found = session.execute(
            text("SELECT count(*) FROM notices WHERE state = 'queued' AND due_at <= :now"),
            {"now": service.clock()},
        )
        return int(found.scalar_one())


def send(service: Service) -> None:
    """One attempt at each notice that is due."""
    sender = HookSender(guard=service.guard())
    while due(service):
        notices = NoticeSender(service, sender)
        notices.send_due()
        assert notices.close(20)
    sender.close()


def tell(service: Service) -> None:
    """As a worker does with each sweep."""
    note_changes(service)
    send(service)


def rows(service: Service) -> list[NoticeRow]:
    """Oldest first."""
    with service.database.transaction() as session:
        return list(session.scalars(select(NoticeRow).order_by(NoticeRow.id)))


def block(service: Service, kind: str, until: timedelta, reason: str = "Twenty2 answered") -> None:
    with service.database.transaction() as session:
        session.execute(
            text(
                "UPDATE workspaces SET block_kind = :kind, blocked_until = :until, "
                "block_reason = :reason WHERE id = :id"
            ),
            {
                "kind": kind,
                "until": service.clock() + until,
                "reason": reason,
                "id": WORKSPACE.id,
            },
        )


@pytest.fixture
def refusing() -> Iterator[RawServer]:
    """A CRM that refuses every delivery for good, whatever the tests' clock says."""
    with RawServer(always(answer(status="422 Unprocessable Content"))) as server:
        yield server


def add_refusing(service: Service, server: RawServer, name: str = "leads") -> uuid.UUID:
    spec = DestinationSpec.model_validate({"name": name, "url": server.url("/")})
    return create_destination(service, spec).id


def kill_deliveries(service: Service, simulator: Simulator, count: int) -> None:
    """The deliveries of so many new calls die, if their destinations refuse them."""
    call_ids = simulator.twentytwo.make_calls(count, status="completed")
    fetch(service, accept_rows(service, call_ids))
    deliver(service, queued_ids(service))


# ---- workspaces and destinations ---------------------------------------------


def test_a_workspace_whose_credentials_are_refused_is_told_once_and_its_release_too(
    service: Service, simulator: Simulator, ears: Ears
) -> None:
    [call_id] = simulator.twentytwo.make_calls(1)
    simulator.twentytwo.fail_next(call_id, Fault.UNAUTHORIZED)
    fetch(service, accept_rows(service, [call_id]))
    tell(service)
    tell(service)
    [(headers, body)] = ears.heard
    [row] = rows(service)
    assert headers["webhook-id"] == str(row.id)
    assert body["notice"] == "workspace.blocked"
    assert body["data"]["workspace_id"] == WORKSPACE.id
    assert body["data"]["kind"] == "credentials"
    assert body["data"]["reason"] == "Twenty2 answered 401"
    assert body["data"]["url"] == f"{PUBLIC_URL}/workspaces/{WORKSPACE.id}"
    assert "Correct its API key and secret." in body["text"]
    spec = WorkspaceSpec.model_validate({"api_key": "new", "api_secret": "new"})
    set_workspace(service, WORKSPACE.id, spec)
    tell(service)
    assert ears.told == ["workspace.blocked", "workspace.released"]


def test_a_block_of_a_minute_by_the_rate_limit_is_not_told(
    service: Service, clock: Clock, ears: Ears
) -> None:
    accept_rows(service, ["c1"])
    block(service, "rate_limit", SHORT_BLOCK)
    tell(service)
    assert ears.told == []
    block(service, "rate_limit", SHORT_BLOCK + timedelta(minutes=1))
    tell(service)
    # Less is left of it than would be told, and it is not over.
    clock.now += timedelta(minutes=3)
    tell(service)
    assert ears.told == ["workspace.blocked"]
    clock.now += timedelta(minutes=4)
    tell(service)
    assert ears.told == ["workspace.blocked", "workspace.released"]


def test_a_workspace_that_is_blocked_and_released_all_the_time_is_told_now_and_then(
    service: Service, clock: Clock, ears: Ears
) -> None:
    accept_rows(service, ["c1"])
    for _ in range(10):
        block(service, "credentials", timedelta(minutes=3))
        tell(service)
        clock.now += timedelta(minutes=1)
        with service.database.transaction() as session:
            session.execute(text("UPDATE workspaces SET block_kind = NULL, blocked_until = NULL"))
        tell(service)
        clock.now += timedelta(minutes=2)
    # Half an hour: two pairs.
    assert ears.told == ["workspace.blocked", "workspace.released"] * 2


def test_a_destination_that_is_gone_is_told_and_that_it_is_enabled_again(
    service: Service, simulator: Simulator, ears: Ears
) -> None:
    destination_id = add_hook(service, simulator, "leads")
    simulator.crm.hook("leads").fail_next(Fault.GONE)
    [call_id] = simulator.twentytwo.make_calls(1, status="completed")
    fetch(service, accept_rows(service, [call_id]))
    deliver(service, queued_ids(service))
    tell(service)
    tell(service)
    [body] = ears.bodies
    assert body["notice"] == "destination.disabled"
    assert body["data"]["destination"] == "leads"
    assert body["data"]["reason"] == "The hook answered 410 (gone)"
    assert "destination leads is disabled" in body["text"]
    enable_destination(service, destination_id)
    tell(service)
    assert ears.told == ["destination.disabled", "destination.enabled"]


def test_a_destination_that_is_removed_is_no_news(
    service: Service, simulator: Simulator, ears: Ears
) -> None:
    destination_id = add_hook(service, simulator)
    disable_destination(service, destination_id)
    [call_id] = simulator.twentytwo.make_calls(1, status="completed")
    fetch(service, accept_rows(service, [call_id]))
    tell(service)
    remove_destination(service, destination_id)
    tell(service)
    tell(service)
    assert [row.state.value for row in delivery_rows(service)] == ["dead"]
    assert ears.told == ["destination.disabled"]
    with service.database.transaction() as session:
        assert session.execute(text("SELECT subject FROM notice_subjects")).all() == []


# ---- dead letters ------------------------------------------------------------


def test_the_first_dead_delivery_is_told_at_once_and_the_next_ones_together(
    service: Service, simulator: Simulator, refusing: RawServer, clock: Clock, ears: Ears
) -> None:
    destination_id = add_refusing(service, refusing)
    kill_deliveries(service, simulator, 1)
    tell(service)
    for _ in range(3):
        clock.now += timedelta(minutes=2)
        kill_deliveries(service, simulator, 2)
        tell(service)
    assert ears.told == ["dead_letters.grew"]
    clock.now += QUIET
    tell(service)
    tell(service)
    first, second = ears.bodies
    assert first["data"]["count"] == 1
    assert second["data"] == {
        "kind": "delivery",
        "destination_id": str(destination_id),
        "destination": "leads",
        "count": 6,
        "since": second["data"]["since"],
        "reasons": [{"reason": "the hook answered 422", "count": 6}],
        "url": f"{PUBLIC_URL}/deliveries?state=dead&destination_id={destination_id}",
        "runbook": "docs/runbook/dead-letters.md",
    }
    assert datetime.fromisoformat(second["data"]["since"]) == clock.now - QUIET - timedelta(
        minutes=4
    )


def test_each_destination_is_told_of_by_itself(
    service: Service, simulator: Simulator, refusing: RawServer, ears: Ears
) -> None:
    for name in ("first", "second"):
        add_refusing(service, refusing, name)
    kill_deliveries(service, simulator, 1)
    tell(service)
    assert sorted(body["data"]["destination"] for body in ears.bodies) == ["first", "second"]


def test_a_dead_call_is_told_without_what_twenty2_said_of_it(
    service: Service, simulator: Simulator, ears: Ears
) -> None:
    [row] = accept_rows(service, ["c1"])
    with service.database.transaction() as session:
        session.execute(
            text("UPDATE calls SET state = 'dead', last_error = :error WHERE id = :id"),
            {"id": row, "error": f"Twenty2 answered 400: no call of Asha Rao, {PHONE}"},
        )
    tell(service)
    [body] = ears.bodies
    assert body["data"]["kind"] == "call"
    assert body["data"]["workspace_id"] == WORKSPACE.id
    assert body["data"]["reasons"] == [{"reason": "Twenty2 answered 400", "count": 1}]
    kept = json.dumps([[row.body, row.last_error, row.subject] for row in rows(service)])
    assert "Asha" not in kept
    assert PHONE not in kept
    with service.database.transaction() as session:
        assert session.execute(text("SELECT count(*) FROM deaths")).scalar_one() == 0


def test_one_that_dies_again_after_a_replay_counts_again(
    service: Service, simulator: Simulator, refusing: RawServer, clock: Clock, ears: Ears
) -> None:
    add_refusing(service, refusing)
    kill_deliveries(service, simulator, 1)
    tell(service)
    clock.now += QUIET
    [row] = delivery_rows(service)
    replay_delivery(service, row.id)
    deliver(service, [row.id])
    tell(service)
    assert [body["data"]["count"] for body in ears.bodies] == [1, 1]


def test_a_call_that_killed_its_workers_is_told_by_the_sweep_that_buries_it(
    service: Service, clock: Clock, ears: Ears
) -> None:
    [row] = accept_rows(service, ["c1"])
    for alone in (False, False, True):
        assert len(claim_with_permits(service, [row], alone=alone)) == 1
        clock.now += FETCH_LEASE + timedelta(seconds=1)
        sweep(service, waiting_messages=lambda _: 0)
    send(service)
    [body] = ears.bodies
    assert "lost 3 times" in body["data"]["reasons"][0]["reason"]


def test_deaths_that_were_rolled_back_are_none(service: Service, ears: Ears) -> None:
    accept_rows(service, ["c1"])
    with service.database.engine.connect() as connection:
        connection.execute(text("UPDATE calls SET state = 'dead'"))
        connection.rollback()
    tell(service)
    assert ears.told == []


# ---- the outbox --------------------------------------------------------------


def test_a_notice_that_is_not_taken_goes_again_under_its_id_as_deliveries_do(
    service: Service, clock: Clock, ears: Ears
) -> None:
    accept_rows(service, ["c1"])
    block(service, "credentials", timedelta(minutes=3))
    ears.answer = answer(status="503 Service Unavailable")
    note_changes(service)
    for wait in DELIVERY_WAITS:
        before = clock.now
        send(service)
        [row] = rows(service)
        assert row.state == NoticeState.QUEUED
        assert abs((row.due_at - before) / wait - 1) <= DELIVERY_JITTER
        clock.now = row.due_at
    send(service)
    [row] = rows(service)
    assert row.state == NoticeState.DEAD
    assert row.attempts == DELIVERY_ATTEMPTS
    assert row.last_error == "gave up after 12 attempts: the hook answered 503"
    assert {headers["webhook-id"] for headers, _ in ears.heard} == {str(row.id)}
    assert len({request.partition(b"\r\n\r\n")[2] for request in ears.server.requests}) == 1


def test_what_is_due_goes_in_its_order_without_waiting_for_the_next_sweep(
    service: Service, simulator: Simulator, ears: Ears
) -> None:
    names = [f"hook-{number}" for number in range(5)]
    for name in names:
        disable_destination(service, add_hook(service, simulator, name))
    note_changes(service)
    sender = HookSender(guard=service.guard())
    notices = NoticeSender(service, sender)
    notices.send_due()
    give_up_at = time.monotonic() + 10
    while due(service):
        assert time.monotonic() < give_up_at
        time.sleep(0.01)
    assert notices.close(20)
    sender.close()
    assert [body["data"]["destination"] for body in ears.bodies] == names


def test_no_notice_overtakes_an_older_one_about_the_same(
    service: Service, clock: Clock, ears: Ears
) -> None:
    accept_rows(service, ["c1"])
    block(service, "credentials", timedelta(minutes=3))
    ears.answer = answer(status="500 Internal Server Error")
    tell(service)
    set_workspace(
        service, WORKSPACE.id, WorkspaceSpec.model_validate({"api_key": "new", "api_secret": "new"})
    )
    ears.answer = answer()
    note_changes(service)
    sender = HookSender(guard=service.guard())
    notices = NoticeSender(service, sender)
    notices.send_due()
    assert notices.close(20)
    blocked, released = rows(service)
    # The newer one is due, and waits.
    assert (blocked.state, released.state) == (NoticeState.QUEUED, NoticeState.QUEUED)
    assert released.due_at <= clock.now < blocked.due_at
    clock.now = blocked.due_at
    send(service)
    sender.close()
    assert ears.told == ["workspace.blocked", "workspace.blocked", "workspace.released"]


def test_a_notice_that_was_given_up_holds_up_none(service: Service, ears: Ears) -> None:
    accept_rows(service, ["c1"])
    block(service, "credentials", timedelta(minutes=3))
    ears.answer = answer(status="422 Unprocessable Content")
    tell(service)
    assert [row.state for row in rows(service)] == [NoticeState.DEAD]
    set_workspace(
        service, WORKSPACE.id, WorkspaceSpec.model_validate({"api_key": "new", "api_secret": "new"})
    )
    ears.answer = answer()
    tell(service)
    assert ears.told == ["workspace.blocked", "workspace.released"]


def test_a_notice_whose_worker_was_lost_goes_again(
    service: Service, clock: Clock, ears: Ears
) -> None:
    accept_rows(service, ["c1"])
    block(service, "credentials", timedelta(minutes=3))
    note_changes(service)
    with service.database.transaction() as session:
        session.execute(
            text(
                "UPDATE notices SET state = 'sending', lease_token = gen_random_uuid(), "
                "lease_until = :until"
            ),
            {"until": clock.now + LEASE},
        )
    tell(service)
    assert ears.told == []
    clock.now += LEASE + timedelta(seconds=1)
    tell(service)
    assert ears.told == ["workspace.blocked"]


def test_a_crash_before_the_commit_tells_it_later_and_under_one_id(
    service: Service, ears: Ears
) -> None:
    accept_rows(service, ["c1"])
    block(service, "credentials", timedelta(minutes=3))
    with service.database.transaction() as session:
        # What is written last fails: no table to note what was told.
        session.execute(text("ALTER TABLE notice_subjects ADD CONSTRAINT no CHECK (told IS NULL)"))
    with pytest.raises(Exception, match="notice_subjects"):
        note_changes(service)
    assert rows(service) == []
    with service.database.transaction() as session:
        session.execute(text("ALTER TABLE notice_subjects DROP CONSTRAINT no"))
    tell(service)
    assert ears.told == ["workspace.blocked"]


def test_two_sweeps_at_once_tell_it_once(service: Service, ears: Ears) -> None:
    accept_rows(service, ["c1"])
    block(service, "credentials", timedelta(minutes=3))
    with service.database.transaction() as session:
        # Another sweep is at it.
        session.execute(text("SELECT pg_advisory_xact_lock(7130151018120119)"))
        tell(service)
        assert rows(service) == []
    tell(service)
    assert ears.told == ["workspace.blocked"]


def test_a_private_address_is_refused_unless_it_is_allowed(service: Service, ears: Ears) -> None:
    accept_rows(service, ["c1"])
    block(service, "credentials", timedelta(minutes=3))
    strict = with_settings(
        service,
        AFTERCALL_OPERATOR_WEBHOOK_URL=ears.server.url("/"),
        AFTERCALL_OPERATOR_WEBHOOK_SECRET=SECRET,
        AFTERCALL_ALLOWED_PRIVATE_NETWORKS="",
    )
    tell(strict)
    assert ears.server.connections == 0
    [row] = rows(service)
    assert row.state == NoticeState.DEAD
    assert "AFTERCALL_ALLOWED_PRIVATE_NETWORKS" in (row.last_error or "")


def test_a_webhook_that_is_gone_is_not_asked_again(service: Service, ears: Ears) -> None:
    accept_rows(service, ["c1"])
    block(service, "credentials", timedelta(minutes=3))
    ears.answer = answer(status="410 Gone")
    tell(service)
    [row] = rows(service)
    assert row.state == NoticeState.DEAD
    assert "set another AFTERCALL_OPERATOR_WEBHOOK_URL" in (row.last_error or "")


def test_without_a_webhook_nothing_is_kept_to_be_told(
    service: Service, simulator: Simulator, refusing: RawServer, ears: Ears
) -> None:
    add_refusing(service, refusing)
    kill_deliveries(service, simulator, 1)
    block(service, "credentials", timedelta(minutes=3))
    tell(with_settings(service))
    with service.database.transaction() as session:
        assert session.execute(text("SELECT count(*) FROM deaths")).scalar_one() == 0
    assert rows(service) == []
    # Set later, it is told what is so then; the dead of before are in the console.
    tell(service)
    assert ears.told == ["workspace.blocked"]


def test_what_waits_when_the_webhook_is_taken_away_is_dead(service: Service, ears: Ears) -> None:
    accept_rows(service, ["c1"])
    block(service, "credentials", timedelta(minutes=3))
    note_changes(service)
    note_changes(with_settings(service))
    [row] = rows(service)
    assert (row.state, row.last_error) == (
        NoticeState.DEAD,
        "AFTERCALL_OPERATOR_WEBHOOK_URL is not set",
    )


def test_old_notices_are_not_kept(service: Service, clock: Clock) -> None:
    send_test_notice(service)
    clock.now += KEPT + timedelta(days=1)
    note_changes(service)
    assert rows(service) == []


# ---- by hand, and for those who look -----------------------------------------


def test_a_test_says_what_came_of_it_and_is_not_tried_again(
    service: Service, clock: Clock, ears: Ears
) -> None:
    assert send_test_notice(service).outcome == "succeeded"
    ears.answer = answer(b"no such channel", status="404 Not Found")
    failed = send_test_notice(service)
    assert (failed.outcome, failed.status_code) == ("retry", 404)
    assert failed.response_excerpt == "no such channel"
    assert ears.told == ["test", "test"]
    assert [row.state for row in rows(service)] == [NoticeState.SENT, NoticeState.DEAD]
    clock.now += timedelta(days=1)
    tell(service)
    assert ears.told == ["test", "test"]


def test_a_test_without_a_webhook_says_what_to_set(service: Service) -> None:
    with pytest.raises(Conflict, match="AFTERCALL_OPERATOR_WEBHOOK_URL"):
        send_test_notice(with_settings(service))


def test_whether_it_is_set_when_it_was_told_last_and_whether_it_fails(
    service: Service, ears: Ears
) -> None:
    nobody = show_operator_hook(with_settings(service))
    assert (nobody.is_set, nobody.last_told, nobody.failing) == (False, None, None)
    send_test_notice(service)
    ears.answer = answer(status="500 Oops")
    accept_rows(service, ["c1"])
    block(service, "credentials", timedelta(minutes=3))
    tell(service)
    view = show_operator_hook(service)
    assert view.is_set
    assert view.last_told is not None
    assert view.last_told.type == "test"
    assert view.failing is not None
    assert view.failing.last_error == "the hook answered 500"
    ears.answer = answer()
    send_test_notice(service)
    assert show_operator_hook(service).failing is None


def test_the_list_goes_page_by_page_newest_first(service: Service) -> None:
    for _ in range(3):
        send_test_notice(service)
    first = list_notices(service, limit=2)
    second = list_notices(service, limit=2, cursor=first.next_cursor)
    ids = [one.id for one in [*first.items, *second.items]]
    assert ids == [row.id for row in reversed(rows(service))]
    assert second.next_cursor is None


def test_neither_the_url_nor_the_secret_is_in_a_log_or_a_row(
    service: Service, ears: Ears, capfd: pytest.CaptureFixture[str]
) -> None:
    ears.answer = answer(b"no", status="500 Oops")
    send_test_notice(service)
    accept_rows(service, ["c1"])
    block(service, "credentials", timedelta(minutes=3))
    tell(service)
    said = "".join(capfd.readouterr())
    kept = json.dumps([[row.body, row.last_error] for row in rows(service)])
    assert "notice.attempted" in said
    for secret in (KEY, SECRET, SECRET.removeprefix("whsec_")):
        assert secret not in said
        assert secret not in kept
        assert secret not in repr(service.settings)
