"""One person, by their phone number: which calls are theirs, what is held, where it was sent.

The person is the other side of a call: the one who was called, or who called in. A number that
stands on our own side of calls is a line of the company, and no person. Changes nothing.
"""

import base64
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import phonenumbers

from aftercall.crm.phones import Number, read_number
from aftercall.db import everywhere
from aftercall.db import people as people_db
from aftercall.db.crm import steps_of
from aftercall.db.forgotten import Name
from aftercall.db.media import transcript_files
from aftercall.domain.traces import LEAST_DIGITS, Traces
from aftercall.flows.errors import Conflict, Invalid
from aftercall.flows.service import Service
from aftercall.flows.spool import REFUSED, STREAM
from aftercall.flows.views import (
    ElsewhereView,
    PersonRecordView,
    PersonView,
    PlaceView,
)
from aftercall.media_store import FOLDERS, MediaStore, MediaStoreError, NoSuchFile
from aftercall.person_mark import person_mark
from aftercall.twentytwo.inbound import Parties, person_and_own, read_parties

Tell = Callable[[str], None]

#: Of a company's own line so many are counted, and no more.
_ENOUGH = 1_000


def silent(_: str) -> None:
    """Tells nobody."""


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody, by their number."""

    number: Number = field(repr=False)
    traces: Traces = field(repr=False)
    #: For reports: see `person_mark`.
    mark: str

    @property
    def ending(self) -> str:
        return self.number.e164[-4:]

    def is_meant_by(self, said: str, *, region: str) -> bool:
        """Whether this spelling is their number; one that cannot be read, when it holds it."""
        read = read_number(said, region=region)
        return read.e164 == self.number.e164 if read else self.traces.holds(said)


@dataclass(frozen=True, slots=True)
class OwnCall:
    """A call of theirs."""

    id: int
    #: By which it may come back: as we ask for it, and as Twenty2 answers.
    names: tuple[Name, ...]


def read_person(service: Service, phone: str, *, region: str | None = None) -> Person:
    """Whom a number means, in any spelling. Invalid when it is none, or may be several."""
    with service.database.transaction() as session:
        known = people_db.regions(session)
    wanted = [region.upper()] if region else known or ["IN"]
    if region and wanted[0] not in phonenumbers.SUPPORTED_REGIONS:
        raise Invalid([("region", "It is no country: expected two letters as IN or AE")])
    found = {number for one in wanted if (number := read_number(phone, region=one))}
    if not found:
        raise Invalid([("phone", "It is no phone number: write it with its country, as +91…")])
    if len({number.e164 for number in found}) > 1:
        raise Invalid([("phone", "It is a number in several countries: write it as +91…")])
    number = min(found, key=lambda one: one.region)
    if len(number.national) < LEAST_DIGITS:
        raise Invalid([("phone", "It is too short to be one person's number")])
    code = number.e164.removeprefix("+").removesuffix(number.national)
    mark = person_mark(service.settings.require("secret_key"), number.e164)
    return Person(number, Traces(code, number.national), mark)


def find_own_calls(service: Service, person: Person) -> list[OwnCall]:
    """Their calls. Conflict when the number is a line of the company's own."""
    own: dict[int, OwnCall] = {}
    lines = untold = 0
    beside: set[str] = set()
    with service.database.engine.begin() as connection:
        people_db.without_time_limit(connection)
        found = people_db.candidates(
            connection, pattern=person.traces.pattern, raw_pattern=person.traces.raw_pattern
        )
        with closing(found):
            for one in found:
                parties = _parties_of(one)
                is_person = _is_one_of(person, parties.person, one.region)
                if is_person:
                    names = {one.call_id, one.answered_call_id or one.call_id}
                    own[one.id] = OwnCall(
                        one.id, tuple((one.workspace_id, name) for name in sorted(names))
                    )
                    if not parties.is_told:
                        untold += 1
                        beside |= _others(person, parties.person, one.region)
                        if len(beside) > 1:
                            break
                elif _is_one_of(person, parties.own, one.region):
                    lines += 1
                    if lines == _ENOUGH:
                        break
    if lines:
        counted = f"{lines:,} or more calls" if lines == _ENOUGH else f"{lines:,} of the calls"
        raise Conflict(
            f"The number that ends in {person.ending} is on the company's own side in {counted}: "
            "it is a line of yours and no person. Nothing was changed"
        )
    if len(beside) > 1:
        raise Conflict(
            f"The number that ends in {person.ending} stands beside several numbers in {untold:,} "
            "or more calls of which Twenty2 named no direction: as far as anybody can tell, "
            "it is a line of yours and no person. Nothing was changed"
        )
    return [own[id_] for id_ in sorted(own)]


