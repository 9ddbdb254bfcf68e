"""Traces: webhook → fetch → save → deliver as one, although rows outlive messages and batches mix
them (docs/traces.md).

No context travels with a row. A call's trace id, and the ids of the spans that others hang from,
are a keyed hash of its row's number and its revision, so every process knows them. A webhook that
came with a traceparent of its own is remembered in Redis; then the call belongs to that trace.

Off, and free, unless OTEL_EXPORTER_OTLP_ENDPOINT is set and `aftercall[traces]` is installed.
Attributes hold ids, outcomes and status codes: no phone number, no URL, no reason in words.
"""

import hashlib
import os
import re
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, cast

import redis
import structlog

from aftercall.settings import Settings

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider

log = structlog.get_logger(__name__)

Attributes = Mapping[str, str | int | bool | None]

#: Version 00 of W3C's Trace Context; of later ones, what they have in common.
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_KEY = "aftercall:trace:"
#: Most calls are with their hooks in seconds; one that takes longer goes on in a trace of its own.
_REMEMBERED_SECONDS = 3600
#: While Redis is away, it is asked again only after so many seconds.
_QUIET_AFTER_FAILURE = 5.0
#: Rows of which a process remembers the trace.
_AT_HAND = 10_000
_EXPORT_SECONDS = 5


@dataclass(frozen=True, slots=True)
class Place:
    """A span, as others refer to it."""

    trace_id: int
    span_id: int
    is_sampled: bool = True

    @property
    def traceparent(self) -> str:
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-{int(self.is_sampled):02x}"


def read_traceparent(given: str | None) -> Place | None:
    """None for one that is malformed, or all zeros."""
    found = _TRACEPARENT.fullmatch(given or "")
    if found is None or (found[4] and given and given.startswith("00")):
        return None
    place = Place(int(found[1], 16), int(found[2], 16), bool(int(found[3], 16) & 1))
    return place if place.trace_id and place.span_id else None


class Traces:
    """Off: nothing is made, and nothing is sent along."""

    is_on = False

    def adopt(self, given: Mapping[tuple[int, int], Place]) -> None:
        """The calls of these rows and revisions belong to traces that others began.

        For this process, and at once: nothing is asked of a store.
        """

    def share(self, given: Mapping[tuple[int, int], Place]) -> None:
        """Tells the other processes; one round trip for all, and none while Redis is away."""

    def recall(self, rows: Iterable[tuple[int, int]]) -> None:
        """Learns which of these rows and revisions do; one round trip for all."""

    def begin(self, row_id: int, revision: int) -> Place | None:  # noqa: ARG002 - off
        """A request of ours for this row is about to go out: what it is called there."""
        return None

    def webhook(
        self,
        row_id: int,
        revision: int,
        *,
        is_first: bool,
        began: datetime,
        ended: datetime,
        given: Place | None,
        attributes: Attributes,
    ) -> None:
        """A webhook was answered that made this row due."""

    def fetch(
        self,
        place: Place | None,
        row_id: int,
        revision: int,
        *,
        began: datetime,
        ended: datetime,
        saved_at: datetime | None,
        failed: bool,
        attributes: Attributes,
    ) -> None:
        """A fetch ended; `saved_at`: when its new content was saved, if it had any."""

    def delivery(
        self,
        place: Place | None,
        row_id: int,
        revision: int,
        *,
        began: datetime,
        ended: datetime,
        failed: bool,
        attributes: Attributes,
    ) -> None:
        """An attempt at a delivery of this revision ended."""

    def close(self) -> None:
        """Sends what waits to be sent."""


