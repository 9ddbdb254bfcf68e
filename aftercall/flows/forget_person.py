"""Forgets a person: what is theirs is deleted, what mentions them is redacted, and then proved.

The order matters. Their calls are written down as forgotten first, so that nothing brings them
back; transactions that could not see that are waited for; then workers are kept off and waited
for; files go before the rows that tell of them. Whatever is killed in between, doing it again
finds the rest.
"""

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import timedelta
from functools import partial

import redis
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from aftercall.db import everywhere
from aftercall.db import people as people_db
from aftercall.db.events import only_workspace
from aftercall.db.forgotten import Name, known_as_forgotten, note_forgotten
from aftercall.db.media import StoredFile, is_wanted, media_paths, replace_transcript
from aftercall.db.session import Database
from aftercall.flows.audit import Actor, note
from aftercall.flows.errors import Conflict
from aftercall.flows.people import (
    OwnCall,
    Person,
    Tell,
    find_elsewhere,
    find_mentions,
    find_own_calls,
    held_files,
    holds,
    is_theirs,
    read_person,
    silent,
    spooled,
    store_answers,
)
from aftercall.flows.service import Service
from aftercall.flows.spool import rewrite_spool
from aftercall.flows.views import ElsewhereView, ForgottenView, PlaceView
from aftercall.kept_logs import count_in_logs, redact_logs
from aftercall.media_store import MediaStore, MediaStoreError
from aftercall.settings import SettingsError
from aftercall.stores import direct_database_url
from aftercall.twentytwo.inbound import NoCallId, Notice, NotJson, read_notice

#: Calls a transaction: what one person has is nearly always one.
BATCH = 500
#: How long results of requests under way are waited for, in seconds.
PATIENCE = 60.0
_POLL = 0.2
#: Should we be killed: then they go on, unless it was done again by then.
_POSTPONED = timedelta(hours=1)
#: Rounds in a row that find no request under way.
_QUIET = 2
#: Calls of theirs that come in while we work make another round.
_ROUNDS = 5

Draft = Callable[[ForgottenView], None]


def _keep_no_draft(_: ForgottenView) -> None:
    """Nobody asked for a file."""


def forget_person(
    service: Service,
    phone: str,
    *,
    region: str | None = None,
    by: Actor | None = None,
    patience: float = PATIENCE,
    tell: Tell = silent,
    draft: Draft = _keep_no_draft,
) -> ForgottenView:
    """Erases and proves. `draft` gets what others have before anything is deleted.

    Conflict when the number is a line of the company's own, or a store does not answer.
    """
    person = read_person(service, phone, region=region)
    return _Forgetting(service, person, patience=patience, tell=tell, draft=draft).run(by)


