"""What is kept for how long, what there is, and what the next round would remove. Changes nothing.

Also the words for what is not there any more: that is no error, and a refetch brings it back
while Twenty2 has it.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

from aftercall.db import retention as retention_db
from aftercall.db.models import Attempt, Call, CallPayload, MediaFile
from aftercall.db.partitions import (
    ATTEMPTS,
    PARTITIONED,
    WEBHOOKS,
    find_left_bounds,
    find_partitions,
)
from aftercall.db.partitions import rows_in_default as rows_in_default_
from aftercall.domain.retention import DataKind, missing_months, over
from aftercall.flows.service import Service
from aftercall.flows.views import NotKeptView, View
from aftercall.settings import Settings

_TABLE_OF = {DataKind.RAW_EVENTS: WEBHOOKS, DataKind.ATTEMPTS: ATTEMPTS}
_REFETCH = "fetch the call again, while Twenty2 has it"


class KindView(View):
    """One kind of data. `due`: what the next round would remove."""

    kind: str
    #: None: for ever.
    keep_days: int | None
    oldest_at: datetime | None
    size_bytes: int
    #: Whole months that are over, by the names of their tables.
    due_partitions: list[str]
    #: Rows; of what goes by the month, none.
    due_rows: int
    #: There are more: they were not counted to the end.
    is_more: bool


class RetentionView(View):
    items: list[KindView]


def show_retention(service: Service) -> RetentionView:
    return RetentionView(items=[_kind_view(service, kind) for kind in DataKind])


def _kind_view(service: Service, kind: DataKind) -> KindView:
    retention, now = service.settings.retention, service.clock()
    cutoff = retention.cutoff(kind, now=now)
    partitions: list[str] = []
    rows = 0
    with service.database.transaction() as session:
        stock = retention_db.stock_of(session, kind.value)
        if kind in _TABLE_OF:
            found = over(find_partitions(session, _TABLE_OF[kind]), cutoff=cutoff)
            partitions = [one.name for one in found]
        elif cutoff is not None:
            rows = retention_db.count_due(
                session, kind.value, cutoff=cutoff, keeps_media=service.settings.keep_media
            )
    return KindView(
        kind=kind.value,
        keep_days=retention.days(kind),
        oldest_at=stock.oldest_at,
        size_bytes=stock.size_bytes,
        due_partitions=partitions,
        due_rows=min(rows, retention_db.COUNTED),
        is_more=rows > retention_db.COUNTED,
    )


def partition_fault(service: Service) -> str | None:
    """What is wrong with the partitions, and what to do; None when all is well."""
    cure = "see whether workers run, then `aftercall retention --run`"
    with service.database.transaction() as session:
        for table in PARTITIONED:
            missing = missing_months(find_partitions(session, table), now=service.clock(), ahead=1)
            if missing:
                months = ", ".join(f"{month:%Y-%m}" for month in missing)
                return f"{table.name} has no partition for {months}: {cure}"
            if rows_in_default_(session, table):
                return f"{table.name} has rows that no month took: {cure}"
    return None


def bound_fault(service: Service) -> str | None:
    """What a migration left that was stopped; None when all is well. Asks no table of ours."""
    with service.database.transaction() as session:
        for left in find_left_bounds(session):
            until = f"{left.until.astimezone(UTC):%Y-%m-%d}"
            return (
                f"a migration runs, or was stopped: from {until} on {left.table} takes no row, "
                f"for its check {left.constraint}. Run `aftercall migrate` before, or "
                f"`ALTER TABLE {left.table} DROP CONSTRAINT {left.constraint}`"
            )
    return None


# ---- what is not there any more ----------------------------------------------


def removed(settings: Settings, kind: DataKind) -> str:
    """How something of this kind went."""
    days = settings.retention.days(kind)
    return "not kept any more" if days is None else f"removed after {days} days by retention"


def nothing_to_send(settings: Settings, what: str) -> str:
    """Why it cannot be sent again, and what to do."""
    return f"What {what} would send was {removed(settings, DataKind.PAYLOADS)}: {_REFETCH}"


def not_kept(
    service: Service,
    call: Call,
    payload: CallPayload | None,
    attempts: Sequence[Attempt],
    media: Sequence[MediaFile],
) -> list[NotKeptView]:
    """What of this call was there once."""
    settings = service.settings
    found = []
    if call.revision and payload is None:
        how = removed(settings, DataKind.PAYLOADS)
        message = f"Twenty2's answer and the parameters were {how}: {_REFETCH}"
        found.append(NotKeptView(kind="payload", message=message))
    has_fetches = any(one.delivery_id is None for one in attempts)
    if not has_fetches and _is_past(service, DataKind.ATTEMPTS, call.received_at):
        message = f"Attempts were {removed(settings, DataKind.ATTEMPTS)}"
        found.append(NotKeptView(kind="attempts", message=message))
    had_media = payload is None or payload.recording or payload.transcript
    if not media and had_media and _is_past(service, DataKind.MEDIA, call.fetched_at):
        how = removed(settings, DataKind.MEDIA)
        message = f"A recording and a transcript that were kept here were {how}"
        found.append(NotKeptView(kind="media", message=message))
    return found


def _is_past(service: Service, kind: DataKind, at: datetime | None) -> bool:
    cutoff = service.settings.retention.cutoff(kind, now=service.clock())
    return cutoff is not None and at is not None and at < cutoff
