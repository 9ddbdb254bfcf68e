"""Which ids of a client's are taken for a request: none that may hold a phone number."""

import pytest

from api.request_line import _sane_id

UUID = "123e4567-e89b-12d3-a456-426614174000"


def taken(*given: str) -> str | None:
    return _sane_id({"headers": [(b"x-request-id", one.encode()) for one in given]})


@pytest.mark.parametrize(
    "given", ["gateway-7f3a", "a.b_c-D9", UUID, UUID.upper(), "0af7651916cd43dd", "a" * 128, "1-2"]
)
def test_a_sane_id_is_taken(given: str) -> None:
    assert taken(given) == given


@pytest.mark.parametrize(
    "given",
    [
        *("919876543210", "tel:+919876543210", "+919876543210", "98765.43210", "98765-43210"),
        *("987..65--43__210", "call-9876543210", "9876543210-1", "9876543210987654", f"{UUID}-1"),
        *("12345678-1234-1234-1234-919876543210", "", "x" * 129, "two words", "ф", "a\n", "a/b"),
    ],
)
def test_one_that_is_not_or_that_may_be_a_phone_number_is_not(given: str) -> None:
    assert taken(given) is None


def test_two_are_none() -> None:
    assert taken("a", "b") is None
