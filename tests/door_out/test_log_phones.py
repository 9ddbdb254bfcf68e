"""No log shows a phone number, whichever words it comes in; and what is none stays readable."""

import pytest

from aftercall.logs import _hide_secrets

SHOWN = [
    ("invalid type for value: +919812345678, expected", "invalid type for value: ***, expected"),
    ("9812345678 is not a number in E.164", "*** is not a number in E.164"),
    ("call +91 98123 45678.", "call ***."),
    ("call 098-1234-5678!", "call ***!"),
    ('{"to_number": "919812345678"}', '{"to_number": "***"}'),
    ("['+14155550123', '442071838750']", "['***', '***']"),
    # What is no phone number.
    ("failed since 2026-11-24 14:38 UTC", "failed since 2026-11-24 14:38 UTC"),
    ("2026-11-24T14:38:10.123456Z", "2026-11-24T14:38:10.123456Z"),
    ("018f0000-0000-7000-8000-000000000000", "018f0000-0000-7000-8000-000000000000"),
    ("01234567-8901-7234-8567-890123456789", "01234567-8901-7234-8567-890123456789"),
    ("call_9812345678 is there", "call_9812345678 is there"),
    ("succeeded in 0.123456789012s", "succeeded in 0.123456789012s"),
    ("127.0.0.1:53161 answered 503 after 20000 ms", "127.0.0.1:53161 answered 503 after 20000 ms"),
    ("http://127.0.0.1:8000/calls/9812345678", "http://127.0.0.1:8000/calls/9812345678"),
]


@pytest.mark.parametrize(("said", "shown"), SHOWN)
def test_a_phone_number_is_hidden_in_whatever_is_said(said: str, shown: str) -> None:
    assert _hide_secrets(None, "info", {"event": said, "reason": said}) == {
        "event": shown,
        "reason": shown,
    }


@pytest.mark.parametrize("key", ["call_id", "workspace_id", "delivery_id", "next_due_at"])
def test_an_id_of_digits_stays_an_id(key: str) -> None:
    assert _hide_secrets(None, "info", {key: "9812345678"}) == {key: "9812345678"}
