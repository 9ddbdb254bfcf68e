"""Logs: what libraries say passes through a filter, and no token or password comes out of it."""

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from aftercall.logs import configure_logs

QUIETENED = (
    "uvicorn.access",
    "alembic.runtime.migration",
    "celery.beat",
    "celery.app.trace",
    "celery.worker.strategy",
    "urllib3",
)


@pytest.fixture(autouse=True)
def _logs_as_they_were() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    levels = {name: logging.getLogger(name).level for name in QUIETENED}
    yield
    root.handlers = handlers
    root.setLevel(level)
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)
    structlog.reset_defaults()


class Logged:
    """What comes out on standard error, as JSON. Made within a test: its stream is that test's."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        configure_logs(as_json=True)

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._capsys.readouterr().err.splitlines()]


SHOWN = [
    ("GET /webhooks?token=hunter2 HTTP/1.1", "GET /webhooks?token=*** HTTP/1.1"),
    ("/x?a=1&token=hunter2&b=2", "/x?a=1&token=***&b=2"),
    ('"/x?token=hunter2"', '"/x?token=***"'),
    ("/x?webhook_token=hunter2", "/x?webhook_token=***"),
    ("https://h/x?Token=hunter2", "https://h/x?Token=***"),
    ("postgresql://user:hunter2@db/aftercall", "postgresql://user:***@db/aftercall"),
    ("postgresql+psycopg://u:hunter2@/db?host=/tmp", "postgresql+psycopg://u:***@/db?host=/tmp"),
    ("redis://:hunter2@redis:6379/0", "redis://:***@redis:6379/0"),
    ("rediss://default:hunter2@redis:6379/0", "rediss://default:***@redis:6379/0"),
    ("amqp://u:hunter%2F2@h", "amqp://u:***@h"),
    ("https://u:hunter2@h/x to https://v:hunter3@i", "https://u:***@h/x to https://v:***@i"),
    ("redis://:hunter2@h and /x?token=hunter2", "redis://:***@h and /x?token=***"),
    # Nothing secret in it: nothing is changed.
    ("http://h:80/x?page=2", "http://h:80/x?page=2"),
    ("https://h/x?page=2", "https://h/x?page=2"),
    ("a token is missing", "a token is missing"),
    ("10:30 user@example.com", "10:30 user@example.com"),
    ("कॉल", "कॉल"),
]


@pytest.mark.parametrize(("said", "shown"), SHOWN)
def test_no_token_and_no_password_of_a_url_is_shown(
    capsys: pytest.CaptureFixture[str], said: str, shown: str
) -> None:
    logged = Logged(capsys)
    logging.getLogger("a.library").info("%s", said)
    structlog.get_logger().info(said, url=said)
    library, ours = logged.lines()
    assert (library["event"], ours["event"], ours["url"]) == (shown, shown, shown)


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("redis://:hunter1@hunter2@h:6379/0", id="an @ in the password"),
        pytest.param("postgresql://u:hunter1/hunter2@h/db", id="a slash in the password"),
        pytest.param("postgresql://u:hunter1:hunter2@h/db", id="a colon in the password"),
    ],
)
def test_a_password_with_a_separator_in_it_is_not_shown_by_halves(
    capsys: pytest.CaptureFixture[str], url: str
) -> None:
    # redis-py takes the first, SQLAlchemy the other two: they work, so they are used.
    logged = Logged(capsys)
    logging.getLogger("a.library").warning("cannot connect to %s", url)
    [line] = logged.lines()
    assert "hunter" not in line["event"]
    assert line["event"].startswith("cannot connect to ")
    assert "@h" in line["event"]


def test_a_traceback_shows_none_either(capsys: pytest.CaptureFixture[str]) -> None:
    logged = Logged(capsys)
    try:
        raise ValueError("no such place: https://u:hunter2@h/?token=hunter3")
    except ValueError:
        logging.getLogger("a.library").exception("it failed")
        structlog.get_logger().exception("it failed")
    for line in logged.lines():
        assert line["event"] == "it failed"
        assert "ValueError" in line["exception"]
        assert "hunter" not in str(line)


def test_an_exception_as_a_librarys_message_shows_none_either(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logged = Logged(capsys)
    error = ValueError("https://u:hunter2@h/?token=hunter3")
    logging.getLogger("a.library").error(error)
    logging.getLogger("a.library").error("it failed: %r", error)
    for line in logged.lines():
        assert "ValueError" in line["event"] or "***" in line["event"]
        assert "hunter" not in str(line)


def test_a_terminal_shows_none_either(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(as_json=False)
    logging.getLogger("a.library").info("redis://:hunter2@h")
    structlog.get_logger().info("went", url="https://h/?token=hunter2")
    shown = capsys.readouterr().err
    assert "hunter2" not in shown
    assert "went" in shown


def test_a_line_is_one_line_of_json_with_its_level_and_its_time_in_utc(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logged = Logged(capsys)
    structlog.get_logger().warning("fetch.attempted", call_id="call_1", text="a\nb")
    [line] = logged.lines()
    assert line["event"] == "fetch.attempted"
    assert (line["level"], line["call_id"], line["text"]) == ("warning", "call_1", "a\nb")
    assert line["timestamp"].endswith("Z")


def test_without_a_terminal_it_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs()
    structlog.get_logger().info("started")
    assert json.loads(capsys.readouterr().err)["event"] == "started"


def test_configuring_twice_says_nothing_twice(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(as_json=True)
    configure_logs(as_json=True)
    logging.getLogger("a.library").info("once")
    assert capsys.readouterr().err.count("once") == 1


def test_what_is_below_the_level_is_not_said(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(as_json=True, level=logging.WARNING)
    logging.getLogger("a.library").info("quiet")
    structlog.get_logger().info("quiet")
    assert capsys.readouterr().err == ""


def test_libraries_that_log_urls_as_they_are_say_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logged = Logged(capsys)
    logging.getLogger("uvicorn.access").info("GET /webhooks/twentytwo?token=hunter2")
    logging.getLogger("urllib3.connectionpool").warning("Failed to parse https://h/hunter2")
    assert logged.lines() == []
