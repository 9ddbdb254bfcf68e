"""What we tell receivers to verify our signature with does so, in each language."""

import json
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from aftercall.crm.signing import new_secret, signature_headers
from api.console.destinations import receivers
from tests.installed import installed

ID = "019b8e5c-0000-7000-8000-000000000001"
BODY = '{"type":"call.completed","data":{"city":"मुंबई"}}'.encode()
OLD, NEW = new_secret(), new_secret()
NODE = """
const { verify } = require(process.argv[2]);
const { secret, headers, body } = JSON.parse(process.argv[3]);
console.log(verify(secret, headers, Buffer.from(body)));
"""
PHP = """<?php
require $argv[1];
$given = json_decode($argv[2], true);
echo verify($given['secret'], $given['headers'], $given['body']) ? 'true' : 'false';
"""

Verify = Callable[[str, dict[str, str], bytes], bool]


def code(language: str) -> str:
    return dict(receivers())[language]


def _run(command: list[str], secret: str, headers: dict[str, str], body: bytes) -> bool:
    given = json.dumps({"secret": secret, "headers": headers, "body": body.decode()})
    done = subprocess.run([*command, given], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.strip() in ("true", "false"), done.stdout
    return done.stdout.strip() == "true"


@pytest.fixture(params=["Python", "Node", "PHP"])
def verify(request: pytest.FixtureRequest, tmp_path: Path) -> Verify:
    if request.param == "Python":
        names: dict[str, Any] = {}
        exec(code("Python"), names)  # noqa: S102 - it is our own
        found: Verify = names["verify"]
        return found
    program, package, suffix, asks = {
        "Node": ("node", "nodejs", "js", NODE),
        "PHP": ("php", "php-cli", "php", PHP),
    }[request.param]
    path = installed(program, package)
    ours, asking = tmp_path / f"verify.{suffix}", tmp_path / f"ask.{suffix}"
    ours.write_text(code(request.param))
    asking.write_text(asks)
    return lambda *given: _run([path, str(asking), str(ours)], *given)


def signed(*secrets: str, ago: timedelta = timedelta()) -> dict[str, str]:
    return signature_headers(BODY, delivery_id=ID, secrets_=secrets, now=datetime.now(UTC) - ago)


def test_what_we_signed_lately_is_ours(verify: Verify) -> None:
    assert verify(NEW, signed(NEW), BODY)
    assert verify(NEW, signed(NEW, ago=timedelta(minutes=4)), BODY)


def test_while_two_secrets_overlap_either_is_enough(verify: Verify) -> None:
    headers = signed(NEW, OLD)
    assert verify(NEW, headers, BODY)
    assert verify(OLD, headers, BODY)


FORGED: dict[str, Callable[[], tuple[dict[str, str], bytes]]] = {
    "another secret": lambda: (signed(OLD), BODY),
    "another body": lambda: (signed(NEW), BODY + b" "),
    "too old": lambda: (signed(NEW, ago=timedelta(minutes=6)), BODY),
    "too new": lambda: (signed(NEW, ago=-timedelta(minutes=6)), BODY),
    "another id": lambda: ({**signed(NEW), "webhook-id": "another"}, BODY),
    "no time": lambda: ({**signed(NEW), "webhook-timestamp": "soon"}, BODY),
    "an empty signature": lambda: ({**signed(NEW), "webhook-signature": "v1,"}, BODY),
    "no signature": lambda: ({**signed(NEW), "webhook-signature": "nonsense"}, BODY),
    "another version": lambda: (
        {**signed(NEW), "webhook-signature": signed(NEW)["webhook-signature"].replace("v1", "v2")},
        BODY,
    ),
    "no headers": lambda: ({}, BODY),
}


# Signed when the test runs: what was too new would have come of age meanwhile.
@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED)
def test_what_is_not_ours_is_refused(
    verify: Verify, forge: Callable[[], tuple[dict[str, str], bytes]]
) -> None:
    headers, body = forge()
    assert not verify(NEW, headers, body)
