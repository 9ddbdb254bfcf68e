"""Logs: one wide line an attempt, JSON in containers, readable on a terminal.

Secrets and phone numbers are never passed to a logger; what libraries log, and
reasons that quote an answer or a call's own data, pass through a filter that
hides tokens in URLs and whatever looks like a phone number.
"""

import json
import logging
import re
import sys
from typing import Any

import orjson
import structlog
from structlog.typing import EventDict, Processor

from aftercall.domain.unseen import UNSEEN

#: Nine to fifteen digits, in one piece or several; no part of a UUID, a time or a fraction.
_PHONE = re.compile(r"(?<![\w.:/-])\+?\d(?:[ -]?\d){8,14}(?![\w:-])(?!\.\d)")
_SHORTEST_PHONE = 9
_NO_PHONES = ("_id", "_at")
_UNSEEN = re.compile(rf"[\x7f{UNSEEN}]")
_SECRETS = re.compile(r"(token=)[^&\s\"']+|(://[^:/@\s]*:)\S+(?=@)", re.IGNORECASE)


def configure_logs(*, as_json: bool | None = None, level: int = logging.INFO) -> None:
    """For the whole process. By default JSON unless standard error is a terminal."""
    if as_json is None:
        as_json = not sys.stderr.isatty()
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _hide_secrets,
    ]
    render = _as_json if as_json else _for_people(structlog.dev.ConsoleRenderer(colors=True))
    # Ours go out directly: through the standard library a line costs three times as much.
    structlog.configure(
        processors=[*shared, render],
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for noisy in ("uvicorn.access", "alembic.runtime.migration", "celery.beat", "celery.app.trace"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    logging.getLogger("celery.worker.strategy").setLevel(logging.WARNING)
    # It logs whole URLs, at WARNING even: a hook's URL may hold a key.
    logging.getLogger("urllib3").setLevel(logging.ERROR)


def _as_json(_logger: Any, _method: str, event: EventDict) -> str:
    try:
        line = orjson.dumps(event, default=repr).decode()
    except TypeError:  # half a pair of surrogates, or a number beyond 64 bits
        line = json.dumps(event, default=repr)
    return _visible(line)


def _for_people(renderer: structlog.dev.ConsoleRenderer) -> Processor:
    def render(logger: Any, method: str, event: EventDict) -> str:
        return _visible(renderer(logger, method, event))

    return render


def _visible(line: str) -> str:
    """One line stays one line, and reads as it was written."""
    if line.isascii() and "\x7f" not in line:
        return line
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", line)


def _hide_secrets(_logger: Any, _method: str, event: EventDict) -> EventDict:
    for key, value in event.items():
        if not isinstance(value, str):
            continue
        if "token=" in value or "://" in value:
            event[key] = value = _SECRETS.sub(r"\1\2***", value)
        if len(value) >= _SHORTEST_PHONE and key != "timestamp" and not key.endswith(_NO_PHONES):
            event[key] = _PHONE.sub("***", value)
    return event
