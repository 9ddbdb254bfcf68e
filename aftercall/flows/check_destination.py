"""Asks a CRM whether a connection has all that it needs, and says what is missing in plain words.

Nothing is written there, and nobody's data is asked for.
"""

import uuid
from collections.abc import Callable
from datetime import timedelta

from aftercall.crm.answers import Bad, read_answer
from aftercall.crm.connection import Connection, api_of, as_request
from aftercall.crm.description import Check, Description, RequestTemplate, descriptions
from aftercall.crm.facts import options_of
from aftercall.crm.mapping import MappingError
from aftercall.crm.sending import HookSender
from aftercall.crm.sync import request_of
from aftercall.crm.sync_settings import SyncSettings
from aftercall.crm.templates import look
from aftercall.db.destinations import get_destination
from aftercall.db.models import Destination
from aftercall.domain.exchange import Answer, Exchange
from aftercall.domain.outcomes import Blocked, Dead, Retry
from aftercall.domain.work import WEBHOOK, Parameters
from aftercall.flows.crm_ports import open_credentials
from aftercall.flows.crm_tokens import Token, get_token
from aftercall.flows.errors import Conflict, NotFound
from aftercall.flows.service import Service
from aftercall.flows.views import CheckView, CrmFieldView, KindView, NeedView, TestView
from aftercall.http import Request, without_secrets
from aftercall.sealing import SealError

_TIMEOUT = timedelta(seconds=10)

Ask = Callable[[Request], Exchange]


class _Asker:
    """Asks one CRM, with its token."""

    def __init__(self, service: Service, row: Destination, ask: Ask) -> None:
        self.crm: Description = descriptions()[row.kind]
        self.settings = SyncSettings.model_validate(row.sync or {})
        self._service, self._row, self._ask = service, row, ask
        self._credentials = open_credentials(service, row.credentials_sealed)
        self.elapsed = timedelta()
        self.known: Parameters = {
            "object": {
                "key": self.settings.object or self.crm.default_object,
                **self.crm.objects[self.settings.object or self.crm.default_object],
            },
            "options": options_of(self.crm, self.settings),
            "mapped": [field.field for field in self.settings.fields],
        }

    def ask(self, template: RequestTemplate, *, doing: str) -> Exchange | Bad:
        token = self._token(refused=None)
        if isinstance(token, Bad):
            return token
        said = self._ask_with(token, template)
        reading = read_answer(said, self.crm, doing=doing, now=self._service.clock())
        if token is not None and isinstance(reading, Bad) and reading.is_unauthorized:
            # It may have ended earlier than was said: a delivery would get a new one, too.
            fresh = self._token(refused=token)
            return fresh if isinstance(fresh, Bad) else self._ask_with(fresh, template)
        return said

    def _token(self, *, refused: Token | None) -> Token | Bad | None:
        if self.crm.auth.oauth is None:
            return None
        connection = Connection(api_of(self.crm, self._row.url), self._credentials)
        return get_token(
            self._service, self._row.id, self.crm, connection, refused=refused, ask=self._ask
        )

    def _ask_with(self, token: Token | None, template: RequestTemplate) -> Exchange:
        connection = Connection(
            (token and token.api) or api_of(self.crm, self._row.url),
            self._credentials,
            token.value if token else None,
        )
        asked = request_of(template, self.known)
        exchange = self._ask(as_request(asked, connection, self.crm.auth, timeout=_TIMEOUT))
        self.elapsed += exchange.elapsed
        return without_secrets(exchange, connection.secrets)


def check_destination(service: Service, row: Destination) -> TestView:
    """Every check of its kind, and whether the mapped fields are there."""
    sender = HookSender(guard=service.guard())
    try:
        asker = _Asker(service, row, sender.ask)
        checks: list[CheckView] = []
        status = None
        for check in asker.crm.checks:
            view, status = _check(service, asker, check)
            checks.append(view)
            if not view.works:
                break
        else:
            checks += _field_checks(service, asker)
    except SealError as error:
        checks, status, elapsed = (
            [CheckView(what="Credentials", works=False, advice=str(error))],
            None,
            timedelta(),
        )
    else:
        elapsed = asker.elapsed
    finally:
        sender.close()
    wrong = [check for check in checks if not check.works]
    return TestView(
        outcome="dead" if wrong else "succeeded",
        status_code=status,
        duration_ms=int(elapsed / timedelta(milliseconds=1)),
        reason=f"{wrong[0].what}: no. {wrong[0].advice or ''}".strip() if wrong else None,
        response_excerpt=None,
        checks=checks,
    )