def _parties_of(one: people_db.Candidate) -> Parties:
    if one.webhook is not None:
        return read_parties(one.webhook)
    return person_and_own(one.direction, callee=one.callee_phone, caller=one.caller_phone)


def _others(person: Person, said: Sequence[str], region: str) -> set[str]:
    """The numbers that are not theirs, each in one spelling."""
    others = (one for one in said if not person.is_meant_by(one, region=region))
    return {number.e164 if (number := read_number(one, region=region)) else one for one in others}


def _is_one_of(person: Person, said: Sequence[str], region: str) -> bool:
    return any(person.is_meant_by(one, region=region) for one in said)


# ---- what is held ------------------------------------------------------------


def show_person(
    service: Service, phone: str, *, region: str | None = None, tell: Tell = silent
) -> PersonView:
    """What is held of them, counted; where their number stands besides; where it was sent."""
    person = read_person(service, phone, region=region)
    tell("Looking for their calls…")
    ids = [call.id for call in find_own_calls(service, person)]
    with service.database.engine.begin() as connection:
        people_db.without_time_limit(connection)
        counts = people_db.count_own(connection, ids)
        span = people_db.span_of(connection, ids)
        under_way = people_db.count_under_way(connection, ids, now=service.clock())
        numberless = people_db.count_numberless(connection)
        known = people_db.known_rows(connection, person.number.e164)
    store = MediaStore(service.settings.media_root)
    with store_answers():
        files = sum(len(store.files_of(id_)) for id_ in ids)
    return PersonView(
        ending=person.ending,
        mark=person.mark,
        calls=len(ids),
        first_call_at=span.first_at,
        last_call_at=span.last_at,
        under_way=under_way,
        held={**counts, "crm_people": len(known)},
        files=files,
        spooled=sum(1 for body in spooled(service) if holds(person, body)),
        mentions=find_mentions(service, person, but_of_calls=ids, tell=tell),
        elsewhere=find_elsewhere(service, person, ids),
        calls_to_fetch=numberless,
    )


def find_mentions(
    service: Service,
    person: Person,
    *,
    but_of_calls: Sequence[int] | None = None,
    tell: Tell = silent,
) -> list[PlaceView]:
    """Where the number stands in the database: tables and columns, and how many rows.

    `but_of_calls`: in what is not theirs, when these are their calls.
    """
    counts: dict[tuple[str, str], int] = {}
    with service.database.engine.begin() as connection:
        people_db.without_time_limit(connection)
        for table in everywhere.read_tables(connection):
            tell(f"Looking through {table.name}…")
            for hit in everywhere.hits(
                connection, table, person.traces, but_of_calls=but_of_calls or ()
            ):
                for column in hit.values:
                    place = (table.name, column)
                    counts[place] = counts.get(place, 0) + 1
    return [
        PlaceView(where=table, column=column, count=count)
        for (table, column), count in sorted(counts.items())
        if not (but_of_calls is not None and table == "crm_people")
    ]


def holds(person: Person, body: bytes) -> bool:
    return person.traces.bytes_without(body) != body


def is_theirs(person: Person, body: bytes) -> bool:
    """Whether a webhook that nobody has stored yet is of a call of theirs."""
    return _is_one_of(person, read_parties(body).person, person.number.region)


