"""Guessing the admin token: counted by address, at once or one by one, and to nobody's harm."""

import socket
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from api.access import GUESSES_A_MINUTE
from tests.conftest import ADMIN_TOKEN, WEBHOOK_TOKEN
from tests.door.server import Door
from tests.door.wire import BODY, head, post, said, status

RIGHT = ("Authorization", f"Bearer {ADMIN_TOKEN}")
WRONG = ("Authorization", "Bearer wrong")
STATS = "/api/v1/stats"


def guess(door: Door, *headers: tuple[str, str]) -> int:
    return status(said(door, head("GET", STATS, WRONG, *headers)))


def guess_from(door: Door, address: str, authorization: tuple[str, str]) -> int:
    """From another address of this machine."""
    with socket.create_connection(door.address, timeout=5, source_address=(address, 0)) as it:
        it.sendall(head("GET", STATS, authorization))
        return status(it.recv(65_536))


def test_a_hundred_guesses_at_once_are_counted_to_the_last(door: Door) -> None:
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: guess(door), range(100)))
    assert answers.count(401) == GUESSES_A_MINUTE
    assert answers.count(429) == 100 - GUESSES_A_MINUTE


@pytest.mark.parametrize(
    ("method", "path", "headers", "body"),
    [
        ("GET", "/api/v1/calls/x", [], b""),
        ("POST", "/api/v1/calls", [("Content-Type", "application/json")], b"{"),
        ("POST", "/api/v1/destinations", [], b"{}"),
        ("DELETE", f"/api/v1/destinations/{uuid.UUID(int=1)}", [], b""),
    ],
)
def test_no_route_and_no_malformed_request_is_guessed_at_for_nothing(
    door: Door, method: str, path: str, headers: list[tuple[str, str]], body: bytes
) -> None:
    for _ in range(GUESSES_A_MINUTE):
        request = head(method, path, WRONG, ("Content-Length", str(len(body))), *headers) + body
        assert status(said(door, request)) == 401
    assert guess(door) == 429


def test_the_right_token_opens_from_the_guessers_address_and_from_elsewhere(door: Door) -> None:
    for _ in range(GUESSES_A_MINUTE):
        guess(door)
    assert guess(door) == 429
    assert guess_from(door, "127.0.0.1", RIGHT) == 200
    assert guess_from(door, "127.0.0.2", RIGHT) == 200
    # Whose guesses are counted for themselves.
    assert guess_from(door, "127.0.0.2", WRONG) == 401
    assert guess_from(door, "127.0.0.1", WRONG) == 429


def test_the_proxy_before_it_says_whose_guess_it_is(door: Door) -> None:
    for _ in range(GUESSES_A_MINUTE):
        guess(door, ("X-Forwarded-For", "203.0.113.7"))
    assert guess(door, ("X-Forwarded-For", "203.0.113.7")) == 429
    assert guess(door, ("X-Forwarded-For", "203.0.113.8")) == 401
    # What the client itself had put before the proxy's word changes nothing.
    assert guess(door, ("X-Forwarded-For", "198.51.100.1, 203.0.113.7")) == 429


@pytest.mark.parametrize(
    "address", ["", " ", "x" * 50_000, "a\tb", "\xff\xfe", "'; FLUSHALL", "{1}", "*", "127.0.0.1:x"]
)
def test_a_proxy_that_says_nonsense_is_no_failure(door: Door, address: str) -> None:
    assert guess(door, ("X-Forwarded-For", address)) == 401


def test_webhooks_are_taken_whoever_guesses(door: Door) -> None:
    for _ in range(GUESSES_A_MINUTE + 1):
        guess(door)
    assert guess(door) == 429
    assert status(said(door, post(BODY))) == 200
    bearer = ("Authorization", f"Bearer {WEBHOOK_TOKEN}")
    assert status(said(door, post(BODY, bearer, path="/webhooks/twentytwo"))) == 200


def test_a_wrong_webhook_token_is_told_so_however_often(door: Door) -> None:
    """All of Twenty2's webhooks may come from one address: who guesses must not shut it out."""
    wrong = post(BODY, path="/webhooks/twentytwo?token=wrong")
    assert {status(said(door, wrong)) for _ in range(2 * GUESSES_A_MINUTE)} == {401}
    assert status(said(door, post(BODY))) == 200
    assert guess(door) == 401
