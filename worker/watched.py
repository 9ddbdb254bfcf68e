"""How a worker or a beat is watched from outside: its heartbeat in Redis, and, when
AFTERCALL_METRICS_PORT is set, /metrics and /healthz of its own.

In the main process, in threads of their own. A worker is well while it takes messages; without
Redis there are none to take, and starting it anew would not help.
"""

import shutil
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import AF_INET, AF_INET6

import structlog

from aftercall.counters import registry_of, share_with_children
from aftercall.flows.heartbeat import Heartbeat, beat_in_background
from aftercall.settings import Settings
from aftercall.stores import find_stores, redis_client

log = structlog.get_logger(__name__)

#: Seconds for a request's head.
_PATIENCE = 5.0


class Watched:
    """One process's, from its start to its end."""

    def __init__(self, process: str) -> None:
        self._process = process
        self._ends: list[Callable[[], None]] = []

    def before_fork(self, settings: Settings) -> None:
        """Children count into a folder that this process can read."""
        if not settings.metrics_port:
            return
        try:
            folder = share_with_children()
        except OSError as error:
            log.warning(
                "metrics.off",
                why=f"no folder for the counts of the children: {error.strerror}",
                cure="make the folder for temporary files writable, then restart",
            )
            return
        if folder is not None:
            self._ends.append(lambda: shutil.rmtree(folder, ignore_errors=True))

    def start(
        self, settings: Settings, *, idle: Callable[[], float], is_well: Callable[[], bool]
    ) -> None:
        """`idle`: for how many seconds it has not been seen to work. `is_well`: for /healthz."""
        client = redis_client(find_stores(settings).redis_url)
        self._ends.append(beat_in_background(Heartbeat(client, self._process), idle))
        if settings.metrics_port:
            try:
                server = serve(settings.metrics_host, settings.metrics_port, is_well=is_well)
            except OSError as error:
                # Its work is worth more than its numbers.
                log.error(
                    "metrics.not_served",
                    host=settings.metrics_host,
                    port=settings.metrics_port,
                    why=error.strerror,
                    cure="free the port, or set another AFTERCALL_METRICS_PORT",
                )
            else:
                self._ends.append(server.shutdown)

    def end(self) -> None:
        while self._ends:
            self._ends.pop()()


def serve(host: str, port: int, *, is_well: Callable[[], bool]) -> ThreadingHTTPServer:
    """Answers /metrics and /healthz until `shutdown`; OSError when the port is taken."""
    server = _server_class(host)((host, port), _handler(is_well))
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return server


def _server_class(host: str) -> type[ThreadingHTTPServer]:
    class Server(ThreadingHTTPServer):
        address_family = AF_INET6 if ":" in host else AF_INET
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """A client that went away is nobody's fault."""

    return Server


def _handler(is_well: Callable[[], bool]) -> type[BaseHTTPRequestHandler]:
    from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

    registry = registry_of()

    class Handler(BaseHTTPRequestHandler):
        timeout = _PATIENCE
        server_version = "aftercall"
        sys_version = ""

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == "/metrics":
                self._answer(200, generate_latest(registry), CONTENT_TYPE_LATEST)
            elif path == "/healthz":
                well = is_well()
                said = b"ok" if well else b"it takes no messages"
                self._answer(200 if well else 503, said, "text/plain; charset=utf-8")
            else:
                self._answer(404, b"/metrics and /healthz are here", "text/plain; charset=utf-8")

        def log_message(self, *_: object) -> None:
            """Nothing: a probe every few seconds is no news."""

        def _answer(self, status: int, body: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler
