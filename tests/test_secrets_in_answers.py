"""What was sent is hidden where an answer repeats it, in whichever spelling."""

from datetime import timedelta

import pytest

from aftercall.domain.exchange import Answer
from aftercall.http import without_secrets


@pytest.mark.parametrize(
    ("secret", "body"),
    [
        ("s3cret/key+=", b'{"you sent": "s3cret/key+="}'),
        ("s3cret/key+=", b'{"you sent": "s3cret\\/key+="}'),
        ('say "key"', b'{"you sent": "say \\"key\\""}'),
        ("back\\slash", b'{"you sent": "back\\\\slash"}'),
        ("nöch/eins", '{"you sent": "nöch/eins"}'.encode()),
        ("nöch/eins", b'{"you sent": "n\\u00f6ch/eins"}'),
        ("nöch/eins", b'{"you sent": "n\\u00f6ch\\/eins"}'),
    ],
)
def test_a_secret_is_hidden_as_it_is_and_as_json_writes_it(secret: str, body: bytes) -> None:
    said = Answer(status=200, body=body, body_was_cut=False, retry_after=None, elapsed=timedelta())
    hidden = without_secrets(said, [secret])
    assert isinstance(hidden, Answer)
    assert hidden.body == b'{"you sent": "***"}'