def _check(service: Service, asker: _Asker, check: Check) -> tuple[CheckView, int | None]:
    said = asker.ask(check, doing=check.what)
    if isinstance(said, Bad):
        return CheckView(what=check.what, works=False, advice=_reason(said)), None
    reading = read_answer(said, asker.crm, doing=check.what, now=service.clock())
    status = said.status if isinstance(said, Answer) else None
    otherwise = check.advice.get("otherwise")
    if isinstance(reading, Bad):
        advice = check.advice.get(status or 0) or otherwise or ""
        return (
            CheckView(
                what=check.what, works=False, advice=f"{advice} ({_reason(reading)})".strip()
            ),
            status,
        )
    works = check.expect is None or bool(_looked(check.expect, reading.json))
    return CheckView(what=check.what, works=works, advice=None if works else otherwise), status


def _looked(path: str, answer: object) -> object:
    try:
        found = look(path, answer)
    except MappingError:
        return None
    # An empty list is there, and may well be empty.
    return True if found == [] else found


def _field_checks(service: Service, asker: _Asker) -> list[CheckView]:
    if not asker.settings.fields or asker.crm.fields is None:
        return []
    there = _fields(service, asker)
    if isinstance(there, str):
        return [CheckView(what="The mapped fields are there", works=False, advice=there)]
    known = {field.field: field for field in there}
    checks = []
    for field in asker.settings.fields:
        found = known.get(field.field)
        advice = None
        if found is None:
            advice = f"{asker.crm.name} has no field {field.field}: make it there, or map another"
        elif found.read_only:
            advice = f"{field.field} cannot be written in {asker.crm.name}: map another"
        checks.append(CheckView(what=f"Field {field.field}", works=advice is None, advice=advice))
    return checks


def list_kinds() -> list[KindView]:
    """The CRMs that there are, and what each needs."""
    return [
        KindView(
            kind=one.kind,
            name=one.name,
            api=one.api,
            api_hint=one.api_hint,
            credentials=[NeedView.model_validate(need) for need in one.credentials],
            options=[NeedView.model_validate(need) for need in one.options],
            objects=list(one.objects),
        )
        for one in descriptions().values()
    ]


def list_crm_fields(service: Service, destination_id: uuid.UUID) -> list[CrmFieldView]:
    """What may be mapped, as the CRM has it. Conflict when it cannot be asked."""
    with service.database.transaction() as session:
        row = get_destination(session, destination_id)
    if row is None:
        raise NotFound(f"There is no destination {destination_id}")
    if row.kind == WEBHOOK:
        raise Conflict(f"{row.name} is a hook: it has no fields")
    sender = HookSender(guard=service.guard())
    try:
        asker = _Asker(service, row, sender.ask)
        found = _fields(service, asker) if asker.crm.fields is not None else []
    except SealError as error:
        raise Conflict(str(error)) from None
    finally:
        sender.close()
    if isinstance(found, str):
        raise Conflict(found)
    return found


def _fields(service: Service, asker: _Asker) -> list[CrmFieldView] | str:
    """Or why they cannot be listed."""
    assert asker.crm.fields is not None  # noqa: S101 - looked at by the callers
    said = asker.ask(asker.crm.fields, doing="list the fields")
    if isinstance(said, Bad):
        return _reason(said)
    reading = read_answer(said, asker.crm, doing="list the fields", now=service.clock())
    if isinstance(reading, Bad):
        return _reason(reading)
    found = look(asker.crm.fields.found, {"answer": reading.json, **asker.known}) or []
    return [
        CrmFieldView(
            field=str(one["field"]),
            label=str(one.get("label") or one["field"]),
            type=str(one.get("type") or ""),
            read_only=bool(one.get("read_only")),
            choices=[str(choice) for choice in one.get("choices") or []],
        )
        for one in found
        if one.get("field")
    ]


def _reason(bad: Bad) -> str:
    outcome = bad.outcome
    return outcome.reason if isinstance(outcome, Retry | Dead | Blocked) else "it was refused"
