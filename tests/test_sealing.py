"""Secrets at rest: sealed with the first key, opened with any, shown by nothing."""

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aftercall.sealing import SHORTEST_KEY, Sealer, SealError

KEY = "the key of this year and long enough"
OLD_KEY = "the key of last year and long enough"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLjSw"


@pytest.mark.parametrize("secret", [SECRET, "", "पासवर्ड", "a\x00b\n", "x" * 10_000])
def test_what_is_sealed_opens_as_it_was(secret: str) -> None:
    sealer = Sealer(KEY)
    assert sealer.open(sealer.seal(secret)) == secret


@given(st.text())
@settings(deadline=None, max_examples=50)
def test_any_text_can_be_sealed(secret: str) -> None:
    assert Sealer(KEY).open(Sealer(KEY).seal(secret)) == secret


def test_a_sealed_secret_does_not_show_it_and_never_looks_the_same() -> None:
    sealer = Sealer(KEY)
    sealed = [sealer.seal(SECRET) for _ in range(20)]
    assert len(set(sealed)) == 20
    for one in sealed:
        assert one.isascii()
        decoded = base64.urlsafe_b64decode(one)
        assert SECRET.encode() not in decoded
        assert SECRET not in one


# ---- rotation ----------------------------------------------------------------


def test_a_new_key_in_front_opens_what_the_old_one_sealed() -> None:
    sealed = Sealer(OLD_KEY).seal(SECRET)
    assert Sealer(f"{KEY},{OLD_KEY}").open(sealed) == SECRET
    assert Sealer(f" {KEY} , {OLD_KEY} ,").open(sealed) == SECRET


def test_the_first_key_seals() -> None:
    sealed = Sealer(f"{KEY},{OLD_KEY}").seal(SECRET)
    assert Sealer(KEY).open(sealed) == SECRET
    with pytest.raises(SealError):
        Sealer(OLD_KEY).open(sealed)


def test_resealing_moves_a_secret_to_the_first_key() -> None:
    both = Sealer(f"{KEY},{OLD_KEY}")
    resealed = both.reseal(Sealer(OLD_KEY).seal(SECRET))
    assert Sealer(KEY).open(resealed) == SECRET


# ---- what does not fit -------------------------------------------------------


@pytest.mark.parametrize(
    "sealed",
    [
        pytest.param(Sealer(OLD_KEY).seal(SECRET), id="another key"),
        pytest.param(Sealer(KEY).seal(SECRET)[:-4], id="cut off"),
        pytest.param("A" + Sealer(KEY).seal(SECRET)[1:], id="another version"),
        pytest.param("", id="empty"),
        pytest.param(SECRET, id="never sealed"),
        pytest.param("न" * 40, id="no base64"),
        pytest.param("gAAAAA==", id="too short"),
    ],
)
def test_what_does_not_open_is_a_seal_error_that_says_what_to_do(sealed: str) -> None:
    with pytest.raises(SealError) as failure:
        Sealer(KEY).open(sealed)
    message = str(failure.value)
    assert "AFTERCALL_SECRET_KEY" in message
    for secret in (KEY, SECRET, *([sealed] if sealed else [])):
        assert secret not in message
    assert failure.value.__cause__ is None
    assert failure.value.__suppress_context__


def test_a_byte_that_was_changed_is_found_out() -> None:
    sealed = bytearray(base64.urlsafe_b64decode(Sealer(KEY).seal(SECRET)))
    for place in (9, 30, len(sealed) - 1):
        changed = bytearray(sealed)
        changed[place] ^= 1
        with pytest.raises(SealError):
            Sealer(KEY).open(base64.urlsafe_b64encode(changed).decode())


@pytest.mark.parametrize(
    "keys",
    [
        "",
        "   ",
        ",",
        " , ,",
        "short",
        "x" * (SHORTEST_KEY - 1),
        f"{KEY},short",
        f"short,{KEY}",
        " " * 10 + "short" + " " * 10,
    ],
)
def test_a_key_that_is_too_short_is_refused_without_showing_it(keys: str) -> None:
    with pytest.raises(SealError) as failure:
        Sealer(keys)
    message = str(failure.value)
    assert "AFTERCALL_SECRET_KEY" in message
    assert "openssl rand -base64 32" in message
    assert KEY not in message
    assert "short" not in message


def test_the_shortest_key_is_long_enough() -> None:
    sealer = Sealer("x" * SHORTEST_KEY)
    assert sealer.open(sealer.seal(SECRET)) == SECRET


def test_a_sealer_shows_no_key() -> None:
    sealer = Sealer(f"{KEY},{OLD_KEY}")
    for shown in (repr(sealer), str(sealer), repr(vars(sealer))):
        assert KEY not in shown
        assert OLD_KEY not in shown


def test_keys_that_are_alike_are_not_the_same() -> None:
    sealed = Sealer(KEY).seal(SECRET)
    for alike in (KEY + "x", KEY.upper(), KEY[:-1]):
        with pytest.raises(SealError):
            Sealer(alike).open(sealed)
