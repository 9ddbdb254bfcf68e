"""Makes, changes, tests and removes destinations, for the API and the CLI.

A disabled destination holds its deliveries; enabling it lets them go. Removing
it buries them where they can be seen. Nothing is dropped.
"""

import json
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import structlog
from pydantic import ValidationError
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from aftercall.crm.destination_spec import (
    MASK,
    DestinationSpec,
    changed_spec,
    missing_credentials,
    unreachable_reason,
)
from aftercall.crm.mapping import MappingError
from aftercall.crm.sending import HookSender, prepare
from aftercall.crm.signing import new_secret
from aftercall.crm.sync_settings import SyncSettings
from aftercall.db import crm as crm_db
from aftercall.db import deliveries as deliveries_db
from aftercall.db import destinations as destinations_db
from aftercall.db.attempts import excerpt
from aftercall.db.models import Destination
from aftercall.db.overview import count_undone
from aftercall.db.workspaces import get_workspace
from aftercall.domain.exchange import Answer
from aftercall.domain.ids import new_id
from aftercall.domain.outcomes import Dead, Retry, classify_delivery
from aftercall.domain.work import CALL_COMPLETED, WEBHOOK, ClaimedDelivery
from aftercall.flows.audit import Actor, changed_fields, record
from aftercall.flows.check_destination import check_destination
from aftercall.flows.errors import Conflict, Invalid, NotFound, invalid_from
from aftercall.flows.recording import attempt_outcome
from aftercall.flows.service import Service
from aftercall.flows.views import DestinationView, NewDestinationView, TestView
from aftercall.sealing import SealError

log = structlog.get_logger(__name__)

#: How long a receiver has to take the new secret over.
OVERLAP = timedelta(hours=24)

_FIELDS = (
    "name",
    "kind",
    "url",
    "workspace_id",
    "events",
    "filter",
    "mapping",
    "timeout_seconds",
    "max_in_flight",
    "rate_limit_per_second",
)


def read_spec(fields: Any) -> DestinationSpec:
    """Invalid, with every fault and its place, when it is not a good one."""
    try:
        return DestinationSpec.model_validate(fields)
    except ValidationError as error:
        raise invalid_from(error) from None


def list_destinations(service: Service) -> list[DestinationView]:
    with service.database.transaction() as session:
        undone = count_undone(session)
        return [
            _view(service, row, undone.get(row.id))
            for row in destinations_db.list_destinations(session)
        ]


def names_of_destinations(service: Service) -> list[tuple[uuid.UUID, str]]:
    """In the order in which they were made."""
    with service.database.transaction() as session:
        return [(row.id, row.name) for row in destinations_db.list_destinations(session)]


def show_destination(service: Service, destination_id: uuid.UUID) -> DestinationView:
    with service.database.transaction() as session:
        row = _get(session, destination_id)
        return _view(service, row, _undone(session, row))


def find_destination_id(service: Service, name_or_id: str) -> uuid.UUID:
    """By name, as people type it, or by id."""
    with service.database.transaction() as session:
        found = destinations_db.find_destination(session, name_or_id)
    if found is not None:
        return found.id
    try:
        return uuid.UUID(name_or_id)
    except ValueError:
        raise NotFound(f"There is no destination {name_or_id!r}") from None


def create_destination(
    service: Service, spec: DestinationSpec, *, by: Actor | None = None
) -> NewDestinationView:
    """With its secret, for the only time."""
    _check_credentials(spec)
    _check_reachable(service, spec)
    row, secret = _new_row(service, spec)
    try:
        with service.database.transaction() as session:
            _check_workspace(session, spec)
            session.add(row)
            session.flush()
            session.refresh(row)
            record(session, by, "destination.created", row.id, name=row.name)
            view = _view(service, row)
    except IntegrityError:
        raise Conflict(f"There is a destination named {spec.name!r} already") from None
    return NewDestinationView(**view.model_dump(), secret=secret)


