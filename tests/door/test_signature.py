"""The webhook's signature: `x-twenty2-signature: sha256=<hex HMAC-SHA256 of the raw body>`."""

import hashlib
import hmac

import pytest

from tests.door.conftest import HMAC_SECRET
from tests.door.server import Door
from tests.door.wire import BODY, post, said, status


def hexadecimal(body: bytes, *, secret: str = HMAC_SECRET) -> str:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


HEX = hexadecimal(BODY)
RIGHT = f"sha256={HEX}"
WRONG = "sha256=" + "0" * 64


@pytest.mark.parametrize(
    ("signatures", "expected"),
    [
        ([RIGHT], 200),
        # Hex has two spellings.
        ([f"sha256={HEX.upper()}"], 200),
        ([RIGHT.upper()], 200),
        ([f"  {RIGHT}  "], 200),
        # Twice is not at all, in whichever order.
        ([RIGHT, WRONG], 401),
        ([WRONG, RIGHT], 401),
        ([RIGHT, RIGHT], 401),
        ([f"{WRONG}, {RIGHT}"], 401),
        ([f"{RIGHT}, {WRONG}"], 401),
        ([f"{RIGHT},{RIGHT}"], 401),
        # Of another body, of another secret.
        ([f"sha256={hexadecimal(BODY + b' ')}"], 401),
        ([f"sha256={hexadecimal(b'')}"], 401),
        ([f"sha256={hexadecimal(BODY, secret='')}"], 401),
        ([f"sha256={hexadecimal(BODY, secret=HMAC_SECRET + ' ')}"], 401),
        ([f"sha256={hashlib.sha256(BODY).hexdigest()}"], 401),
        ([f"sha256={hashlib.sha256(HMAC_SECRET.encode() + BODY).hexdigest()}"], 401),
        # Another prefix, another length.
        ([HEX], 401),
        ([f"={HEX}"], 401),
        ([f"sha256:{HEX}"], 401),
        ([f"sha256= {HEX}"], 401),
        ([f"sha-256={HEX}"], 401),
        ([f"v1,{HEX}"], 401),
        ([f"sha256={RIGHT}"], 401),
        ([f"sha512={hmac.new(HMAC_SECRET.encode(), BODY, hashlib.sha512).hexdigest()}"], 401),
        ([f"sha1={hmac.new(HMAC_SECRET.encode(), BODY, hashlib.sha1).hexdigest()}"], 401),
        ([RIGHT[:-1]], 401),
        ([RIGHT + "0"], 401),
        ([f"{RIGHT};"], 401),
        # Not ASCII: digits that only look like some, and what is no UTF-8.
        ([f"sha256={HEX}".replace("sha256", "ſha256").encode().decode("latin-1")], 401),
        ([f"sha256={HEX[:-1]}０".encode().decode("latin-1")], 401),
        ([f"sha256={HEX[:-1]}\xff"], 401),
        (["sha256=" + "\xe9" * 64], 401),
        (["sha256=" + "a" * 60_000], 401),
    ],
)
def test_only_one_right_signature_opens(
    signed_door: Door, signatures: list[str], expected: int
) -> None:
    headers = [("X-Twenty2-Signature", one) for one in signatures]
    answer = said(signed_door, post(BODY, *headers))
    assert status(answer) == expected, answer
    assert HEX.encode() not in answer, "it tells what it expects"
    assert len(signed_door.api.calls()) == (1 if expected == 200 else 0)


def test_a_signature_is_of_the_bytes_and_not_of_what_they_mean(signed_door: Door) -> None:
    for body in (b'{"call_id":"call_1"}', BODY + b"\n", b"\xef\xbb\xbf" + BODY):
        answer = said(signed_door, post(body, ("X-Twenty2-Signature", RIGHT)))
        assert status(answer) == 401, body
    assert signed_door.api.calls() == []


def test_a_signature_in_the_url_or_the_body_is_none(signed_door: Door) -> None:
    in_url = post(BODY).replace(b"?token=", f"?x-twenty2-signature={RIGHT}&token=".encode())
    assert status(said(signed_door, in_url)) == 401
    body = b'{"call_id": "call_1", "x-twenty2-signature": "%s"}' % RIGHT.encode()
    assert status(said(signed_door, post(body))) == 401


def test_a_wrong_signature_is_refused_before_the_body_is_understood(signed_door: Door) -> None:
    """What is not Twenty2's is not told what would be wrong with it."""
    for body in (b"{", b"[]", b'{"call_id": ""}'):
        answer = said(signed_door, post(body, ("X-Twenty2-Signature", WRONG)))
        assert status(answer) == 401, body