class _Forgetting:
    def __init__(
        self, service: Service, person: Person, *, patience: float, tell: Tell, draft: Draft
    ) -> None:
        self._service, self._person, self._tell, self._draft = service, person, tell, draft
        self._patience = patience
        self._store = MediaStore(service.settings.media_root)
        self._elsewhere: dict[str, ElsewhereView] = {}
        self._erased: dict[str, int] = {}
        self._redacted: dict[tuple[str, str], int] = {}
        self._remarks: list[str] = []
        self._files = self._spooled = 0
        #: Files that rows named and that were not there; and of other people, where no text
        #: leads to them either.
        self._missing: list[str] = []
        self._not_looked_into: set[str] = set()
        #: Calls that an earlier turn was at: it may have removed their files.
        self._begun: frozenset[Name] = frozenset()
        #: Whether writers that did not see what is forgotten were waited for.
        self._is_written_down = False
        self._began_at = service.clock()

    def run(self, by: Actor | None) -> ForgottenView:
        # Of a line of our own nothing is touched, not even the spool.
        calls = find_own_calls(self._service, self._person)
        names = [name for call in calls for name in call.names]
        with self._service.database.statements() as connection:
            self._begun = known_as_forgotten(connection, names)
        self._empty_spool()
        for _ in range(_ROUNDS):
            calls = self._settle()
            self._note_elsewhere(calls)
            self._delete(calls)
            if not calls:
                break
        self._redact()
        self._clean_logs()
        self._vacuum()
        left = self._prove()
        self._remark_missing()
        view = self._view(left=left)
        note(
            self._service,
            by,
            "person.forgotten",
            self._person.mark,
            calls=self._erased.get("calls", 0),
            rows=sum(self._erased.values()),
            files=self._files,
            redacted=sum(self._redacted.values()),
            left=sum(place.count for place in view.left),
        )
        self._draft(view)
        return view

    # ---- what came while PostgreSQL was away -------------------------------------

    def _empty_spool(self) -> None:
        try:
            self._spooled = rewrite_spool(self._service, self._of_spool)
            if self._spooled:
                self._rewrite_redis()
        except redis.RedisError:
            raise Conflict(
                "Redis does not answer, and webhooks of theirs may be kept there: try again"
            ) from None

    def _of_spool(self, body: bytes) -> bytes | None:
        """Theirs: none of it, and it does not come back. Somebody else's: without the number."""
        if not holds(self._person, body):
            return body
        notice = _notice(body)
        if not is_theirs(self._person, body):
            left = self._person.traces.bytes_without(body)
            # In an id it stays, and is told: changed, it would be another call.
            return left if _notice(left) == notice else body
        if notice is None:
            return None
        workspace_id = notice.workspace_id or self._default_workspace()
        if workspace_id is not None:
            self._note([(workspace_id, call_id) for call_id in notice.call_ids])
        return None

    def _default_workspace(self) -> str | None:
        configured = self._service.settings.twentytwo_workspace_id
        if configured is not None:
            return configured
        with self._service.database.transaction() as session:
            return only_workspace(session)

    def _rewrite_redis(self) -> None:
        try:
            # Its append-only file has the entries until it is written anew.
            self._service.redis.bgrewriteaof()
        except redis.RedisError:
            self._remarks.append(
                "Redis has not been told to write its append-only file anew: what was kept there "
                "stays in the file until it does"
            )

    # ---- their calls -------------------------------------------------------------

    def _settle(self) -> list[OwnCall]:
        """Their calls, when nothing of them can come back and no worker is at them any more."""
        self._tell("Looking for their calls…")
        known: dict[int, OwnCall] = {}
        end = time.monotonic() + self._patience
        while True:
            found = find_own_calls(self._service, self._person)
            new = [call for call in found if call.id not in known]
            if not new and self._is_written_down:
                break
            known.update({call.id: call for call in new})
            self._note([name for call in new for name in call.names])
            # Also when only a kept webhook named a call: somebody may be storing that one.
            self._await_writers()
            self._is_written_down = True
            if new:
                self._await_workers(list(known), end=end)
        return list(known.values())

    def _note(self, names: Sequence[Name]) -> None:
        now = self._service.clock()
        self._service.database.run(lambda connection: note_forgotten(connection, names, now=now))

    def _await_writers(self) -> None:
        """Until every transaction has ended that did not see what is forgotten."""
        with self._service.database.statements() as connection:
            open_ = people_db.writers(connection)
            end = time.monotonic() + self._patience
            while open_ & people_db.writers(connection):
                if time.monotonic() > end:
                    raise Conflict(
                        "A transaction has been writing calls for a minute and does not end: "
                        "nothing was erased yet, try again"
                    )
                time.sleep(_POLL)

    def _await_workers(self, ids: Sequence[int], *, end: float) -> None:
        told, quiet = False, 0
        while True:
            now = self._service.clock()
            with self._service.database.engine.begin() as connection:
                people_db.postpone(connection, ids, until=now + _POSTPONED)
                count = people_db.count_under_way(connection, ids, now=now)
            # A fetch that ended between the two statements has made a delivery due: the next
            # round keeps it off, or finds it under way.
            quiet = 0 if count else quiet + 1
            if quiet == _QUIET:
                return
            if not count:
                continue
            if time.monotonic() > end:
                self._remarks.append(
                    f"{count} requests of theirs did not end in time: their results are not "
                    "written any more, but whether they arrived is not known"
                )
                return
            if not told:
                self._tell(f"Waiting for {count} requests that are under way…")
                told = True
            time.sleep(_POLL)

    def _note_elsewhere(self, calls: Sequence[OwnCall]) -> None:
        for view in find_elsewhere(self._service, self._person, [call.id for call in calls]):
            known = self._elsewhere.setdefault(view.destination_id, view)
            if known is not view:
                known.delivered.extend(view.delivered)
                known.perhaps.extend(view.perhaps)
                known.records.extend(one for one in view.records if one not in known.records)
        self._draft(self._view(left=[], is_complete=False))

    def _delete(self, calls: Sequence[OwnCall]) -> None:
        ids = [call.id for call in calls]
        for start in range(0, len(ids), BATCH):
            batch = ids[start : start + BATCH]
            self._tell(f"Erasing calls: {start + len(batch)} of {len(ids)}")
            self._note_missing(calls[start : start + BATCH])
            for id_ in batch:
                self._remove_files(id_)
            counts = self._service.database.run(partial(people_db.delete_calls, ids=batch))
            self._count(counts)
        number = self._person.number.e164
        known = self._service.database.run(
            lambda connection: people_db.delete_known(connection, number)
        )
        self._count({"crm_people": known})

    def _note_missing(self, calls: Sequence[OwnCall]) -> None:
        """Files that rows name and that are not here. Told, for the rows will be gone."""
        ids = [call.id for call in calls if self._begun.isdisjoint(call.names)]
        with self._service.database.statements() as connection:
            named = media_paths(connection, ids)
        with store_answers():
            self._missing += [
                path for row_id, path in named if path not in self._store.files_of(row_id)
            ]

    def _remove_files(self, call_row_id: int) -> None:
        try:
            for path in self._store.files_of(call_row_id):
                self._store.remove(path)
                self._files += 1
        except MediaStoreError as error:
            raise Conflict(f"{error}: the rest of the calls is as it was, try again") from None

    def _count(self, counts: dict[str, int]) -> None:
        for table, count in counts.items():
            self._erased[table] = self._erased.get(table, 0) + count

    # ---- what is not theirs ------------------------------------------------------

    def _redact(self) -> None:
        """The number, wherever it stands besides. A row of settings is left to its operator."""
        traces, database = self._person.traces, self._service.database
        with database.engine.connect() as reading:
            people_db.without_time_limit(reading)
            for table in everywhere.read_tables(reading):
                self._tell(f"Looking through {table.name}…")
                for hit in everywhere.hits(reading, table, traces):
                    if table.name == "transcripts":
                        # The file first: without it, the text would not lead there again.
                        self._redact_files([int(hit.key[0])])
                    for column in database.run(partial(everywhere.redact, hit=hit, traces=traces)):
                        place = (table.name, column)
                        self._redacted[place] = self._redacted.get(place, 0) + 1
        self._redact_files(None)

    def _redact_files(self, call_row_ids: Sequence[int] | None) -> None:
        for held in held_files(self._service, self._person, call_row_ids):
            if held.body is None:
                if call_row_ids is None:
                    self._not_looked_into.add(held.path)
                else:
                    # Its text has the number, and will not lead there again.
                    self._missing.append(held.path)
                continue
            if held.is_named:
                self._redact_file(held.call_row_id, held.path, held.body)
            # The row names another one now, or never named this one; or is about to.
            with self._service.database.statements() as connection:
                wanted = is_wanted(connection, held.call_row_id, held.path)
            if not wanted:
                with store_answers():
                    self._store.remove(held.path)

    def _redact_file(self, row_id: int, path: str, body: bytes) -> None:
        left = self._person.traces.bytes_without(body)
        with store_answers():
            new = self._store.put(row_id, "transcript", left)
        file = StoredFile(
            path=new,
            size_bytes=len(left),
            sha256=hashlib.sha256(left).digest(),
            content_type="text/plain",
        )
        with self._service.database.transaction() as session:
            is_ours = replace_transcript(session, row_id, path, file=file)
        if is_ours:
            place = ("media store", "transcript")
            self._redacted[place] = self._redacted.get(place, 0) + 1

    def _clean_logs(self) -> None:
        cleaned = redact_logs(self._service.settings.data_dir, self._person.traces)
        if cleaned:
            self._redacted[("logs", "")] = cleaned

    def _vacuum(self) -> None:
        touched = {table for table, count in self._erased.items() if count}
        touched |= {table for table, _ in self._redacted} & set(people_db.OWN_ROWS)
        touched |= {one.table for one in self._statistics()}
        if not touched:
            return
        self._tell("Vacuuming…")
        try:
            with _past_any_pooler(self._service) as database, database.statements() as connection:
                everywhere.vacuum(connection, sorted(touched))
                if left := everywhere.held_statistics(connection, self._person.traces):
                    self._clear(connection, left)
        except DBAPIError as error:
            self._remarks.append(
                "The tables could not be vacuumed "
                f"({type(error.orig).__name__}): let autovacuum do it, or do it by hand"
            )
        except SettingsError as error:
            self._remarks.append(f"The tables could not be vacuumed: {error}")

    def _clear(self, connection: Connection, left: Sequence[everywhere.Statistics]) -> None:
        if not everywhere.clear_statistics(connection, left):
            tables = ", ".join(sorted({one.table for one in left}))
            self._remarks.append(
                f"The planner keeps its samples of {tables} until other rows are there, and only "
                "PostgreSQL 18 can take them out: do it again when there are"
            )

    # ---- the proof ---------------------------------------------------------------

    def _prove(self) -> list[PlaceView]:
        """Everything is looked through once more; where the number still stands."""
        self._tell("Proving: everything is looked through once more…")
        left = find_mentions(self._service, self._person)
        left += [
            PlaceView(
                where=f"{everywhere.STATISTICS} of {one.relation}", column=one.column, count=1
            )
            for one in self._statistics()
        ]
        elsewhere = {
            "redis": sum(1 for body in spooled(self._service) if holds(self._person, body)),
            "media store": sum(1 for held in held_files(self._service, self._person) if held.body),
            "logs": count_in_logs(self._service.settings.data_dir, self._person.traces),
        }
        left += [
            PlaceView(where=where, column=None, count=count)
            for where, count in elsewhere.items()
            if count
        ]
        left += [
            PlaceView(where="media store", column=path, count=1)
            for path in sorted(set(self._missing))
        ]
        return left

    def _remark_missing(self) -> None:
        if self._missing:
            self._remarks.append(
                "Files that the database named were not in the media store. If the store is "
                "another machine's folder, remove there what `left` names; if they were lost, "
                "nothing is to be done"
            )
        if self._not_looked_into:
            self._remarks.append(
                f"{len(self._not_looked_into)} transcripts of others stand in files alone, and "
                "these are not in the media store: they were not looked into. If the store is "
                "another machine's folder, do it again there"
            )

    def _statistics(self) -> list[everywhere.Statistics]:
        with self._service.database.statements() as connection:
            return everywhere.held_statistics(connection, self._person.traces)

    def _view(self, *, left: list[PlaceView], is_complete: bool = True) -> ForgottenView:
        with self._service.database.transaction() as session:
            numberless = people_db.count_numberless(session)
        return ForgottenView(
            ending=self._person.ending,
            mark=self._person.mark,
            is_complete=is_complete,
            began_at=self._began_at,
            ended_at=self._service.clock() if is_complete else None,
            erased={table: count for table, count in self._erased.items() if count},
            files=self._files,
            spooled=self._spooled,
            redacted=[
                PlaceView(where=where, column=column or None, count=count)
                for (where, column), count in sorted(self._redacted.items())
            ],
            left=left,
            elsewhere=list(self._elsewhere.values()),
            calls_to_fetch=numberless,
            remarks=[*self._remarks, *_ALWAYS],
        )


@contextmanager
def _past_any_pooler(service: Service) -> Iterator[Database]:
    """Where a session is one: a pooler would hand it on with what was set in it."""
    if not service.database.is_pooled:
        yield service.database
        return
    pooled = service.database.url.render_as_string(hide_password=False)
    with closing(Database(direct_database_url(service.settings, pooled), pool_size=1)) as direct:
        yield direct


def _notice(body: bytes) -> Notice | None:
    try:
        return read_notice(body)
    except (NotJson, NoCallId):
        return None


#: What no search of rows can show.
_ALWAYS = (
    "PostgreSQL's files and its write-ahead log hold deleted bytes until they are written over; "
    "backups hold them until they are thrown away",
    "Sound is not looked into: a number that was spoken is found in a transcript alone",
)
