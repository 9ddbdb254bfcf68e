"""Where the fake Twenty2 keeps recordings and transcripts: behind links that are signed and expire.

The provider documents neither the storage nor the files; this follows how object
stores behave: a link that has expired, or whose signature is wrong, is answered
403 with a page of XML. Each file is made up from the call, the same every time.
"""

import hashlib
import math
import struct
import threading
import time
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlencode

from aftercall.simulator.calls import STORAGE, SimulatedCall
from aftercall.simulator.exchange import HttpRequest, Reply
from aftercall.simulator.fault_replies import faulty_reply
from aftercall.simulator.faults import CRM_FAULTS, Fault, FaultPlan, PlannedFault

PATH: Final = "/storage/"
RECORDING: Final = "recording"
TRANSCRIPT: Final = "transcript"
_RATE: Final = 8_000
_SECONDS: Final = 0.25
_KINDS: Final = {RECORDING: "audio/wav", TRANSCRIPT: "text/plain; charset=utf-8"}


class FakeStorage:
    """Gives links, and answers them. Thread-safe."""

    def __init__(
        self, *, seed: int, origin: Callable[[], str], call: Callable[[str], SimulatedCall]
    ) -> None:
        self._key = f"{seed}/storage"
        self._origin = origin
        self._call = call
        self._faults = FaultPlan(seed=self._key, allowed=CRM_FAULTS)
        self._lock = threading.Lock()
        self._generation = 0
        self._has_seen_credentials = False
        self._transcripts: dict[str, str] = {}
        #: Redirects before a file comes.
        self.hops = 0
        #: Where every link leads instead; None: to its file.
        self.leads_to: str | None = None
        self.content_types: dict[str, str] = dict(_KINDS)

    @property
    def has_seen_credentials(self) -> bool:
        """Whether a request carried what is the provider's business alone."""
        return self._has_seen_credentials

    def expire_links(self) -> None:
        """Every link that was given is refused from now on."""
        with self._lock:
            self._generation += 1

    def fail_next(self, call_id: str, kind: str, *faults: Fault | PlannedFault) -> None:
        """The next requests for this file meet these, one each."""
        self._faults.fail_next_for(f"{kind}/{call_id}", *faults)

    def say(self, call_id: str, transcript: str) -> None:
        """What is in this call's transcript, instead of what is made up."""
        with self._lock:
            self._transcripts[call_id] = transcript

    def with_links(self, answer: dict[str, Any], call: SimulatedCall) -> dict[str, Any]:
        """The detail with fresh links, where the made-up storage's name stands in it."""
        changed = dict(answer)
        for kind in _KINDS:
            media = answer.get(kind)
            if media and str(media.get("url", "")).startswith(STORAGE):
                changed[kind] = {**media, "url": self._link(kind, call.call_id)}
        return changed

    def answer(self, request: HttpRequest) -> Reply:
        kind = request.path.removeprefix(PATH)
        call_id = request.query.get("call_id", "")
        if "authorization" in request.headers or "x-workspace-id" in request.headers:
            self._has_seen_credentials = True
        if kind not in _KINDS or not self._is_good(request, kind, call_id):
            return _DENIED
        fault = self._faults.draw(f"{kind}/{call_id}")
        if fault is None:
            return self._onward(request) or self._file(kind, call_id)
        return faulty_reply(
            fault,
            truth=lambda: self._file(kind, call_id),
            error_reply=lambda status, _: Reply(status=status, body=_XML, content_type=_XML_TYPE),
        )

    def file(self, kind: str, call_id: str) -> bytes:
        """What is behind the link."""
        return self._file(kind, call_id).body

    def _onward(self, request: HttpRequest) -> Reply | None:
        if self.leads_to is not None:
            return Reply(status=302, headers={"Location": self.leads_to})
        hop = int(request.query.get("hop", "0"))
        if hop >= self.hops:
            return None
        query = urlencode({**request.query, "hop": str(hop + 1)})
        return Reply(status=302, headers={"Location": f"{request.path}?{query}"})

    def _file(self, kind: str, call_id: str) -> Reply:
        call = self._call(call_id)
        with self._lock:
            said = self._transcripts.get(call_id)
        body = _tone(call_id) if kind == RECORDING else (said or _said(call)).encode()
        return Reply(body=body, content_type=self.content_types[kind])

    def _link(self, kind: str, call_id: str) -> str:
        expires = str(int(time.time()) + 3_600)
        signature = self._signature(kind, call_id, expires)
        query = {"call_id": call_id, "expires": expires, "signature": signature}
        return f"{self._origin()}{PATH}{kind}?{urlencode(query)}"

    def _is_good(self, request: HttpRequest, kind: str, call_id: str) -> bool:
        expires = request.query.get("expires", "")
        is_signed = request.query.get("signature") == self._signature(kind, call_id, expires)
        return is_signed and expires.isdecimal() and int(expires) > time.time()

    def _signature(self, kind: str, call_id: str, expires: str) -> str:
        with self._lock:
            said = f"{self._key}/{self._generation}/{kind}/{call_id}/{expires}"
        return hashlib.blake2b(said.encode("utf-8", "replace"), digest_size=16).hexdigest()


_XML: Final = b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>"
_XML_TYPE: Final = "application/xml"
_DENIED: Final = Reply(status=403, body=_XML, content_type=_XML_TYPE)


def _tone(call_id: str) -> bytes:
    """A quarter of a second, as WAV: its pitch is the call's own."""
    pitch = 300 + int.from_bytes(hashlib.blake2b(call_id.encode(), digest_size=2).digest()) % 500
    samples = bytes(
        128 + int(60 * math.sin(2 * math.pi * pitch * index / _RATE))
        for index in range(int(_RATE * _SECONDS))
    )
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, _RATE, _RATE, 1, 8)
    chunks = b"WAVE" + form + struct.pack("<4sI", b"data", len(samples)) + samples
    return struct.pack("<4sI", b"RIFF", len(chunks)) + chunks


def _said(call: SimulatedCall) -> str:
    given, learned = call.input_parameters or {}, call.output_parameters or {}
    lines = [
        f"Agent: Namaste {given.get('customerName', '')}, about the site visit?",
        f"Customer: {learned.get('notes') or 'Tell me more.'}",
        f"Agent: Shall I call {call.callee_phone} again? {learned.get('callback_time', '')}",
        f"Customer: {learned.get('interested', 'yes')}, thank you.",
    ]
    return "\n".join(" ".join(line.split()) for line in lines) + "\n"
