"""Any number of exchanges at once, by one thread: libcurl's multi interface over a selector.

A thread for each request costs twice the CPU of the request (docs/decisions/0011). Nothing that
takes time may happen in this thread: names are looked up in threads of their own, and whoever
gets an `Exchange` hands it on.
"""

import os
import queue
import selectors
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Self

import pycurl
import structlog

from aftercall.domain.exchange import Exchange, Failure, NoAnswer
from aftercall.http.guard import AddressGuard, is_numeric, look_up
from aftercall.http.request import Origin, Prepared, Request, named_origin, prepare
from aftercall.http.transfer import FORBIDDEN, KeptConnections, Transfer

log = structlog.get_logger(__name__)

#: Seconds for which the addresses of a name are used.
REMEMBERED = 30.0
#: Seconds between two looks at what waits for the lookup of its name.
_LOOK_EVERY = 0.05
#: Seconds beyond its deadline after which nobody waits for an exchange.
_PATIENCE = 10.0

Then = Callable[[Exchange], None]


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request on its way to the thread, or waiting there for its name."""

    prepared: Prepared
    then: Then
    began: float

    def is_late(self) -> bool:
        return time.monotonic() - self.began >= self.prepared.limits.deadline.total_seconds()


@dataclass(frozen=True, slots=True)
class _Found:
    """A name was looked up: its addresses, or why there are none."""

    origin: Origin
    addresses: list[str] | Exception


class HttpClient:
    """Sends requests, and keeps connections. To be closed. For any thread, not across a fork."""

    def __init__(
        self,
        *,
        guard: AddressGuard | None,
        keep: int = 32,
        ca_file: str | None = None,
        remembered: float = REMEMBERED,
    ) -> None:
        """Without a guard any address will do. `keep`: how many idle connections.

        `ca_file`: whom to trust; certifi's list by default. There is no way to trust everybody.
        `remembered`: seconds for which the addresses of a name are used.
        """
        self._guard, self._keep, self._ca_file = guard, keep, ca_file
        self._remembered = remembered
        self._inbox: queue.SimpleQueue[_Asked | _Found] = queue.SimpleQueue()
        self._is_open = True
        self._has_rung = False
        #: From the bell's end on its descriptor may be somebody else's.
        self._is_over = False
        self._rope_lock = threading.Lock()
        self._bell, self._rope = os.pipe()
        os.set_blocking(self._bell, False)
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)
        self._thread.start()

    def send(self, request: Request, then: Then) -> None:
        """`then` gets the answer, or why there is none, soon and always: nothing is raised for
        URL or network. It is called in the client's thread, and has to be quick."""
        began = time.monotonic()
        if not self._is_open:
            then(_no_answer(Failure.CONNECTION, "the client is closed", began))
            return
        try:
            prepared = prepare(request)
        except ValueError as error:
            then(_invalid(named_origin(request.url), error, began))
            return
        self._put(_Asked(prepared, then, began))

    def exchange(self, request: Request) -> Exchange:
        """One request, waited for."""
        said: Future[Exchange] = Future()
        self.send(request, said.set_result)
        return said.result(request.limits.deadline.total_seconds() + _PATIENCE)

    def close(self) -> None:
        """What is under way gets no answer: let it end first."""
        self._is_open = False
        self._ring()
        self._thread.join(_PATIENCE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _put(self, item: _Asked | _Found) -> None:
        self._inbox.put(item)
        self._ring()

    def _ring(self) -> None:
        # Once for all that comes in before the thread looks.
        with self._rope_lock:
            if not self._has_rung and not self._is_over:
                self._has_rung = True
                os.write(self._rope, b"!")

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            loop = _Loop(self, selector)
            selector.register(self._bell, selectors.EVENT_READ)
            while self._is_open:
                try:
                    loop.turn()
                except Exception:
                    # A bug of ours. What it cost is covered by leases.
                    log.exception("http.turn_failed")
            loop.close()
        with self._rope_lock:
            self._is_over = True
            os.close(self._bell)
            os.close(self._rope)


class _Loop:
    """What the thread does, turn by turn."""

    def __init__(self, client: HttpClient, selector: selectors.BaseSelector) -> None:
        self._client = client
        self._selector = selector
        self._multi: Any = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._set_timer)
        self._multi.setopt(pycurl.M_MAXCONNECTS, client._keep)
        #: When libcurl wants to be asked again, by the monotonic clock.
        self._timer: float | None = None
        self._connections = KeptConnections()
        self._idle: list[Transfer] = []
        self._live: set[Transfer] = set()
        self._known: dict[Origin, tuple[list[str], float]] = {}
        self._looked_for: dict[Origin, list[_Asked]] = {}

    def turn(self) -> None:
        for key, events in self._selector.select(self._seconds_to_sleep()):
            if key.fd == self._client._bell:
                self._hear_the_bell()
            else:
                # EVENT_READ and EVENT_WRITE are libcurl's CSELECT_IN and CSELECT_OUT.
                self._multi.socket_action(key.fd, events)
        if self._timer is not None and self._timer <= time.monotonic():
            self._timer = None
            self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
        self._take_what_ended()
        if self._looked_for:
            self._give_up_what_is_late()

    def close(self) -> None:
        for transfer in self._live:
            self._multi.remove_handle(transfer.curl)
        for transfer in (*self._live, *self._idle):
            transfer.close()
        self._multi.close()

    def _seconds_to_sleep(self) -> float | None:
        wait = None if self._timer is None else max(self._timer - time.monotonic(), 0.0)
        if not self._looked_for:
            return wait
        return _LOOK_EVERY if wait is None else min(wait, _LOOK_EVERY)

    def _watch(self, what: int, fd: int, *_: Any) -> None:
        if what == pycurl.POLL_REMOVE:
            self._selector.unregister(fd)
        elif fd in self._selector.get_map():
            self._selector.modify(fd, what)
        else:
            # POLL_IN, POLL_OUT and POLL_INOUT are the selector's bits.
            self._selector.register(fd, what)

    def _set_timer(self, milliseconds: int) -> None:
        self._timer = None if milliseconds < 0 else time.monotonic() + milliseconds / 1000

    def _hear_the_bell(self) -> None:
        os.read(self._client._bell, 64)
        self._client._has_rung = False
        inbox = self._client._inbox
        while True:
            try:
                item = inbox.get_nowait()
            except queue.Empty:
                return
            try:
                if isinstance(item, _Asked):
                    self._find_way(item)
                else:
                    self._go_where_found(item)
            except Exception:
                # What comes behind it is not to wait for the next ring.
                log.exception("http.not_begun")

    # ---- where to ----------------------------------------------------------------

    def _find_way(self, asked: _Asked) -> None:
        origin = asked.prepared.origin
        if is_numeric(origin.host):
            self._begin(asked, None)
            return
        addresses, until = self._known.get(origin, ([], 0.0))
        if until > time.monotonic():
            self._begin(asked, addresses)
            return
        if origin in self._looked_for:
            self._looked_for[origin].append(asked)
            return
        self._looked_for[origin] = [asked]
        # A thread each: the resolver takes no timeout.
        try:
            threading.Thread(target=self._look_up, args=(origin,), daemon=True).start()
        except RuntimeError as error:
            self._go_where_found(_Found(origin, error))

    def _look_up(self, origin: Origin) -> None:
        try:
            addresses: list[str] | Exception = look_up(origin.host, origin.port)
        except Exception as error:
            addresses = error
        self._client._put(_Found(origin, addresses))

    def _go_where_found(self, found: _Found) -> None:
        waiting = self._looked_for.pop(found.origin)
        addresses = found.addresses
        if isinstance(addresses, Exception):
            for asked in waiting:
                asked.then(_not_found(found.origin, addresses, asked.began))
            return
        if not all(self._is_permitted(address) for address in addresses):
            failure, detail = FORBIDDEN
            for asked in waiting:
                asked.then(_no_answer(failure, detail.format(found.origin), asked.began))
            return
        until = time.monotonic() + self._client._remembered
        self._known[found.origin] = addresses, until
        for asked in waiting:
            self._begin(asked, addresses)

    def _is_permitted(self, address: str) -> bool:
        guard = self._client._guard
        return guard is None or guard.permits(address)

    def _give_up_what_is_late(self) -> None:
        for origin, waiting in self._looked_for.items():
            for asked in [asked for asked in waiting if asked.is_late()]:
                waiting.remove(asked)
                detail = f"{origin} did not connect or answer in time"
                asked.then(_no_answer(Failure.TIMEOUT, detail, asked.began))

    # ---- there and back ----------------------------------------------------------

    def _begin(self, asked: _Asked, addresses: list[str] | None) -> None:
        try:
            self._start(asked, addresses)
        except Exception:
            log.exception("http.not_begun")
            detail = f"{asked.prepared.origin} was not asked"
            asked.then(_no_answer(Failure.CONNECTION, detail, asked.began))

    def _start(self, asked: _Asked, addresses: list[str] | None) -> None:
        client = self._client
        transfer = (
            self._idle.pop()
            if self._idle
            else Transfer(
                guard=client._guard, ca_file=client._ca_file, connections=self._connections
            )
        )
        transfer.begin(asked.prepared, then=asked.then, began=asked.began, addresses=addresses)
        self._live.add(transfer)
        self._multi.add_handle(transfer.curl)

    def _take_what_ended(self) -> None:
        while True:
            left, succeeded, failed = self._multi.info_read()
            for curl in succeeded:
                self._end(curl.transfer, pycurl.E_OK)
            for curl, code, _ in failed:
                self._end(curl.transfer, code)
            if not left:
                return

    def _end(self, transfer: Transfer, code: int) -> None:
        said = transfer.end(code)
        self._multi.remove_handle(transfer.curl)
        self._live.remove(transfer)
        self._idle.append(transfer)
        transfer.then(said)


def _no_answer(failure: Failure, detail: str, began: float) -> NoAnswer:
    elapsed = timedelta(seconds=time.monotonic() - began)
    return NoAnswer(failure=failure, detail=detail, elapsed=elapsed)


def _invalid(where: object, error: Exception, began: float) -> NoAnswer:
    detail = f"no valid request to {where}: {type(error).__name__}"
    return _no_answer(Failure.INVALID_REQUEST, detail, began)


def _not_found(origin: Origin, error: Exception, began: float) -> NoAnswer:
    if isinstance(error, ValueError):
        return _invalid(origin, error, began)
    why = getattr(error, "strerror", None) or type(error).__name__
    return _no_answer(Failure.CONNECTION, f"no complete answer from {origin}: {why}", began)
