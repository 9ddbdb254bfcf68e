"""Shows what a filter and a mapping make of past calls, before anything is saved or sent."""

import json
import re
import uuid
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any
from urllib.parse import urlsplit, urlunsplit

from pydantic import BaseModel, ConfigDict, Field

from aftercall.crm.description import descriptions
from aftercall.crm.destination_spec import MASK, WHOLE, EventType, Kind
from aftercall.crm.mapping import Fault, MappingError, fault_of, is_wanted, make_body, make_data
from aftercall.crm.plan import plan_of
from aftercall.crm.sync_settings import SyncSettings, faults_in
from aftercall.db.call_search import CallQuery, find_calls
from aftercall.db.delivery_search import DeliveryQuery, find_deliveries
from aftercall.db.models import Call, CallPayload, Destination, Workspace
from aftercall.db.reading import payload_of
from aftercall.db.workspaces import get_workspace, list_workspaces
from aftercall.domain.ids import new_id
from aftercall.domain.states import CallState
from aftercall.domain.work import EVENT_TYPES, WEBHOOK, ClaimedDelivery
from aftercall.flows.errors import Conflict, NotFound
from aftercall.flows.look import pick_call
from aftercall.flows.media_links import NO_LINKS, MediaLinks, media_links
from aftercall.flows.retention import nothing_to_send
from aftercall.flows.save_calls import event_type
from aftercall.flows.service import Service
from aftercall.flows.sync_calls import claim_facts
from aftercall.flows.views import (
    ExpressionFaultView,
    PlanView,
    PreviewCallView,
    PreviewView,
    RequestView,
)
from aftercall.sealing import SealError

#: What a receiver gets, without what only a sent attempt has.
_HEADERS = {
    "Content-Type": "application/json",
    "webhook-id": "(the delivery's id)",
    "Idempotency-Key": "(the delivery's id)",
    "webhook-timestamp": "(the time of the attempt)",
    "webhook-signature": "v1,(made with the secret)",
}


