"""`aftercall doctor`: checks all that has to be right, and says what to do about each fault."""

from collections.abc import Callable, Iterator
from contextlib import closing
from urllib.parse import urlsplit

import redis
from sqlalchemy.exc import SQLAlchemyError

from aftercall.cli.session import EXPECTED, console, current_settings, say
from aftercall.crm.destination_spec import unreachable_reason
from aftercall.db.destinations import list_destinations
from aftercall.db.models import Destination
from aftercall.db.schema import check_schema
from aftercall.flows.check_workspace import check_workspace, credentials_fault
from aftercall.flows.heartbeat import silence
from aftercall.flows.look import show_stats, show_workspaces
from aftercall.flows.retention import bound_fault, partition_fault
from aftercall.flows.service import Service, open_service
from aftercall.flows.tell_operator import show_operator_hook
from aftercall.flows.views import WorkspaceView
from aftercall.http import refused_addresses
from aftercall.media_store import MediaStore, MediaStoreError
from aftercall.sealing import SealError
from aftercall.settings import Settings, unknown_settings
from aftercall.stores import check_database, check_redis, find_stores

#: What a check found: None when all is well, else what is wrong and what to do.
Finding = tuple[str, str | None]


def run_doctor() -> int:
    """0 when all is well, 1 otherwise."""
    faults = 0
    for name, fault in _examine():
        if fault is None:
            console.print("[green]ok[/]    ", end="")
            say(name)
        else:
            faults += 1
            console.print("[red]fault[/] ", end="")
            say(f"{name}: {fault}")
    console.print("All is well." if not faults else f"{faults} to mend.", highlight=False)
    return 1 if faults else 0


def _examine() -> Iterator[Finding]:
    try:
        settings = current_settings()
        stores = find_stores(settings)
    except EXPECTED as error:
        yield "settings", str(error)
        return
    yield from _check_settings(settings)
    redis_fault = _fault_of(lambda: check_redis(stores.redis_url))
    yield "redis", redis_fault
    try:
        service = open_service(settings, stores, pool_size=2)
    except EXPECTED as error:
        yield "keys", str(error)
        return
    if settings.keep_media:
        yield "media", _check_media(settings)
    with closing(service):
        database_fault = _fault_of(lambda: check_database(service.database))
        yield "database", database_fault
        if database_fault is not None:
            return
        schema_fault = _fault_of(lambda: check_schema(service.database))
        yield "schema", schema_fault
        if schema_fault is not None and (left := bound_fault(service)) is not None:
            yield "partitions", left
        if redis_fault is None:
            yield "workers", _check_workers(service)
            yield "sweeps", _check_sweeps(service)
        if schema_fault is None:
            yield from _check_workspaces(service, may_ask=redis_fault is None)
            yield from _check_destinations(service)
            yield "backlog", _check_backlog(service)
            yield "partitions", partition_fault(service)
            if settings.operator_webhook_url is not None:
                yield "operator webhook", _check_operator_hook(service, settings)


def _check_settings(settings: Settings) -> Iterator[Finding]:
    for name in ("secret_key", "admin_token", "webhook_token"):
        variable = type(settings).model_fields[name].alias or name
        yield variable, _fault_of(lambda name=name: settings.require(name))  # type: ignore[misc]
    for given, meant in unknown_settings().items():
        is_meant = f": is {meant} meant?" if meant else ""
        yield given, f"there is no such setting, so it does nothing{is_meant}"


def _check_media(settings: Settings) -> str | None:
    try:
        MediaStore(settings.media_root).check()
    except MediaStoreError as error:
        return f"{error}: correct AFTERCALL_MEDIA_URL, or keep none with AFTERCALL_KEEP_MEDIA=false"
    return None


def _check_workers(service: Service) -> str | None:
    try:
        names = service.doorbell.workers(timeout=2.0)
    except OSError as error:
        return f"cannot be asked ({type(error).__name__})"
    if names:
        return None
    return "none answers: start one with `aftercall worker` (or `aftercall up`)"


def _check_sweeps(service: Service) -> str | None:
    try:
        return silence(service)
    except redis.RedisError as error:
        return f"cannot be asked ({type(error).__name__})"


def _check_workspaces(service: Service, *, may_ask: bool) -> Iterator[Finding]:
    views = show_workspaces(service)
    if not views:
        yield (
            "workspaces",
            "there are none: set TWENTYTWO_WORKSPACE_ID, TWENTYTWO_API_KEY and "
            "TWENTYTWO_API_SECRET, or run `aftercall workspaces set ID`",
        )
    for view in views:
        yield f"workspace {view.workspace_id}", _check_workspace(service, view, may_ask=may_ask)


def _check_workspace(service: Service, view: WorkspaceView, *, may_ask: bool) -> str | None:
    check = credentials_fault(service, view.workspace_id)
    if check is None:
        if not may_ask or view.block_reason is not None:
            return view.block_reason
        check = check_workspace(service, view.workspace_id)
    return None if check.works else " ".join(filter(None, (check.message, check.cure)))


def _check_destinations(service: Service) -> Iterator[Finding]:
    with service.database.transaction() as session:
        rows = list_destinations(session)
    if not rows:
        yield "destinations", "there are none: aftercall destinations add NAME URL"
    for row in rows:
        fault = _check_secrets(service, row) or unreachable_reason(row.url, service.guard())
        if fault is None:
            fault = _check_name(row.url, service)
        if fault is None and row.paused_until and row.paused_until > service.clock():
            fault = (
                f"it is paused until {row.paused_until:%H:%M:%S} UTC after "
                f"{row.failures_in_a_row} failures in a row; it goes on by itself once it answers"
            )
        if fault is None and not row.enabled:
            fault = (
                f"it is disabled ({row.disabled_reason}): mend it, then "
                f"`aftercall destinations enable {row.name!r}`"
            )
        yield f"destination {row.name}", fault


def _check_secrets(service: Service, row: Destination) -> str | None:
    try:
        service.sealer.open(row.secret_sealed)
        if row.headers_sealed is not None:
            service.sealer.open(row.headers_sealed)
    except SealError as error:
        return str(error)
    return None


def _check_name(url: str, service: Service) -> str | None:
    parts = urlsplit(url)
    try:
        refused_addresses(parts.hostname or "", parts.port or 443, service.guard())
    except OSError as error:
        return f"{parts.hostname} does not resolve ({error.strerror}): correct the URL or the DNS"
    return None


def _check_backlog(service: Service) -> str | None:
    stats = show_stats(service)
    oldest = stats.oldest_due_delivery_at
    if oldest is None or (service.clock() - oldest).total_seconds() < 120:
        return None
    return (
        f"{stats.due_deliveries} deliveries are due, the oldest since {oldest:%H:%M:%S} UTC: "
        "see whether a worker and beat run, and how fast the destinations answer"
    )


def _check_operator_hook(service: Service, settings: Settings) -> str | None:
    """Without its URL, which may open a chat's door."""
    url = settings.require("operator_webhook_url")
    fault = unreachable_reason(url, service.guard()) or _check_name(url, service)
    if fault is not None:
        return fault
    failing = show_operator_hook(service).failing
    if failing is None:
        return None
    return (
        f"it did not take {failing.type} of {failing.created_at:%Y-%m-%d %H:%M} UTC "
        f"({failing.last_error}): mend it, then `aftercall notices test`"
    )


def _fault_of(check: Callable[[], object]) -> str | None:
    try:
        check()
    except EXPECTED as error:
        return str(error)
    except (SQLAlchemyError, redis.RedisError) as error:
        return f"does not answer ({type(error).__name__})"
    return None