def spooled(service: Service) -> Iterator[bytes]:
    """The webhooks that are kept in Redis, and those that were refused from there."""
    for stream in (STREAM, REFUSED):
        for _, fields in cast(list[Any], service.redis.xrange(stream)):
            yield base64.b64decode(fields["body"])


@contextmanager
def store_answers() -> Iterator[None]:
    """Conflict when the media store does not do what it is asked: then nothing is known."""
    try:
        yield
    except MediaStoreError as error:
        raise Conflict(
            f"{error}: what is in its files is not known, and nothing is proven. Try again when "
            "it answers"
        ) from None


@dataclass(frozen=True, slots=True)
class HeldFile:
    """A transcript with the number in it; or one that a row names and that is not there."""

    call_row_id: int
    path: str
    #: None: it is not there.
    body: bytes | None = field(repr=False)
    #: Whether a row names it: else it is of another revision, or of a turn that was broken off.
    is_named: bool


def held_files(
    service: Service, person: Person, call_row_ids: Sequence[int] | None = None
) -> Iterator[HeldFile]:
    """Transcripts' files: of these calls, or of all whose text is not whole in the database.
    Sound is not looked into. Conflict when the store does not answer.
    """
    store = MediaStore(service.settings.media_root)
    with service.database.engine.begin() as connection:
        people_db.without_time_limit(connection)
        named = dict(transcript_files(connection, call_row_ids))
    folder, listed = -1, list[str]()
    # A call after the other from one folder: it is listed once.
    for id_ in sorted({*named, *(call_row_ids or ())}, key=lambda one: (one % FOLDERS, one)):
        with store_answers():
            if id_ % FOLDERS != folder:
                folder = id_ % FOLDERS
                listed = store.paths(folder)
        beginning = f"{folder:03d}/{id_}-transcript-"
        paths = {path for path in listed if path.startswith(beginning)}
        if id_ in named:
            paths.add(named[id_])
        for path in sorted(paths):
            is_named = path == named.get(id_)
            body = _read(store, path)
            if (is_named and body is None) or (body is not None and holds(person, body)):
                yield HeldFile(id_, path, body, is_named)


def _read(store: MediaStore, path: str) -> bytes | None:
    with store_answers():
        try:
            return store.read(path)
        except NoSuchFile:
            return None


# ---- what others have --------------------------------------------------------


def find_elsewhere(service: Service, person: Person, ids: Sequence[int]) -> list[ElsewhereView]:
    """Who got something of theirs, by what it can be found there."""
    with service.database.engine.begin() as connection:
        sent = people_db.sent_rows(connection, ids)
        known = people_db.known_rows(connection, person.number.e164)
        steps = steps_of(connection, ids)
    found: dict[str, ElsewhereView] = {}

    def at(row: people_db.SentRow | people_db.KnownRow) -> ElsewhereView:
        id_ = str(row.destination_id)
        return found.setdefault(
            id_,
            ElsewhereView(
                destination_id=id_,
                destination=row.destination,
                kind=row.kind,
                delivered=[],
                perhaps=[],
                records=[],
            ),
        )

    for row in sent:
        view = at(row)
        (view.delivered if row.is_delivered else view.perhaps).append(str(row.delivery_id))
    records: dict[str, set[tuple[str, str]]] = {}
    for person_row in known:
        at(person_row)
        if person_row.remote_id:
            key = str(person_row.destination_id)
            records.setdefault(key, set()).add(("person", person_row.remote_id))
    for step in steps:
        if step.remote_id:
            kind = step.step.partition(":")[0]
            key = str(step.destination_id)
            records.setdefault(key, set()).add((kind, step.remote_id))
    for id_, pairs in records.items():
        if id_ in found:
            found[id_].records.extend(
                PersonRecordView(step=step, remote_id=remote_id)
                for step, remote_id in sorted(pairs)
            )
    return list(found.values())