def change_destination(
    service: Service,
    destination_id: uuid.UUID,
    change: dict[str, Any],
    *,
    by: Actor | None = None,
    action: str = "destination.changed",
) -> DestinationView:
    """`change`: the fields to set; the others stay. `action`: its name in the audit log."""
    now = service.clock()
    try:
        with service.database.transaction() as session:
            row = _get(session, destination_id, for_change=True)
            spec = _spec_after(service, row, change)
            if change.keys() & {"credentials", "kind"}:
                _check_credentials(spec)
            fields = changed_fields(_current(service, row), spec.model_dump())
            record(session, by, action, row.id, name=row.name, fields=fields)
            _check_workspace(session, spec)
            _check_account(session, row, spec)
            if spec.url != row.url:
                _check_reachable(service, spec)
            _write(service, session, row, spec, now=now)
            session.flush()
            session.refresh(row)
            return _view(service, row, _undone(session, row))
    except IntegrityError:
        raise Conflict(f"There is a destination named {change.get('name')!r} already") from None


def enable_destination(
    service: Service, destination_id: uuid.UUID, *, by: Actor | None = None
) -> DestinationView:
    return change_destination(
        service, destination_id, {"enabled": True}, by=by, action="destination.enabled"
    )


def disable_destination(
    service: Service, destination_id: uuid.UUID, *, by: Actor | None = None
) -> DestinationView:
    return change_destination(
        service, destination_id, {"enabled": False}, by=by, action="destination.disabled"
    )


def rotate_secret(
    service: Service,
    destination_id: uuid.UUID,
    *,
    overlap: timedelta = OVERLAP,
    by: Actor | None = None,
) -> NewDestinationView:
    """A new secret: attempts are signed with it, and for a while with the one before as well."""
    secret, now = new_secret(), service.clock()
    with service.database.transaction() as session:
        row = _get(session, destination_id, for_change=True)
        # One that no key opens any more would stop every delivery.
        before = row.secret_sealed if overlap and _open_secret(service, row) else None
        row.old_secret_sealed = before
        row.old_secret_until = now + overlap if before else None
        row.secret_sealed = service.sealer.seal(secret)
        session.flush()
        session.refresh(row)
        record(session, by, "destination.secret_rotated", destination_id)
        view = _view(service, row, _undone(session, row))
    return NewDestinationView(**view.model_dump(), secret=secret)


def remove_destination(
    service: Service, destination_id: uuid.UUID, *, by: Actor | None = None
) -> None:
    """Its history stays, without its secrets; what waited is dead."""
    with service.database.transaction() as session:
        row = _get(session, destination_id, for_change=True)
        record(session, by, "destination.removed", row.id, name=row.name)
        row.removed_at = service.clock()
        row.enabled = False
        row.headers_sealed = row.credentials_sealed = None
        row.old_secret_sealed = row.old_secret_until = None
        row.secret_sealed = service.sealer.seal(new_secret())
        session.flush()
        crm_db.drop_tokens(session, [destination_id])
        deliveries_db.follow_destinations(session, destination_id, now=service.clock())


@dataclass(frozen=True, slots=True)
class Applied:
    """What `apply` did to one destination."""

    name: str
    change: str
    #: Of one that was created without a secret of its own.
    secret: str | None


def apply_destinations(
    service: Service, specs: list[DestinationSpec], *, by: Actor | None = None
) -> list[Applied]:
    """Makes destinations be as the specs say, by name. Doing it again changes nothing."""
    names = [spec.name for spec in specs]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise Invalid([("name", f"{name!r} is there twice") for name in twice])
    for spec in specs:
        _check_credentials(spec)
        _check_reachable(service, spec)
    # All or nothing: a secret that was shown to nobody would be lost.
    with service.database.transaction() as session:
        return [_apply(service, session, spec, by=by) for spec in specs]


def _apply(
    service: Service, session: Session, spec: DestinationSpec, *, by: Actor | None
) -> Applied:
    _check_workspace(session, spec)
    row = destinations_db.find_destination(session, spec.name)
    if row is None:
        row, secret = _new_row(service, spec)
        session.add(row)
        session.flush()
        record(session, by, "destination.created", row.id, name=row.name)
        return Applied(spec.name, "created", None if spec.secret else secret)
    before = _current(service, row)
    wanted = {**before, **spec.model_dump(exclude={"secret", "enabled"})}
    # What the file does not speak of stays: a hook that was disabled is not enabled by a deploy.
    wanted |= spec.model_dump(include=spec.model_fields_set & {"secret", "enabled"})
    if wanted == before:
        return Applied(spec.name, "unchanged", None)
    _check_account(session, row, DestinationSpec.model_validate(wanted))
    _write(service, session, row, DestinationSpec.model_validate(wanted), now=service.clock())
    session.flush()
    fields = changed_fields(before, wanted)
    record(session, by, "destination.changed", row.id, name=row.name, fields=fields)
    return Applied(spec.name, "changed", None)


# ---- test --------------------------------------------------------------------

_SAMPLE_CALL = {
    "call_id": "call_test",
    "answered_call_id": "call_test",
    "agent_id": "agent_test",
    "status": "completed",
    "direction": "outbound",
    "callee_phone": "9999999999",
    "caller_phone": "8888888888",
    "duration_seconds": 94,
    "billed_duration_seconds": 94,
    "cost": {"amount": "15.67", "currency": "INR"},
    "started_at": "2024-12-25T10:00:00Z",
    "ended_at": "2024-12-25T10:01:34Z",
}


def test_destination(
    service: Service,
    destination_id: uuid.UUID,
    *,
    by: Actor | None = None,  # noqa: PT028 - it is no test of pytest's
) -> TestView:
    """Posts a made-up call, signed as a real one would be, and tells what the hook answered."""
    with service.database.transaction() as session:
        row = _get(session, destination_id)
        record(session, by, "destination.tested", row.id, name=row.name)
    if row.kind != WEBHOOK:
        return check_destination(service, row)
    claim = _sample_delivery(row, now=service.clock())
    try:
        post = prepare(claim, sealer=service.sealer, now=service.clock())
    except MappingError as error:
        return TestView(
            outcome="dead",
            status_code=None,
            duration_ms=0,
            reason=f"the mapping failed on the sample call: {error}",
            response_excerpt=None,
        )
    except SealError as error:
        return TestView(
            outcome="dead",
            status_code=None,
            duration_ms=0,
            reason=f"its secrets do not open: {error}",
            response_excerpt=None,
        )
    sender = HookSender(guard=service.guard())
    try:
        exchange = sender.post(post)
    finally:
        sender.close()
    outcome = classify_delivery(exchange, retry_after=None)
    answer = exchange if isinstance(exchange, Answer) else None
    return TestView(
        outcome=attempt_outcome(outcome, is_dead=False).value,
        status_code=answer.status if answer else None,
        duration_ms=int(exchange.elapsed / timedelta(milliseconds=1)),
        reason=outcome.reason if isinstance(outcome, Retry | Dead) else None,
        response_excerpt=excerpt(answer.body) if answer else None,
    )


def _sample_delivery(row: Destination, *, now: datetime) -> ClaimedDelivery:
    return ClaimedDelivery(
        id=new_id(),
        call_row_id=0,
        workspace_id=row.workspace_id or "workspace_test",
        call_id="call_test",
        destination_id=row.id,
        destination_name=row.name,
        lease_token=row.id,
        attempts=0,
        due_at=now,
        type=CALL_COMPLETED,
        created_at=now,
        url=row.url,
        mapping=row.mapping,
        headers_sealed=row.headers_sealed,
        secret_sealed=row.secret_sealed,
        timeout_seconds=row.timeout_seconds,
        failing_since=None,
        failures_in_a_row=0,
        old_secret_sealed=row.old_secret_sealed,
        old_secret_until=row.old_secret_until,
        call=_SAMPLE_CALL,
        input_parameters={"agentName": "Rohit"},
        output_parameters={
            "interested": "yes",
            "callback_requested": "yes",
            "callback_time": "Tomorrow 11am",
        },
        recording={
            "url": "https://example.com/recordings/call_test.mp3",
            "expires_at": "2025-01-25T10:01:34Z",
        },
        transcript=None,
    )


