"""One call into one CRM: find the person, write the fields, log the call, make the task.

Each step that makes something happens once. The ledger knows what was sent and
what is done; a step in doubt (sent, and nobody knows) is settled by asking the
CRM first. Nothing here knows a database, a token or a limit: `Ports` does.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, Protocol

from aftercall.crm.answers import Bad, Good, Reading
from aftercall.crm.description import Description, Effect, Find, RequestTemplate
from aftercall.crm.facts import Facts, FieldValue
from aftercall.crm.phones import is_same
from aftercall.crm.sync_settings import SyncSettings
from aftercall.crm.templates import fill, fill_path, look
from aftercall.domain.outcomes import Blocked, Dead, DeliveryOutcome, Retry, Skipped, Succeeded
from aftercall.domain.work import Parameters

#: How long one whom we made is taken for there, although no search shows them.
REMEMBERED_FOR = timedelta(hours=1)

#: What a 404 to a question means. `fails`: a search that is not there has not said that there is
#: nobody. `is_none`: whoever was asked for is gone. `fails_if_all`: another list may still tell.
WhenMissing = Literal["fails", "is_none", "fails_if_all"]


@dataclass(frozen=True, slots=True)
class CrmRequest:
    """A request without what only the connection knows: address, token."""

    method: str
    path: str
    query: Mapping[str, str]
    body: Any
    encoding: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What the ledger says of a step."""

    sent_at: datetime
    is_done: bool
    remote_id: str | None
    content_hash: bytes | None


@dataclass(frozen=True, slots=True)
class Candidate:
    """Somebody whom the CRM found."""

    id: str
    #: What stands in their fields; None: that is not known.
    values: Parameters | None
    #: Of a sort of people of their own, where a search covers several.
    object: Parameters | None = None


class Ports(Protocol):
    """What the steps need of the world."""

    def ask(self, request: CrmRequest, *, doing: str) -> Reading:
        """One request, within the CRM's limits, with our token."""

    def step(self, name: str) -> Step | None:
        """What the ledger says."""

    def send(self, name: str) -> DeliveryOutcome | None:
        """Into the ledger: it goes out now. An outcome when it may not."""

    def finish(
        self, name: str, *, remote_id: str | None, content_hash: bytes | None, note: str | None
    ) -> None:
        """Into the ledger: it is done."""

    def forget(self, name: str) -> None:
        """Out of the ledger: it surely did not happen."""

    def remembered(self, *, since: datetime) -> str | None:
        """The person that we made there for this number lately."""

    def making_since(self) -> datetime | None:
        """When a person was sent for this number, by whichever call, and no answer came."""

    def begin_making(self) -> None:
        """A person goes out now."""

    def remember(self, remote_id: str | None) -> None:
        """We made them; None: they are not there any more."""

    def now(self) -> datetime: ...


class Sync:
    """The steps of one call at one CRM."""

    def __init__(
        self, description: Description, settings: SyncSettings, facts: Facts, ports: Ports
    ) -> None:
        self._crm, self._settings, self._facts, self._ports = description, settings, facts, ports
        self._known = facts.known

    def run(self) -> DeliveryOutcome:
        """As far as it gets. What is done stays done, and is not done again by the next run."""
        if self._facts.number is None:
            return Dead(
                "for review: there is no phone number in this call that could be somebody's"
            )
        people = self._people()
        if not isinstance(people, list):
            return people
        for person in people:
            if (outcome := self._write_fields(person)) is not None:
                return outcome
        known = {**self._known, "person": _person_known(people[0])}
        if people[0].object is not None:
            known["object"] = people[0].object
        known["people"] = [_person_known(person) for person in people]
        if self._settings.log_call:
            outcome = self._make_once("call", self._crm.call, known, doing="log the call")
            if outcome is not None:
                return outcome
        if self._facts.follow_up is not None:
            task = self._facts.follow_up
            note = None if task.due else f"for review: no certain time ({task.why_not})"
            outcome = self._make_once(
                "task", self._crm.task, known, doing="make the task", note=note
            )
            if outcome is not None:
                return outcome
        return Succeeded()

    # ---- the person --------------------------------------------------------

    def _people(self) -> list[Candidate] | DeliveryOutcome:
        """Whom the call is about: one; several only by the rule `all`."""
        step = self._ports.step("person")
        if step is not None and step.is_done and step.remote_id:
            return self._read_again(step.remote_id)
        found = self._find()
        if not isinstance(found, list):
            return found
        if not found:
            return self._nobody()
        chosen = self._choose(found)
        if not isinstance(chosen, list):
            return chosen
        # Only one is the call's own; `all` is decided anew each time.
        self._ports.finish("person", remote_id=chosen[0].id, content_hash=None, note=None)
        return self._with_values(chosen)

    def _read_again(self, id_: str) -> list[Candidate] | DeliveryOutcome:
        is_mixed = self._known["object"].get("is_mixed", False)
        if not self._needs_values() and not is_mixed and self._settings.when_many != "all":
            return [Candidate(id_, None, None)]
        found = self._find()
        if not isinstance(found, list):
            return found
        if self._settings.when_many == "all" and found:
            return self._with_values(sorted(found, key=lambda one: one.id != id_))
        known = [one for one in found if one.id == id_]
        return self._with_values(known or [Candidate(id_, None, None)])

    def _find(self) -> list[Candidate] | DeliveryOutcome:
        found = self._look_for(
            self._crm.person.find, self._known, doing="find the person", missing="fails"
        )
        if isinstance(found, Bad):
            return found.outcome
        if len(found) > 1 and self._crm.person.order is not None:
            known = {**self._known, "people": found}
            found = self._look_for(
                self._crm.person.order, known, doing="find the newest", missing="fails"
            )
            if isinstance(found, Bad):
                return found.outcome
        people = {}
        for one in found:
            candidate = _candidate(one)
            if candidate is not None and candidate.id not in people:
                people[candidate.id] = candidate
        return list(people.values())

    def _with_values(self, people: list[Candidate]) -> list[Candidate] | DeliveryOutcome:
        """With what stands in their fields, where that matters and can be read."""
        read = self._crm.person.read
        if read is None or not self._needs_values():
            return people
        full = []
        for person in people:
            if person.values is not None:
                full.append(person)
                continue
            known = {**self._known, "person": _person_known(person)}
            found = self._look_for(read, known, doing="read the person", missing="is_none")
            if isinstance(found, Bad):
                return found.outcome
            values = _candidate(found[0]) if found else None
            full.append(values or person)
        return full

    def _needs_values(self) -> bool:
        return any(field.mode != "overwrite" for field in self._facts.fields)

    def _nobody(self) -> list[Candidate] | DeliveryOutcome:
        remembered = self._ports.remembered(since=self._ports.now() - REMEMBERED_FOR)
        if remembered is not None:
            self._ports.finish("person", remote_id=remembered, content_hash=None, note=None)
            return self._with_values([Candidate(remembered, None, None)])
        if self._settings.when_none == "skip":
            return Skipped(
                f"{self._crm.name} knows nobody with this number, and the destination does not "
                "make new people"
            )
        # This call's doubt, or that of another call of the same person.
        since = self._ports.making_since()
        if since is not None and (outcome := self._let_settle(since)) is not None:
            return outcome
        return self._make_person()

    def _make_person(self) -> list[Candidate] | DeliveryOutcome:
        values = {field.field: field.value for field in self._facts.fields if _is_said(field)}
        known = {**self._known, **fields_known(values)}
        request = request_of(self._crm.person.make, known)
        if (outcome := self._ports.send("person")) is not None:
            return outcome
        self._ports.begin_making()
        reading = self._ports.ask(request, doing="make the person")
        if isinstance(reading, Bad):
            if reading.is_certain:
                self._ports.remember(None)
            return self._not_done("person", reading)
        id_ = _id_in(reading, self._crm.person.make.id)
        if id_ is None:
            return Retry(f"make the person: {self._crm.name} did not say their id")
        self._ports.remember(id_)
        self._ports.finish(
            "person", remote_id=id_, content_hash=None, note="was not there, and was made"
        )
        self._ports.finish(
            f"fields:{id_}", remote_id=id_, content_hash=self._fields_hash(), note=None
        )
        return [Candidate(id_, None, None)]

    def _choose(self, found: list[Candidate]) -> list[Candidate] | DeliveryOutcome:
        if len(found) == 1 or self._settings.when_many == "newest":
            # In the order in which the description has them: the newest activity first.
            return found[:1]
        if self._settings.when_many == "all":
            return found
        return Dead(
            f"for review: {len(found)} people in {self._crm.name} have this number: "
            "merge them there, or change the destination's rule, then replay"
        )

    # ---- the fields --------------------------------------------------------

    def _write_fields(self, person: Candidate) -> DeliveryOutcome | None:
        name = f"fields:{person.id}"
        step, wanted = self._ports.step(name), self._fields_hash()
        if step is not None and step.is_done and step.content_hash == wanted:
            return None
        unknown = self._unknown_fields(person)
        if unknown and self._is_too_new(person):
            return Blocked(
                f"{self._crm.name}'s search does not show yet whom we made: what stands in "
                f"{unknown[0]} is not known",
                timedelta(seconds=min(self._crm.settles_in, 30)),
            )
        values = values_to_write(self._facts.fields, person.values)
        if values:
            known = {**self._known, **fields_known(values), "person": _person_known(person)}
            if person.object is not None:
                known["object"] = person.object
            reading = self._ports.ask(
                request_of(self._crm.person.change, known), doing="write the fields"
            )
            if isinstance(reading, Bad):
                self._doubt_person(reading)
                return reading.outcome
        self._ports.finish(
            name, remote_id=person.id, content_hash=wanted, note=self._unwritten(unknown)
        )
        return None

    def _unknown_fields(self, person: Candidate) -> list[str]:
        """Those that are written only beside what stands there, and that is not known."""
        if person.values is not None:
            return []
        return [
            field.field
            for field in self._facts.fields
            if _is_said(field) and field.mode != "overwrite"
        ]

    def _is_too_new(self, person: Candidate) -> bool:
        since = self._ports.now() - timedelta(seconds=self._crm.settles_in)
        return self._ports.remembered(since=since) == person.id

    def _fields_hash(self) -> bytes:
        return _hash([[field.field, field.mode, field.value] for field in self._facts.fields])

    def _unwritten(self, unknown: list[str]) -> str | None:
        left = [f"{field}: what stands there could not be read" for field in unknown]
        left += [
            f"{field.field}: {field.why_not}"
            for field in self._facts.fields
            if field.value is None and field.why_not and "says nothing" not in field.why_not
        ]
        return f"for review: {'; '.join(left)}"[:1000] if left else None

    # ---- what is made once -------------------------------------------------

    def _make_once(
        self, name: str, effect: Effect, known: Parameters, *, doing: str, note: str | None = None
    ) -> DeliveryOutcome | None:
        request = request_of(effect.make, known)
        wanted, step = _hash(request.body), self._ports.step(name)
        if step is not None and step.is_done:
            return self._change(name, effect, known, step, wanted, doing=doing, note=note)
        if step is not None:
            if (outcome := self._let_settle(step.sent_at)) is not None:
                return outcome
            found = self._look_for(
                effect.find, known, doing=f"see whether to {doing}", missing="fails_if_all"
            )
            if isinstance(found, Bad):
                if found.is_missing:
                    self._look_anew()
                return found.outcome
            if found:
                id_ = str(found[0]["id"])
                self._ports.finish(name, remote_id=id_, content_hash=wanted, note=note)
                return None
        if (outcome := self._ports.send(name)) is not None:
            return outcome
        reading = self._ports.ask(request, doing=doing)
        if isinstance(reading, Bad):
            return self._not_done(name, reading)
        id_or_none = _id_in(reading, effect.make.id)
        if id_or_none is None:
            return Retry(f"{doing}: {self._crm.name} did not say the id")
        self._ports.finish(name, remote_id=id_or_none, content_hash=wanted, note=note)
        return None

    def _change(
        self,
        name: str,
        effect: Effect,
        known: Parameters,
        step: Step,
        wanted: bytes,
        *,
        doing: str,
        note: str | None,
    ) -> DeliveryOutcome | None:
        """The call has news: what stands there is told them, where that can be done."""
        if step.content_hash == wanted or effect.change is None:
            return None
        request = request_of(effect.change, {**known, "made": {"id": step.remote_id}})
        reading = self._ports.ask(request, doing=f"{doing} anew")
        if isinstance(reading, Bad):
            if not reading.is_missing:
                return reading.outcome
            note = "somebody has removed it there"
        self._ports.finish(name, remote_id=step.remote_id, content_hash=wanted, note=note)
        return None

    def _not_done(self, name: str, reading: Bad) -> DeliveryOutcome:
        if reading.is_certain:
            self._ports.forget(name)
        self._doubt_person(reading)
        return reading.outcome

    def _doubt_person(self, reading: Bad) -> None:
        """Gone, or perhaps gone where the CRM does not say so: a replay looks for them anew."""
        if reading.is_missing:
            self._look_anew()
        elif isinstance(reading.outcome, Dead):
            self._ports.forget("person")

    def _look_anew(self) -> None:
        """They were deleted or merged meanwhile: who they are is found out anew."""
        self._ports.forget("person")
        self._ports.remember(None)

    def _let_settle(self, sent_at: datetime) -> DeliveryOutcome | None:
        """In doubt: a search shows what was made only after a while."""
        left = sent_at + timedelta(seconds=self._crm.settles_in) - self._ports.now()
        if left > timedelta():
            return Blocked(
                f"an answer of {self._crm.name} never came: it is asked what it did once its "
                "search must show it",
                left,
            )
        return None

    def _look_for(
        self, find: Find, known: Parameters, *, doing: str, missing: WhenMissing
    ) -> list[Parameters] | Bad:
        gathered: dict[Any, Parameters] = {}
        not_there: Bad | None = None
        answers = 0
        for each in _rounds(find, known):
            known_now = {**known, "each": each}
            reading = self._ports.ask(request_of(find, known_now), doing=doing)
            if isinstance(reading, Bad):
                if not reading.is_missing or missing == "fails":
                    return reading
                not_there = reading
                continue
            answers += 1
            found = look(str(fill(find.found, known_now)), {"answer": reading.json, **known_now})
            if isinstance(found, dict):
                found = [found]
            if find.marked:
                found = [one for one in found or [] if str(known["marker"]) in json.dumps(one)]
            found = [one for one in found or [] if isinstance(one, dict) and one.get("id")]
            gathered |= {one["id"]: one for one in found if self._has_number(one)}
            if gathered and not find.every:
                break
        if not_there is not None and not answers and missing == "fails_if_all":
            return not_there
        return list(gathered.values())

    def _has_number(self, found: Parameters) -> bool:
        """Whether the call's number is among theirs, where the search finds others as well."""
        numbers, wanted = found.get("numbers"), self._facts.number
        if numbers is None or wanted is None:
            return True
        return any(is_same(wanted, str(one), region=wanted.region) for one in numbers if one)


