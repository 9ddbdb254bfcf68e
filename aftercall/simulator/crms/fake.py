"""What every fake CRM has: a server, a memory of requests, and ways to misbehave on purpose.

A fake follows its vendor's documented examples and refuses what they do not
show: an unknown field, a missing header, a wrong type. Its module names the
pages. Faults are named by step: `fail_next("find", Trouble.LIMIT)`.
"""

import json
import re
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from email.parser import BytesParser
from email.policy import HTTP
from enum import StrEnum, auto
from typing import Any, Self

from aftercall.simulator.exchange import HttpRequest, Manner, Reply
from aftercall.simulator.server import LocalServer

JsonObject = dict[str, Any]


class Trouble(StrEnum):
    """How a request goes wrong."""

    LIMIT = auto()
    """Refused, as this vendor says that its limit is reached."""
    EXPIRED = auto()
    """Refused, as this vendor says that the token is not valid (any more)."""
    FORBIDDEN = auto()
    """Refused, as this vendor says that a permission is missing."""
    SERVER_ERROR = auto()
    """500, and nothing was done."""
    NO_SUCH_PLACE = auto()
    """404, as for an address that is wrong."""
    LOST_ANSWER = auto()
    """Done, and then the connection breaks: the crash between the answer and the record."""
    LOST_REQUEST = auto()
    """The connection breaks before anything is done."""


class Refused(Exception):
    """The vendor's answer to a request that it does not take."""

    def __init__(self, status: int, body: Any, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"{status} {body}")
        self.reply = Reply(
            status=status, body=json.dumps(body).encode(), headers=dict(headers or {})
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request that the fake has seen, with its path's parts and its JSON."""

    step: str
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str] = field(repr=False)
    body: Any
    raw: bytes = field(repr=False)
    parts: Mapping[str, str]
    #: As it was answered; "" while it is.
    outcome: str = ""


Handler = Callable[[Asked], Any]


@dataclass(frozen=True, slots=True)
class Route:
    """A vendor's endpoint. `step`: what it is for, as faults and tests name it."""

    method: str
    pattern: re.Pattern[str]
    step: str
    handler: Handler
    status: int = 200


class FakeCrmApi(ABC):
    """One vendor's API. Thread-safe: one request at a time."""

    #: As `destinations` name it.
    kind: str

    def __init__(self, *, port: int = 0) -> None:
        self._lock = threading.RLock()
        self._troubles: dict[str, deque[Trouble]] = {}
        self._asked: list[Asked] = []
        self._next_id = 100
        self._routes = self.routes()
        self.server = LocalServer(self._answer, port=port)

    def __enter__(self) -> Self:
        self.server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.close()

    @property
    def url(self) -> str:
        return self.server.origin

    def fail_next(self, step: str, *troubles: Trouble) -> None:
        """The next requests for this step meet these, one each."""
        with self._lock:
            self._troubles.setdefault(step, deque()).extend(troubles)

    def asked(self, step: str | None = None) -> list[Asked]:
        """Every request, in order; of one step."""
        with self._lock:
            return [one for one in self._asked if step in (None, one.step)]

    def settle(self) -> None:
        """Its search shows all that is there, where it takes a while to."""
        return

    def new_id(self) -> str:
        with self._lock:
            self._next_id += 1
            return str(self._next_id)

    # ---- what a vendor's module says ---------------------------------------

    @property
    @abstractmethod
    def credentials(self) -> dict[str, str]:
        """What a destination is given to get in."""

    @abstractmethod
    def routes(self) -> list[Route]:
        """Its endpoints."""

    @abstractmethod
    def authorize(self, asked: Asked) -> None:
        """Refused, in the vendor's words, without a valid token or key."""

    @abstractmethod
    def trouble(self, trouble: Trouble) -> Refused:
        """LIMIT, EXPIRED, FORBIDDEN and SERVER_ERROR in the vendor's words."""

    def step_of(self, asked: Asked) -> str:
        """What it is for, where the endpoint alone does not tell."""
        return asked.step

    def not_found(self, asked: Asked) -> Refused:
        """No such endpoint."""
        return Refused(404, {"message": f"no such resource: {asked.path}"})

    # ---- answering ---------------------------------------------------------

    def _answer(self, request: HttpRequest) -> Reply:
        with self._lock:
            route, asked = self._read(request)
            reply = self._reply(route, asked)
            self._asked.append(replace(asked, outcome=reply.outcome))
            return reply

    def _read(self, request: HttpRequest) -> tuple[Route | None, Asked]:
        for route in self._routes:
            match = route.pattern.fullmatch(request.path)
            if match and route.method == request.method:
                asked = _asked(request, route.step, match.groupdict())
                return route, replace(asked, step=self.step_of(asked))
        return None, _asked(request, "(unknown)", {})

    def _reply(self, route: Route | None, asked: Asked) -> Reply:
        waiting = self._troubles.get(asked.step)
        trouble = waiting.popleft() if waiting else None
        try:
            match trouble:
                case Trouble.LOST_REQUEST:
                    return Reply(manner=Manner.RESET)
                case Trouble.LOST_ANSWER:
                    self._do(route, asked)
                    return Reply(manner=Manner.RESET)
                case None:
                    return self._do(route, asked)
                case Trouble.NO_SUCH_PLACE:
                    raise self.not_found(asked)
                case _:
                    raise self.trouble(trouble)
        except Refused as refused:
            return refused.reply

    def _do(self, route: Route | None, asked: Asked) -> Reply:
        if route is None:
            raise self.not_found(asked)
        self.authorize(asked)
        said = route.handler(asked)
        return Reply(status=route.status, body=b"" if said is None else json.dumps(said).encode())


def route(method: str, path: str, step: str, handler: Handler, *, status: int = 200) -> Route:
    """`path` with {name} for its parts."""
    pattern = re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(path)))
    return Route(method, pattern, step, handler, status)


def _form(content_type: str, raw: bytes) -> dict[str, str]:
    """A multipart body's fields, by name."""
    head = f"Content-Type: {content_type}\r\n\r\n".encode()
    message = BytesParser(policy=HTTP).parsebytes(head + raw)
    return {
        str(part.get_param("name", header="content-disposition")): part.get_content()
        for part in message.iter_parts()
    }


def _asked(request: HttpRequest, step: str, parts: Mapping[str, str]) -> Asked:
    body: Any = None
    content_type = request.headers.get("content-type", "")
    if "json" in content_type:
        try:
            body = json.loads(request.body)
        except ValueError:
            body = None
    elif content_type.startswith("multipart/form-data"):
        body = _form(content_type, request.body)
    return Asked(
        step=step,
        method=request.method,
        path=request.path,
        query=request.query,
        headers=request.headers,
        body=body,
        raw=request.body,
        parts=dict(parts),
    )
