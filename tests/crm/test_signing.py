"""Signatures, checked with the verifier of Standard Webhooks itself and with bare HMAC."""

import base64
import hashlib
import hmac
import itertools
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from aftercall.crm.signing import SecretError, check_secret, new_secret, signature_headers

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLjSw"
OTHER_SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
BODY = '{"type":"call.completed","data":{"city":"मुंबई"}}'.encode()
ID = "019b8e5c-0000-7000-8000-000000000001"
IST = timezone(timedelta(hours=5, minutes=30))
PST = timezone(timedelta(hours=-8))


def sign(
    body: bytes = BODY,
    *,
    delivery_id: str = ID,
    secrets: tuple[str, ...] = (SECRET,),
    now: datetime | None = None,
) -> dict[str, str]:
    return signature_headers(
        body, delivery_id=delivery_id, secrets_=secrets, now=now or datetime.now(UTC)
    )


def verifies(headers: dict[str, str], body: bytes = BODY, *, secret: str = SECRET) -> bool:
    try:
        Webhook(secret).verify(body, headers, json_parse=False)
    except WebhookVerificationError:
        return False
    return True


def by_hand(secret: str, delivery_id: str, timestamp: str, body: bytes) -> str:
    """The specification's own words: base64 of HMAC-SHA256 over id.timestamp.body."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    content = f"{delivery_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()


def test_the_headers_are_those_of_the_contract() -> None:
    now = datetime(2026, 1, 5, 12, 0, 0, 999_999, tzinfo=UTC)
    assert sign(now=now) == {
        "webhook-id": ID,
        "webhook-timestamp": "1767614400",
        "webhook-signature": by_hand(SECRET, ID, "1767614400", BODY),
        "Idempotency-Key": ID,
    }


def test_the_verifier_accepts_it() -> None:
    assert verifies(sign())


@pytest.mark.parametrize("zone", [UTC, IST, PST], ids=str)
def test_whichever_zone_the_clock_is_in_the_verifier_accepts_it(zone: timezone) -> None:
    headers = sign(now=datetime.now(zone))
    assert verifies(headers)


@pytest.mark.parametrize("zone", [IST, PST], ids=str)
def test_one_moment_has_one_signature_in_every_zone(zone: timezone) -> None:
    at = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
    assert sign(now=at.astimezone(zone)) == sign(now=at)


def test_an_attempt_is_signed_anew_under_the_same_id() -> None:
    now = datetime.now(UTC)
    first, second = sign(now=now), sign(now=now + timedelta(seconds=30))
    assert first["webhook-id"] == second["webhook-id"] == second["Idempotency-Key"]
    assert first["webhook-timestamp"] != second["webhook-timestamp"]
    assert first["webhook-signature"] != second["webhook-signature"]
    assert verifies(first)
    assert verifies(second)


@pytest.mark.parametrize(
    "changes",
    [
        {"webhook-id": "another"},
        {"webhook-timestamp": str(int(datetime.now(UTC).timestamp()) - 7)},
        {"webhook-signature": "v1," + base64.b64encode(b"0" * 32).decode()},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_whoever_changes_a_header_is_found_out(changes: dict[str, str]) -> None:
    assert not verifies({**sign(), **changes})


def test_whoever_changes_the_body_is_found_out() -> None:
    assert not verifies(sign(), BODY + b" ")


def test_another_secret_does_not_verify_it() -> None:
    assert not verifies(sign(), secret=OTHER_SECRET)


def test_two_secrets_make_two_signatures_the_current_one_first() -> None:
    headers = sign(secrets=(SECRET, OTHER_SECRET))
    timestamp = headers["webhook-timestamp"]
    assert headers["webhook-signature"].split() == [
        by_hand(SECRET, ID, timestamp, BODY),
        by_hand(OTHER_SECRET, ID, timestamp, BODY),
    ]
    assert verifies(headers, secret=SECRET)
    assert verifies(headers, secret=OTHER_SECRET)


# ---- secrets -----------------------------------------------------------------


def test_a_new_secret_is_a_good_one_and_new() -> None:
    made = {new_secret() for _ in range(200)}
    assert len(made) == 200
    for secret in made:
        check_secret(secret)
        assert len(base64.b64decode(secret.removeprefix("whsec_"))) == 32


def secret_of(bytes_: int) -> str:
    """Of so many bytes, whose base64 has + and / in it."""
    raw = bytes(itertools.islice(itertools.cycle([0xFB, 0xFF, 0x3E]), bytes_))
    return "whsec_" + base64.b64encode(raw).decode()


@pytest.mark.parametrize("length", [24, 25, 32, 63, 64])
def test_a_secret_has_24_to_64_bytes(length: int) -> None:
    check_secret(secret_of(length))
    assert verifies(sign(secrets=(secret_of(length),)), secret=secret_of(length))


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "whsec_",
        secret_of(0),
        secret_of(23),
        secret_of(65),
        secret_of(1_000),
        SECRET.removeprefix("whsec_"),
        SECRET.upper(),
        " " + SECRET,
        SECRET + " ",
        SECRET + "\n",
        SECRET[:-1],
        SECRET[:-1] + "*",
        SECRET[:-1] + "\N{DEVANAGARI DIGIT ONE}",
        SECRET.replace("whsec_", "whpk_"),
        SECRET[:-4] + "-_-_",
        "a plain password of some length",
    ],
)
def test_anything_else_is_refused_by_a_message_that_does_not_show_it(secret: str) -> None:
    with pytest.raises(SecretError) as refusal:
        check_secret(secret)
    shown = secret.removeprefix("whsec_").strip()
    assert not shown or shown not in str(refusal.value)
    assert "whsec_" in str(refusal.value)


@given(st.binary(min_size=24, max_size=64), st.text(max_size=60), st.timedeltas(
    timedelta(seconds=-200), timedelta(seconds=200)
), st.sampled_from([UTC, IST, PST]), st.uuids())  # fmt: skip
@settings(deadline=None)
def test_whatever_is_signed_verifies_and_nothing_else_does(
    key: bytes, text: str, apart: timedelta, zone: timezone, delivery_id: object
) -> None:
    secret = "whsec_" + base64.b64encode(key).decode()
    check_secret(secret)
    body = text.encode()
    headers = sign(
        body,
        delivery_id=str(delivery_id),
        secrets=(secret,),
        now=(datetime.now(UTC) + apart).astimezone(zone),
    )
    assert verifies(headers, body, secret=secret)
    assert not verifies(headers, body + b"\n", secret=secret)
    assert headers["webhook-signature"] == by_hand(
        secret, str(delivery_id), headers["webhook-timestamp"], body
    )
