"""Whose credentials, whose call, whose secret: never another's.

There is one webhook token and one admin token; what keeps workspaces and destinations apart is
that each request carries what belongs to its own row.
"""

import base64
from datetime import UTC, datetime

import pytest
from sqlalchemy import select
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from aftercall.crm.destination_spec import DestinationSpec
from aftercall.db.models import Call
from aftercall.db.session import Database
from aftercall.domain.states import CallState, DeliveryState
from aftercall.embedded import StoreUrls
from aftercall.flows.configure_destinations import create_destination
from aftercall.flows.configure_workspaces import WorkspaceSpec, set_workspace
from aftercall.flows.service import Service
from aftercall.simulator import SimulatedWorkspace, Simulator
from tests.api.server import Api
from tests.conftest import WORKSPACE, Clock, make_service, make_settings
from tests.door_out.test_headers import headers_of
from tests.flows.work import accept_rows, deliver, delivery_rows, fetch, queued_ids
from tests.raw_server import RawServer, always, answer

OTHER = SimulatedWorkspace(id="ws_other", api_key="key-2", api_secret="secret-2", rate_limit=6_000)
THIRD = SimulatedWorkspace(id="ws_third", api_key="key-3", api_secret="secret-3", rate_limit=6_000)


def set_credentials(service: Service, workspace: SimulatedWorkspace) -> None:
    keys = {"api_key": workspace.api_key, "api_secret": workspace.api_secret}
    set_workspace(service, workspace.id, WorkspaceSpec.model_validate(keys))


def rows(service: Service) -> dict[tuple[str, str], Call]:
    """By workspace and id."""
    with service.database.transaction() as session:
        return {(row.workspace_id, row.call_id): row for row in session.scalars(select(Call))}


def test_each_fetch_carries_the_credentials_of_its_own_workspace(
    database: Database, stores: StoreUrls, clock: Clock
) -> None:
    """All in one batch, and one id in all three."""
    with RawServer(always(answer(b"{}"))) as twentytwo:
        settings = make_settings(TWENTYTWO_BASE_URL=twentytwo.url("/api"))
        service = make_service(database, stores, settings, clock)
        asked_for: list[int] = []
        for workspace in (OTHER, THIRD):
            set_credentials(service, workspace)
        for workspace in (WORKSPACE, OTHER, THIRD):
            call_ids = ["call_shared", *(f"call_{workspace.id}_{n}" for n in range(5))]
            asked_for += accept_rows(service, call_ids, workspace_id=workspace.id)
        fetch(service, asked_for, size=4)
        service.redis.close()
        assert len(twentytwo.requests) == 18
    for request in twentytwo.requests:
        sent = headers_of(request)
        [workspace] = [
            each for each in (WORKSPACE, OTHER, THIRD) if each.id == sent["x-workspace-id"]
        ]
        scheme, _, pair = sent["authorization"].partition(" ")
        assert scheme == "Basic"
        assert base64.b64decode(pair).decode() == f"{workspace.api_key}:{workspace.api_secret}"
        target = request.split(b" ")[1].decode()
        assert target.endswith("=call_shared") or f"=call_{workspace.id}_" in target


def test_one_id_in_two_workspaces_is_two_calls_that_never_mix(
    service: Service, simulator: Simulator
) -> None:
    simulator.twentytwo.set_workspace(OTHER)
    set_credentials(service, OTHER)
    [first] = simulator.twentytwo.make_calls(1)
    told = simulator.twentytwo.call(first)
    # The simulator has one book of calls; an id of the other's is looked up, and refused, there.
    fetch(
        service,
        accept_rows(service, [first], workspace_id=WORKSPACE.id)
        + accept_rows(service, [first], workspace_id=OTHER.id),
    )
    found = rows(service)
    own, others = found[WORKSPACE.id, first], found[OTHER.id, first]
    assert own.state is CallState.FETCHED
    assert own.callee_phone == told.callee_phone
    assert others.state is CallState.QUEUED
    assert "404" in (others.last_error or "")
    assert others.callee_phone is None


def test_a_webhook_that_names_another_workspace_leaves_the_known_call_alone(
    api: Api, service: Service, clock: Clock, simulator: Simulator
) -> None:
    [call_id] = simulator.twentytwo.make_calls(1)
    api.webhook({"call_id": call_id})
    clock.now = datetime.now(UTC)
    fetch(service, [rows(service)[WORKSPACE.id, call_id].id])
    before = api.get(f"/calls/{call_id}", workspace_id=WORKSPACE.id)
    assert before["state"] == "fetched"
    for event in ("call.completed", "call.failed", "call.analyzed"):
        body = {
            "event": event,
            "event_id": f"evt_{event}",
            "workspace_id": OTHER.id,
            "call": {"call_id": call_id, "status": "failed", "workspace_id": OTHER.id},
        }
        assert api.webhook(body).json() == {
            "received": 1,
            "duplicates": 0,
        }
    assert api.get(f"/calls/{call_id}", workspace_id=WORKSPACE.id) == before
    assert set(rows(service)) == {(WORKSPACE.id, call_id), (OTHER.id, call_id)}
    # Nothing is asked in its name: the other has no credentials, and borrows none.
    requests = simulator.twentytwo.looks(call_id)
    clock.now = datetime.now(UTC)
    fetch(service, [rows(service)[OTHER.id, call_id].id])
    assert simulator.twentytwo.looks(call_id) == requests
    assert rows(service)[OTHER.id, call_id].state is CallState.QUEUED


def test_a_destination_of_one_workspace_hears_of_no_other(
    service: Service, simulator: Simulator
) -> None:
    simulator.twentytwo.set_workspace(OTHER)
    set_credentials(service, OTHER)
    [own] = simulator.twentytwo.make_calls(1)
    [others] = simulator.twentytwo.make_calls(1, workspace_id=OTHER.id)
    with RawServer(always(answer())) as hook:
        spec = DestinationSpec(name="other's", url=hook.url("/hook"), workspace_id=OTHER.id)
        create_destination(service, spec)
        fetch(
            service,
            accept_rows(service, [own]) + accept_rows(service, [others], workspace_id=OTHER.id),
        )
        deliver(service, queued_ids(service))
        [request] = hook.requests
    assert others.encode() in request
    assert own.encode() not in request


def test_each_delivery_is_signed_with_its_destinations_secret_and_bears_its_headers_alone(
    service: Service, simulator: Simulator
) -> None:
    names = [f"hook {number}" for number in range(4)]
    secrets: dict[str, str] = {}
    with RawServer(always(answer())) as hook:
        for number, name in enumerate(names):
            spec = DestinationSpec(
                name=name, url=hook.url(f"/{number}"), headers={"X-Key": f"key of {name}"}
            )
            secrets[f"/{number}"] = create_destination(service, spec).secret
        fetch(service, accept_rows(service, simulator.twentytwo.make_calls(3)))
        # Over connections that several share: what goes with one does not stay for the next.
        deliver(service, queued_ids(service), size=3)
        requests = list(hook.requests)
    assert {row.state for row in delivery_rows(service)} == {DeliveryState.DELIVERED}
    assert len(requests) == 12
    for request in requests:
        path = request.split(b" ")[1].decode()
        sent, body = headers_of(request), request.partition(b"\r\n\r\n")[2]
        assert sent["x-key"] == f"key of hook {path[1:]}"
        Webhook(secrets[path]).verify(body, sent)
        for other in set(secrets) - {path}:
            with pytest.raises(WebhookVerificationError):
                Webhook(secrets[other]).verify(body, sent)