# ---- rows and specs ----------------------------------------------------------


def _new_row(service: Service, spec: DestinationSpec) -> tuple[Destination, str]:
    """The row, and its secret for the only time."""
    secret = spec.secret or new_secret()
    row = Destination(
        id=new_id(),
        headers_sealed=_seal_texts(service, spec.headers),
        secret_sealed=service.sealer.seal(secret),
        sync=_sync_of(spec),
        credentials_sealed=_seal_texts(service, spec.credentials),
        enabled=spec.enabled,
        disabled_reason=None if spec.enabled else "Disabled by hand",
        **{name: getattr(spec, name) for name in _FIELDS},
    )
    return row, secret


def _get(session: Session, id_: uuid.UUID, *, for_change: bool = False) -> Destination:
    row = destinations_db.get_destination(session, id_, for_change=for_change)
    if row is None:
        raise NotFound(f"There is no destination {id_}")
    return row


def _current(service: Service, row: Destination) -> dict[str, Any]:
    return {
        **{name: getattr(row, name) for name in _FIELDS},
        "enabled": row.enabled,
        "headers": _open_texts(service, row, row.headers_sealed),
        "secret": _open_secret(service, row),
        "sync": row.sync,
        "credentials": _open_texts(service, row, row.credentials_sealed),
    }


def _spec_after(service: Service, row: Destination, change: dict[str, Any]) -> DestinationSpec:
    current = _current(service, row)
    change = dict(change)
    for field in ("headers", "credentials"):
        if isinstance(change.get(field), dict):
            # A masked value that comes back is the value that it masks.
            kept = {name.lower(): value for name, value in current[field].items()}
            change[field] = {
                name: kept.get(str(name).lower(), value) if value == MASK else value
                for name, value in change[field].items()
            }
    if change.get("secret", "") is None:
        del change["secret"]
    try:
        return changed_spec(current, change)
    except ValidationError as error:
        raise invalid_from(error) from None


def _write(
    service: Service, session: Session, row: Destination, spec: DestinationSpec, *, now: datetime
) -> None:
    was_enabled, door = row.enabled, _door(row)
    if (spec.url, spec.kind) != (row.url, row.kind):
        crm_db.drop_tokens(session, [row.id])
    for name in _FIELDS:
        setattr(row, name, getattr(spec, name))
    # Those that no key opens any more read as none: to set none clears them.
    is_lost = row.headers_sealed is not None and not spec.headers
    if is_lost or spec.headers != _open_texts(service, row, row.headers_sealed):
        row.headers_sealed = _seal_texts(service, spec.headers)
    row.sync = _sync_of(spec)
    if spec.credentials != _open_texts(service, row, row.credentials_sealed):
        row.credentials_sealed = _seal_texts(service, spec.credentials)
        crm_db.drop_tokens(session, [row.id])
    if spec.secret and spec.secret != _open_secret(service, row):
        row.secret_sealed = service.sealer.seal(spec.secret)
        row.old_secret_sealed = row.old_secret_until = None
    row.enabled = spec.enabled
    if spec.enabled and not was_enabled:
        row.disabled_reason = None
        row.failing_since = None
        row.failures_in_a_row = 0
        row.paused_until = None
        session.flush()
        deliveries_db.follow_destinations(session, row.id, now=now)
    elif was_enabled and not spec.enabled:
        row.disabled_reason = "Disabled by hand"
        session.flush()
        deliveries_db.follow_destinations(session, row.id, now=now)
    elif spec.enabled and _door(row) != door:
        # Whoever corrects a key need not wait for what failed without it, up to a day each.
        row.paused_until = None
        session.flush()
        deliveries_db.hurry_deliveries(session, row.id, now=now)