def open_traces(settings: Settings, *, client: "redis.Redis", key: str) -> Traces:
    """Of this process: made after its fork, for it has a thread."""
    if settings.otlp_endpoint is None:
        return Traces()
    try:
        return OtlpTraces(settings.otlp_endpoint, client=client, key=key)
    except ImportError as error:
        log.warning(
            "traces.off",
            why=f"{error.name} is not installed",
            cure="pip install 'aftercall[traces]', or unset OTEL_EXPORTER_OTLP_ENDPOINT",
        )
    except Exception as error:
        # The library reads variables of its own. Its words may quote them, so they are not shown.
        log.warning(
            "traces.off",
            why=f"OpenTelemetry did not start: {type(error).__name__}",
            cure="correct the OTEL_ variables, or unset OTEL_EXPORTER_OTLP_ENDPOINT",
        )
    return Traces()


class OtlpTraces(Traces):
    """To a collector, over OTLP/HTTP."""

    is_on = True

    def __init__(self, endpoint: str, *, client: "redis.Redis", key: str) -> None:
        """`endpoint`: the collector's, without the path for traces. `key`: of the hash."""
        self._client = client
        self._key = hashlib.sha256(key.encode()).digest()
        self._ids = threading.local()
        self._provider = self._make_provider(endpoint)
        self._tracer = self._provider.get_tracer("aftercall", version("aftercall"))
        #: Where a row's trace was begun by somebody else; None where it was not.
        self._at_hand: OrderedDict[tuple[int, int], Place | None] = OrderedDict()
        self._lock = threading.Lock()
        self._quiet_until = 0.0

    # ---- which trace ----

    def adopt(self, given: Mapping[tuple[int, int], Place]) -> None:
        if given:
            self._keep(given)

    def share(self, given: Mapping[tuple[int, int], Place]) -> None:
        if not given or time.monotonic() < self._quiet_until:
            return
        try:
            with self._client.pipeline(transaction=False) as pipeline:
                for row, place in given.items():
                    pipeline.set(_redis_key(row), place.traceparent, ex=_REMEMBERED_SECONDS)
                pipeline.execute()
        except redis.RedisError:
            # What the others do is then in traces of the calls' own.
            self._quiet_until = time.monotonic() + _QUIET_AFTER_FAILURE

    def recall(self, rows: Iterable[tuple[int, int]]) -> None:
        with self._lock:
            unknown = [row for row in dict.fromkeys(rows) if row not in self._at_hand]
        if not unknown or time.monotonic() < self._quiet_until:
            return
        try:
            found = cast(list[str | None], self._client.mget([_redis_key(row) for row in unknown]))
        except redis.RedisError:
            self._quiet_until = time.monotonic() + _QUIET_AFTER_FAILURE
            return
        self._keep({row: read_traceparent(one) for row, one in zip(unknown, found, strict=True)})

    def _keep(self, found: Mapping[tuple[int, int], Place | None]) -> None:
        with self._lock:
            self._at_hand.update(found)
            while len(self._at_hand) > _AT_HAND:
                self._at_hand.popitem(last=False)

    def _root(self, row_id: int, revision: int) -> Place:
        """The trace of this row's revision; the span is the webhook's."""
        with self._lock:
            given = self._at_hand.get((row_id, revision))
        span_id = self._hash(row_id, revision, "webhook", 8)
        if given is not None:
            return Place(given.trace_id, span_id, given.is_sampled)
        trace_id = self._hash(row_id, revision, "trace", 16)
        decision = self._provider.sampler.should_sample(None, trace_id, "webhook").decision
        return Place(trace_id, span_id, decision.is_sampled())

    def _saved(self, row_id: int, revision: int) -> Place:
        """The saving of what a fetch learned when the row's revision was this."""
        root = self._root(row_id, revision)
        return Place(root.trace_id, self._hash(row_id, revision, "save", 8), root.is_sampled)

    def _hash(self, row_id: int, revision: int, what: str, size: int) -> int:
        said = f"{what} {row_id} {revision}".encode()
        # Zero is no id.
        return int.from_bytes(hashlib.blake2b(said, digest_size=size, key=self._key).digest()) or 1

    # ---- spans ----

    def begin(self, row_id: int, revision: int) -> Place | None:
        root = self._root(row_id, revision)
        return Place(root.trace_id, secrets.randbits(63) + 1, root.is_sampled)

    def webhook(
        self,
        row_id: int,
        revision: int,
        *,
        is_first: bool,
        began: datetime,
        ended: datetime,
        given: Place | None,
        attributes: Attributes,
    ) -> None:
        root = self._root(row_id, revision)
        own = root if is_first else Place(root.trace_id, secrets.randbits(63) + 1, root.is_sampled)
        parent = given if is_first else root
        self._span("webhook", own, parent, began, ended, kind="SERVER", attributes=attributes)

    def fetch(
        self,
        place: Place | None,
        row_id: int,
        revision: int,
        *,
        began: datetime,
        ended: datetime,
        saved_at: datetime | None,
        failed: bool,
        attributes: Attributes,
    ) -> None:
        if place is None:
            return
        root = self._root(row_id, revision)
        self._span(
            "fetch", place, root, began, ended, kind="CLIENT", attributes=attributes, failed=failed
        )
        if saved_at is not None:
            saved = self._saved(row_id, revision)
            self._span("save", saved, place, ended, saved_at, attributes=attributes)

    def delivery(
        self,
        place: Place | None,
        row_id: int,
        revision: int,
        *,
        began: datetime,
        ended: datetime,
        failed: bool,
        attributes: Attributes,
    ) -> None:
        if place is None:
            return
        # It was made as the revision before it was fetched anew.
        saved = self._saved(row_id, revision - 1)
        self._span(
            "deliver",
            place,
            saved,
            began,
            ended,
            kind="CLIENT",
            attributes=attributes,
            failed=failed,
        )

    def close(self) -> None:
        self._provider.shutdown()

    def _span(
        self,
        name: str,
        own: Place,
        parent: Place | None,
        began: datetime,
        ended: datetime,
        *,
        attributes: Attributes,
        kind: str = "INTERNAL",
        failed: bool = False,
    ) -> None:
        from opentelemetry.trace import SpanKind, StatusCode

        self._ids.chosen = own
        try:
            span = self._tracer.start_span(
                name,
                context=_context(parent),
                kind=SpanKind[kind],
                attributes={k: v for k, v in attributes.items() if v is not None},
                start_time=_nanoseconds(began),
            )
        finally:
            self._ids.chosen = None
        if failed:
            span.set_status(StatusCode.ERROR)
        span.end(max(_nanoseconds(ended), _nanoseconds(began)))

    def _make_provider(self, endpoint: str) -> "TracerProvider":
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

        ids = self._ids

        class ChosenIds(RandomIdGenerator):
            def generate_span_id(self) -> int:
                chosen: Place | None = getattr(ids, "chosen", None)
                return chosen.span_id if chosen else super().generate_span_id()

            def generate_trace_id(self) -> int:
                chosen: Place | None = getattr(ids, "chosen", None)
                return chosen.trace_id if chosen else super().generate_trace_id()

        name = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": "aftercall"}
        provider = TracerProvider(
            resource=Resource.create({**name, "service.version": version("aftercall")}),
            id_generator=ChosenIds(),
        )
        exporter = OTLPSpanExporter(
            endpoint=f"{endpoint.rstrip('/')}/v1/traces", timeout=_EXPORT_SECONDS
        )
        provider.add_span_processor(BatchSpanProcessor(exporter))
        return provider


def _redis_key(row: tuple[int, int]) -> str:
    return f"{_KEY}{row[0]}:{row[1]}"


def _context(parent: Place | None) -> "Context":
    from opentelemetry.context import Context
    from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

    if parent is None:
        return Context()
    flags = TraceFlags(TraceFlags.SAMPLED if parent.is_sampled else TraceFlags.DEFAULT)
    remote = SpanContext(parent.trace_id, parent.span_id, is_remote=True, trace_flags=flags)
    return set_span_in_context(NonRecordingSpan(remote), Context())


def _nanoseconds(at: datetime) -> int:
    return int(at.timestamp() * 1_000_000) * 1_000