class PreviewSpec(BaseModel):
    """The fields of a destination that decide what is sent, and on which calls to try them."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "examples": [
                {
                    "filter": "output_parameters.interested == 'yes'",
                    "mapping": "{phone: call.callee_phone}",
                    "count": 3,
                }
            ]
        },
    )

    events: list[EventType] = list(EVENT_TYPES)  # type: ignore[arg-type]
    filter: Annotated[str, Field(max_length=20_000)] | None = None
    mapping: Annotated[str, Field(max_length=20_000)] | None = None
    call_id: Annotated[str, Field(pattern=r"^[^\x00]*$")] | None = Field(
        None, description="Try it on this call; null: on the newest"
    )
    workspace_id: Annotated[str, Field(pattern=r"^[^\x00]*$")] | None = None
    kind: Kind = WEBHOOK
    sync: SyncSettings | None = Field(None, description="Of a CRM")
    count: Annotated[int, Field(ge=1, le=20, strict=False), WHOLE] = 5


def preview_destination(service: Service, spec: PreviewSpec) -> PreviewView:
    """Faults with their place, or what the calls would give."""
    faults = find_faults(filter_=spec.filter, mapping=spec.mapping) + _crm_faults(spec)
    if faults:
        return PreviewView(faults=faults, calls=[])
    with service.database.transaction() as session:
        if spec.call_id is not None:
            found = [pick_call(session, spec.call_id, spec.workspace_id)]
        else:
            query = CallQuery(
                state=(CallState.FETCHED,), workspace_id=spec.workspace_id, limit=spec.count
            )
            found = find_calls(session, query)
        places = {row.id: row for row in list_workspaces(session)}
        links = media_links(service, session, [call.id for call, _ in found])
    if spec.call_id is not None and found[0][1] is None:
        if found[0][0].revision:
            raise Conflict(nothing_to_send(service.settings, f"call {spec.call_id}"))
        raise Conflict(f"Call {spec.call_id} is not saved yet: there is nothing to preview")
    return PreviewView(
        faults=[],
        calls=[
            _try(
                spec,
                call,
                payload,
                places.get(call.workspace_id),
                links=links.get(call.id, NO_LINKS),
                now=service.clock(),
            )
            for call, payload in found
            if payload is not None
        ],
        unmapped=_unmapped(spec, [payload for _, payload in found if payload is not None]),
        sources=_sources([payload for _, payload in found if payload is not None]),
    )


def _crm_faults(spec: PreviewSpec) -> list[ExpressionFaultView]:
    if spec.kind == WEBHOOK:
        return []
    found = faults_in(spec.sync or SyncSettings(), descriptions()[spec.kind])
    return [
        ExpressionFaultView(field=field, message=message, line=None, column=None, offset=None)
        for field, message in found
    ]


def _unmapped(spec: PreviewSpec, payloads: list[CallPayload]) -> list[str]:
    """What agents learned in these calls and no field takes: it can be mapped."""
    if spec.kind == WEBHOOK:
        return []
    sync = spec.sync or SyncSettings()
    sources = [field.source for field in sync.fields]
    if sync.follow_up is not None:
        sources += [sync.follow_up.time, sync.follow_up.wanted or ""]
    names = sorted({name for payload in payloads for name in payload.output_parameters})
    return [name for name in names if not any(_names_it(source, name) for source in sources)]


def source_of(place: str, name: str) -> str:
    """A parameter as a mapping names it: output_parameters.city; with a quote where it must."""
    plain = re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII)
    return f"{place}.{name}" if plain else f"{place}.{json.dumps(name, ensure_ascii=False)}"


def _sources(payloads: list[CallPayload]) -> list[str]:
    return sorted(
        {
            source_of(place, name)
            for payload in payloads
            for place in ("call", "input_parameters", "output_parameters")
            for name in getattr(payload, place) or {}
        }
    )


def _names_it(source: str, name: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", source) is not None


def find_faults(*, filter_: str | None, mapping: str | None) -> list[ExpressionFaultView]:
    """What is wrong with them, and where."""
    return [
        fault_view(field, expression, fault)
        for field, expression in (("filter", filter_), ("mapping", mapping))
        if expression and expression.strip() and (fault := fault_of(expression)) is not None
    ]


def show_request(service: Service, delivery_id: uuid.UUID) -> RequestView:
    """A delivery's request as it would be sent now; it is not kept as it was."""
    with service.database.transaction() as session:
        rows = find_deliveries(session, DeliveryQuery(id=delivery_id, limit=1))
        if not rows:
            raise NotFound(f"There is no delivery {delivery_id}")
        delivery, call, destination = rows[0]
        payload = payload_of(session, call.id, delivery.revision)
        workspace = get_workspace(session, call.workspace_id)
        links = media_links(service, session, [call.id])[call.id]
    if payload is None:
        raise NotFound(nothing_to_send(service.settings, f"delivery {delivery_id}"))
    claim = as_claim(
        call,
        payload,
        id_=delivery.id,
        type_=delivery.type,
        created_at=delivery.created_at,
        mapping=destination.mapping,
        links=links,
    )
    claim = replace(claim, destination_id=destination.id)
    if workspace is not None:
        claim = replace(claim, region=workspace.region, time_zone=workspace.time_zone)
    plan: PlanView | None = None
    if destination.kind == WEBHOOK:
        body, fault = _body(claim)
    else:
        sync = SyncSettings.model_validate(destination.sync or {})
        plan, fault = _plan(destination.kind, sync, claim)
        body = plan and plan.model_dump(mode="json")
    return RequestView(
        method="POST",
        url=without_query(destination.url),
        headers={
            **(_HEADERS if destination.kind == WEBHOOK else {}),
            **(_ids(delivery.id) if destination.kind == WEBHOOK else {}),
            **dict.fromkeys(_header_names(service, destination), MASK),
        },
        body=body,
        fault=fault,
    )