def _door(row: Destination) -> tuple[str | None, ...]:
    """Where it is, and what opens it."""
    sealed = row.headers_sealed, row.credentials_sealed, row.secret_sealed
    return (row.kind, row.url, *sealed)


def _undone(session: Session, row: Destination) -> dict[str, int]:
    return count_undone(session, row.id).get(row.id, {})


def _view(
    service: Service, row: Destination, undone: dict[str, int] | None = None
) -> DestinationView:
    """`undone`: its deliveries that wait or are held; of a new one there are none."""
    undone = undone or {}
    headers = dict.fromkeys(_open_texts(service, row, row.headers_sealed), MASK)
    credentials = dict.fromkeys(_open_texts(service, row, row.credentials_sealed), MASK)
    return DestinationView(
        **{name: getattr(row, name) for name in _FIELDS},
        id=row.id,
        enabled=row.enabled,
        disabled_reason=row.disabled_reason,
        headers=headers,
        sync=row.sync,
        credentials=credentials,
        failing_since=row.failing_since,
        failures_in_a_row=row.failures_in_a_row,
        paused_until=row.paused_until,
        old_secret_until=row.old_secret_until
        if row.old_secret_until is not None and row.old_secret_until > service.clock()
        else None,
        waiting=undone.get("queued", 0),
        held=undone.get("held", 0),
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def _sync_of(spec: DestinationSpec) -> dict[str, Any] | None:
    if spec.kind == WEBHOOK:
        return None
    return (spec.sync or SyncSettings()).model_dump(mode="json")


def _open_texts(service: Service, row: Destination, sealed: str | None) -> dict[str, str]:
    """Headers or credentials. None are left when the key that sealed them is lost: they have
    to be set anew."""
    if sealed is None:
        return {}
    try:
        return dict(json.loads(service.sealer.open(sealed)))
    except SealError as error:
        log.warning("destination.unreadable", destination=row.name, why=str(error))
        return {}


def _open_secret(service: Service, row: Destination) -> str | None:
    """None when the key that sealed it is lost: it has to be rotated."""
    try:
        return service.sealer.open(row.secret_sealed)
    except SealError as error:
        log.warning("destination.unreadable", destination=row.name, why=str(error))
        return None


def _seal_texts(service: Service, texts: dict[str, str]) -> str | None:
    return service.sealer.seal(json.dumps(texts)) if texts else None


def _check_credentials(spec: DestinationSpec) -> None:
    if faults := missing_credentials(spec):
        raise Invalid(faults)


def _check_account(session: Session, row: Destination, spec: DestinationSpec) -> None:
    """The ids that the ledger has of people and calls are those of one account."""
    if row.kind == WEBHOOK and spec.kind == WEBHOOK:
        return
    is_another = spec.kind != row.kind or urlsplit(spec.url).netloc != urlsplit(row.url).netloc
    if is_another and row.kind != WEBHOOK and crm_db.has_written(session, row.id):
        raise Conflict(
            f"{row.name} has written into {row.kind} already, and what it remembers of people "
            "and calls there is not true elsewhere: make a new destination for the other account"
        )


def _check_reachable(service: Service, spec: DestinationSpec) -> None:
    reason = unreachable_reason(spec.url, service.guard())
    if reason is not None:
        raise Invalid([("url", reason)])


def _check_workspace(session: Session, spec: DestinationSpec) -> None:
    if spec.workspace_id is not None and get_workspace(session, spec.workspace_id) is None:
        raise Invalid(
            [("workspace_id", f"There is no workspace {spec.workspace_id}: add it first")]
        )
