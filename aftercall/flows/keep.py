"""Keeps what has to be kept, and removes the rest: partitions ahead, then what is past its time.

Any number may run at once: each step takes a turn, and is safe without. A step is small, and
what is not done when the time is over goes on in the next round. Nothing that is not settled
is removed, and a file goes before the row that names it, so that none is left behind. A file
that no row names stays, unless somebody asks: it may be another installation's.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial

import structlog
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from aftercall.db import retention as retention_db
from aftercall.db.models import Via
from aftercall.db.partitions import (
    ATTEMPTS,
    PARTITIONED,
    WEBHOOKS,
    PartitionedTable,
    TableBusy,
    delete_from_default,
    drop_partition,
    find_partitions,
    make_partition,
)
from aftercall.db.retention import OldMedia
from aftercall.domain.retention import DataKind, Partition, missing_months, over
from aftercall.flows.audit import Actor, note
from aftercall.flows.service import Service
from aftercall.media_store import FILE_PATH, FOLDERS, MediaStore, MediaStoreError

log = structlog.get_logger(__name__)

#: As it stands in the audit log when nobody asked for it.
RETENTION = Actor(name="retention", via=Via.CLI)
#: A round of a worker; whatever is left goes in the next one.
BUDGET = timedelta(seconds=10)
#: Rows a transaction: some tens of milliseconds.
STEP = 500
#: Calls a transaction: each has a dozen rows in other tables.
STEP_OF_CALLS = 100
#: A file that no row names may be on its way to its row.
MIN_FILE_AGE = timedelta(days=1)
#: A sync remembers for an hour whom it made.
PEOPLE_KEPT = timedelta(days=1)
#: Readings of Twenty2's log that came to their end.
RECONCILIATIONS_KEPT = timedelta(days=90)
_TABLE_OF = {DataKind.RAW_EVENTS: WEBHOOKS, DataKind.ATTEMPTS: ATTEMPTS}
_TRIES = 4
_PAUSE = 0.3
#: Each hour has its share of the folders, so that a day looks at all.
_HOURS = 24

Tell = Callable[[str, int], None]


class _NotOurTurn(Exception):
    """Another keeper is at work."""


@dataclass(slots=True)
class Kept:
    """What one round did."""

    made: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    #: Rows, or files, by what they were.
    removed: dict[str, int] = field(default_factory=dict)
    #: Files a day old that no row of this database names, and that were left alone.
    unnamed: int = 0
    #: What could not be done, and why.
    faults: list[str] = field(default_factory=list)
    #: Whether everything had its turn.
    is_complete: bool = True

    @property
    def has_removed(self) -> bool:
        return bool(self.dropped or self.removed)

    def count(self, what: str, number: int) -> None:
        if number:
            self.removed[what] = self.removed.get(what, 0) + number


def keep_in_turn(service: Service, store: MediaStore) -> None:
    """A worker's round: rings for the next one while there is more to remove."""
    hour = int(service.clock().timestamp()) // 3600 % _HOURS
    share = -(-FOLDERS // _HOURS)
    folders = range(hour * share, min((hour + 1) * share, FOLDERS))
    kept = keep(service, store, budget=BUDGET, folders=folders)
    if kept.has_removed and not kept.is_complete:
        service.doorbell.ring_keep()


def keep(
    service: Service,
    store: MediaStore,
    *,
    budget: timedelta | None = None,
    folders: Iterable[int] = range(FOLDERS),
    by: Actor = RETENTION,
    tell: Tell | None = None,
    removes_unnamed: bool = False,
) -> Kept:
    """One round. `folders`: of the store, to be looked through for files that no row names.

    `tell`: called with what was removed so far, and how many of it. `removes_unnamed`: those
    files, too; somebody has made sure that no other installation has them.
    """
    round_ = _Round(
        service, store, Kept(), budget=budget, tell=tell, removes_unnamed=removes_unnamed
    )
    try:
        round_.run(folders)
    except _NotOurTurn:
        round_.kept.is_complete = False
        round_.kept.faults.append("another keeper is at work: this one stopped")
    kept = round_.kept
    if kept.made or kept.has_removed or kept.faults:
        write = log.warning if kept.faults else log.info
        write(
            "retention.kept",
            made=kept.made,
            dropped=kept.dropped,
            removed=kept.removed,
            unnamed=kept.unnamed,
            faults=kept.faults,
            is_complete=kept.is_complete,
        )
    if kept.has_removed:
        note(service, by, "retention.removed", dropped=kept.dropped or None, **kept.removed)
    return kept


class _TimeIsUp(Exception):
    """The rest goes in the next round."""


class _Round:
    def __init__(
        self,
        service: Service,
        store: MediaStore,
        kept: Kept,
        *,
        budget: timedelta | None,
        tell: Tell | None,
        removes_unnamed: bool,
    ) -> None:
        self.kept = kept
        self._service = service
        self._store = store
        self._now = service.clock()
        self._retention = service.settings.retention
        self._keeps_media = service.settings.keep_media
        self._ends = None if budget is None else time.monotonic() + budget.total_seconds()
        self._tell = tell
        self._removes_unnamed = removes_unnamed

    def run(self, folders: Iterable[int]) -> None:
        parts: list[tuple[str, Callable[[], None]]] = [
            ("partitions", self._make_ahead),
            *((kind.value, partial(self._drop, kind)) for kind in _TABLE_OF),
            ("payloads", self._payloads),
            ("media", self._media),
            ("calls", self._calls),
            ("people", self._people),
            ("reconciliations", self._reconciliations),
            ("files", lambda: self._files(folders)),
        ]
        try:
            for name, part in parts:
                try:
                    part()
                except (TableBusy, MediaStoreError) as error:
                    self.kept.faults.append(f"{name}: {error}")
                except DBAPIError as error:
                    self.kept.faults.append(f"{name}: {type(error.orig).__name__}")
        except _TimeIsUp:
            self.kept.is_complete = False

    # ---- partitions ----------------------------------------------------------

    def _make_ahead(self) -> None:
        for table in PARTITIONED:
            with self._service.database.transaction() as session:
                there = find_partitions(session, table)
            for month in missing_months(there, now=self._now):
                self._patiently(partial(self._make, table, month))

    def _make(self, table: PartitionedTable, month: datetime, session: Session) -> None:
        if month in missing_months(find_partitions(session, table), now=self._now):
            self.kept.made.append(make_partition(session, table, month))

    def _drop(self, kind: DataKind) -> None:
        table, cutoff = _TABLE_OF[kind], self._cutoff(kind)
        if cutoff is None:
            return
        with self._service.database.transaction() as session:
            found = over(find_partitions(session, table), cutoff=cutoff)
        for partition in found:
            self._go_on()
            self._patiently(partial(self._drop_one, table, partition, cutoff))
        while self._step(lambda session: delete_from_default(session, table, cutoff, STEP), kind):
            pass

    def _drop_one(
        self, table: PartitionedTable, partition: Partition, cutoff: datetime, session: Session
    ) -> None:
        if partition.name not in {
            one.name for one in over(find_partitions(session, table), cutoff=cutoff)
        }:
            return
        if table is ATTEMPTS:
            counted = retention_db.attempts_counted_up_to(session)
            if retention_db.newest_id_in(session, partition.name) > counted:
                self.kept.faults.append(
                    f"{partition.name} is not counted for the overview yet: it goes later"
                )
                return
        drop_partition(session, table, partition)
        self.kept.dropped.append(partition.name)
        self._say(partition.name, 1)

    def _patiently(self, work: Callable[[Session], None]) -> None:
        """In a transaction; again, a few times, while somebody holds the table."""
        for left in reversed(range(_TRIES)):
            try:
                with self._turn() as session:
                    work(session)
                return
            except TableBusy:
                if not left:
                    raise
                time.sleep(_PAUSE)

    # ---- rows ----------------------------------------------------------------

    def _payloads(self) -> None:
        cutoff = self._cutoff_before_calls(DataKind.PAYLOADS)
        if cutoff is None or self._is_replaying():
            return
        after: int | None = 0
        last = self._last_old_call(cutoff)
        while after is not None:
            self._go_on()
            with self._turn() as session:
                walked = retention_db.delete_payloads(
                    session, cutoff=cutoff, after=after, last=last, count=STEP
                )
            self._count("payloads", walked.count)
            after = walked.after

    def _media(self) -> None:
        cutoff = self._cutoff_before_calls(DataKind.MEDIA)
        if cutoff is None:
            return
        after, last = 0, self._last_old_call(cutoff)
        while True:
            self._go_on()
            with self._turn() as session:
                old = retention_db.old_media(
                    session,
                    cutoff=cutoff,
                    after=after,
                    last=last,
                    count=STEP_OF_CALLS,
                    keeps_media=self._keeps_media,
                )
            self._remove_media(old)
            if len(old) < STEP_OF_CALLS:
                return
            # Both of the last call's may not have been among them.
            after = max(old[-1].call_row_id - 1, after)

    def _remove_media(self, media: list[OldMedia]) -> None:
        if not media:
            return
        for one in media:
            if one.path is not None:
                self._store.remove(one.path)
        with self._turn() as session:
            gone = retention_db.delete_media(session, media, keeps_media=self._keeps_media)
        self._count("media", gone)

    def _calls(self) -> None:
        cutoff = self._cutoff(DataKind.CALLS)
        if cutoff is None or self._is_replaying():
            return
        at, after = datetime(1, 1, 1, tzinfo=UTC), 0
        while True:
            self._go_on()
            with self._turn() as session:
                found = retention_db.some_calls(
                    session,
                    cutoff=cutoff,
                    after_at=at,
                    after=after,
                    count=STEP_OF_CALLS,
                    keeps_media=self._keeps_media,
                )
                ids = [one.row_id for one in found if one.is_settled]
                media = retention_db.media_of_calls(session, ids, keeps_media=self._keeps_media)
            if ids:
                self._remove_media(media)
                with self._turn() as session:
                    gone = retention_db.delete_calls(
                        session, ids, cutoff=cutoff, keeps_media=self._keeps_media
                    )
                self._count("calls", gone)
            if len(found) < STEP_OF_CALLS:
                return
            at, after = found[-1].received_at, found[-1].row_id

    def _people(self) -> None:
        before = self._now - PEOPLE_KEPT
        while self._step(
            lambda session: retention_db.forget_people(session, before=before, count=STEP), "people"
        ):
            pass

    def _reconciliations(self) -> None:
        before = self._now - RECONCILIATIONS_KEPT
        while self._step(
            lambda session: retention_db.forget_reconciliations(session, before=before, count=STEP),
            "reconciliations",
        ):
            pass

    # ---- files ---------------------------------------------------------------

    def _files(self, folders: Iterable[int]) -> None:
        for folder in folders:
            self._go_on()
            files = list(_ours(self._store.paths(folder)))
            for start in range(0, len(files), STEP):
                self._sweep_files(files[start : start + STEP])

    def _sweep_files(self, files: list[OldMedia]) -> None:
        with self._service.database.transaction() as session:
            named = retention_db.named_paths(session, files)
        for one in files:
            path = one.path or ""
            if path in named or not self._is_forgotten(path):
                continue
            if self._removes_unnamed or _is_unfinished(path):
                self._store.remove(path)
                self._count("files", 1)
            else:
                self.kept.unnamed += 1

    def _is_forgotten(self, path: str) -> bool:
        written_at = self._store.written_at(path)
        return written_at is not None and written_at < self._now - MIN_FILE_AGE

    # ---- all of them ---------------------------------------------------------

    def _cutoff(self, kind: DataKind) -> datetime | None:
        return self._retention.cutoff(kind, now=self._now)

    def _cutoff_before_calls(self, kind: DataKind) -> datetime | None:
        """None, too, for what goes with its call anyway."""
        days = self._retention.days
        return None if days(kind) == days(DataKind.CALLS) else self._cutoff(kind)

    def _last_old_call(self, cutoff: datetime) -> int:
        with self._service.database.transaction() as session:
            return retention_db.last_old_call(session, cutoff=cutoff)

    def _is_replaying(self) -> bool:
        with self._service.database.transaction() as session:
            return retention_db.is_replaying(session)

    def _step(self, work: Callable[[Session], int], what: str) -> bool:
        """Whether there may be more."""
        self._go_on()
        with self._turn() as session:
            gone = work(session)
        self._count(what, gone)
        return gone >= STEP

    @contextmanager
    def _turn(self) -> Iterator[Session]:
        with self._service.database.transaction() as session:
            if not retention_db.take_turn(session):
                raise _NotOurTurn
            yield session

    def _count(self, what: str, number: int) -> None:
        self.kept.count(what, number)
        if number:
            self._say(what, self.kept.removed[what])

    def _say(self, what: str, number: int) -> None:
        if self._tell is not None:
            self._tell(what, number)

    def _go_on(self) -> None:
        if self._ends is not None and time.monotonic() > self._ends:
            raise _TimeIsUp


def _ours(paths: Sequence[str]) -> Iterator[OldMedia]:
    """Those that the media store has named; of everything else nobody knows whose it is."""
    for path in paths:
        found = FILE_PATH.fullmatch(path)
        if found is not None:
            yield OldMedia(int(found["row"]), found["kind"], path)


def _is_unfinished(path: str) -> bool:
    """Whosever it was: after a day nobody goes on with it."""
    found = FILE_PATH.fullmatch(path)
    return found is not None and found["unfinished"] is not None