def _ids(delivery_id: uuid.UUID) -> dict[str, str]:
    return {"webhook-id": str(delivery_id), "Idempotency-Key": str(delivery_id)}


def as_claim(
    call: Call,
    payload: CallPayload,
    *,
    id_: uuid.UUID,
    type_: str,
    created_at: datetime,
    mapping: str | None,
    links: MediaLinks = NO_LINKS,
) -> ClaimedDelivery:
    """As a worker would have it, without what only sending needs."""
    return ClaimedDelivery(
        id=id_,
        call_row_id=call.id,
        workspace_id=call.workspace_id,
        call_id=call.call_id,
        destination_id=id_,
        destination_name="",
        lease_token=id_,
        attempts=0,
        due_at=created_at,
        type=type_,
        created_at=created_at,
        url="",
        mapping=mapping,
        headers_sealed=None,
        secret_sealed="",
        timeout_seconds=1,
        failing_since=None,
        failures_in_a_row=0,
        call=payload.call,
        input_parameters=payload.input_parameters,
        output_parameters=payload.output_parameters,
        recording=payload.recording,
        transcript=payload.transcript,
        recording_link=links.recording,
        transcript_link=links.transcript,
    )


def _try(
    spec: PreviewSpec,
    call: Call,
    payload: CallPayload,
    workspace: Workspace | None,
    *,
    links: MediaLinks,
    now: datetime,
) -> PreviewCallView:
    type_ = event_type(call.status or "")
    filter_ = spec.filter if spec.filter and spec.filter.strip() else None
    mapping = spec.mapping if spec.mapping and spec.mapping.strip() else None
    claim = as_claim(
        call, payload, id_=new_id(), type_=type_, created_at=now, mapping=mapping, links=links
    )
    plan: PlanView | None = None
    if spec.kind == WEBHOOK:
        body, fault = _body(claim)
    else:
        if workspace is not None:
            claim = replace(claim, region=workspace.region, time_zone=workspace.time_zone)
        body = None
        plan, fault = _plan(spec.kind, spec.sync, claim)
    reason = fault and f"The mapping fails on this call: {fault}"
    try:
        wanted = is_wanted(filter_, make_data(claim))
    except MappingError as error:
        wanted, reason = False, f"The filter fails on this call: {error}"
    else:
        if not wanted:
            reason = "The filter says no"
    if type_ not in spec.events:
        wanted, reason = False, f"{type_} is not among its events"
    return PreviewCallView(
        call_id=call.call_id,
        workspace_id=call.workspace_id,
        type=type_,
        is_wanted=wanted,
        reason=reason,
        body=body,
        headers=_HEADERS if spec.kind == WEBHOOK else {},
        plan=plan,
    )


def _plan(
    kind: str, sync: SyncSettings | None, claim: ClaimedDelivery
) -> tuple[PlanView | None, str | None]:
    """What the CRM would get, or why it cannot be made."""
    crm, settings = descriptions()[kind], sync or SyncSettings()
    try:
        plan = plan_of(
            crm, settings, claim_facts(claim, crm, settings, recording_link=claim.recording_link)
        )
    except MappingError as error:
        return None, str(error)
    return PlanView.model_validate(plan), None


def _body(claim: ClaimedDelivery) -> tuple[Any, str | None]:
    try:
        return json.loads(make_body(claim)), None
    except MappingError as error:
        return None, str(error)


def fault_view(field: str, expression: str, fault: Fault) -> ExpressionFaultView:
    line = column = None
    if fault.offset is not None:
        before = expression[: fault.offset]
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
    return ExpressionFaultView(
        field=field, message=fault.message, line=line, column=column, offset=fault.offset
    )


def without_query(url: str, mask: str = MASK) -> str:
    """Tokens stand in queries."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(query=mask if parts.query else ""))


def _header_names(service: Service, destination: Destination) -> list[str]:
    if destination.headers_sealed is None:
        return []
    try:
        return list(json.loads(service.sealer.open(destination.headers_sealed)))
    except SealError:
        return []