def values_to_write(fields: tuple[FieldValue, ...], current: Parameters | None) -> Parameters:
    """By each field's mode, beside what stands there now; None: that is not known."""
    values: Parameters = {}
    for field in fields:
        if not _is_said(field) or (current is None and field.mode != "overwrite"):
            continue
        there = (current or {}).get(field.field)
        is_there = there is not None and there != "" and there != []
        match field.mode:
            case "overwrite":
                values[field.field] = field.value
            case "when_empty":
                if not is_there:
                    values[field.field] = field.value
            case _:
                line, above = _lines(field.value), _lines(there)
                if not is_there:
                    values[field.field] = line
                elif f"\n{line}\n" not in f"\n{above}\n":
                    values[field.field] = f"{above}\n{line}"
    return values


def _lines(value: Any) -> str:
    """As one CRM or another ends its lines."""
    return str(value).replace("\r\n", "\n").replace("\r", "\n").strip("\n")


def _is_said(field: FieldValue) -> bool:
    return field.value is not None


def _rounds(find: Find, known: Parameters) -> list[Any]:
    return [None] if find.for_each is None else list(look(find.for_each, known) or [])


def request_of(template: RequestTemplate, known: Parameters) -> CrmRequest:
    """A description's request, filled. A parameter that is null is left out."""
    query = {name: fill(value, known) for name, value in template.query.items()}
    return CrmRequest(
        method=template.method,
        path=fill_path(template.path, known),
        query={name: str(value) for name, value in query.items() if value is not None},
        body=fill(template.body, known),
        encoding=template.encoding,
    )


def fields_known(values: Parameters) -> Parameters:
    """The values to write, as templates know them: an object, and a list."""
    return {
        "fields": values,
        "field_list": [{"field": name, "value": value} for name, value in values.items()],
    }


def _person_known(person: Candidate) -> Parameters:
    return {"id": person.id, "values": person.values or {}}


def _candidate(found: Parameters) -> Candidate | None:
    if not found.get("id"):
        return None
    object_ = found.get("object")
    return Candidate(
        str(found["id"]),
        found.get("values"),
        object_ if isinstance(object_, dict) else None,
    )


def _id_in(reading: Good, path: str) -> str | None:
    found = look(path, reading.json)
    return None if found is None or found == "" else str(found)


def _hash(content: Any) -> bytes:
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).digest()
