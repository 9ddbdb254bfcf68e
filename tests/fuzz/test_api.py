"""The API against its own OpenAPI document: Schemathesis, all checks, on a process with data in it.

FUZZ_EXAMPLES makes the run longer: `FUZZ_EXAMPLES=500 make test T=tests/fuzz/test_api.py`.
"""

import os
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from aftercall.db.models import Destination, Reconciliation, Replay
from aftercall.embedded import StoreUrls
from aftercall.flows.service import Service
from aftercall.simulator import Fault, Simulator
from tests.api.server import SETTINGS, Api, running_api
from tests.api.test_problems import ROUTES
from tests.cli.command import environment
from tests.conftest import ADMIN_TOKEN, WORKSPACE
from tests.flows.work import accept, accept_rows, add_hook, deliver, fetch, queued_ids

#: For each operation; every boundary that the document has is tried besides.
EXAMPLES = os.environ.get("FUZZ_EXAMPLES", "15")
#: The webhook, /healthz, /readyz and /metrics.
OPEN_OPERATIONS = 4

pytestmark = pytest.mark.timeout(0 if "FUZZ_EXAMPLES" in os.environ else 300)


@pytest.fixture
def api(stores: StoreUrls, service: Service, simulator: Simulator, tmp_path: Path) -> Iterator[Api]:
    """With calls and deliveries in several states."""
    add_hook(service, simulator)
    rows = accept_rows(service, simulator.twentytwo.make_calls(4))
    fetch(service, rows[:3])
    simulator.crm.hook("leads").fail_next(Fault.BAD_REQUEST)
    deliver(service, queued_ids(service)[:2])
    accept(service, ["call_1"])
    with service.database.transaction() as session:
        # A CRM that nobody can ask: 409 says more than 404.
        session.add(
            Destination(
                id=uuid.UUID(int=2),
                name="crm",
                kind="hubspot",
                url="http://127.0.0.1:9",
                enabled=False,
                events=["call.completed"],
                secret_sealed="",
            )
        )
        session.add(
            Replay(
                id=uuid.UUID(int=1),
                state="running",
                conditions={"state": "dead"},
                total=1,
                after_id=uuid.UUID(int=0),
                last_id=uuid.UUID(int=0),
                created_at=service.clock(),
            )
        )
        session.add(
            Reconciliation(
                id=uuid.UUID(int=3),
                workspace_id=WORKSPACE.id,
                kind="periodic",
                state="running",
                due_at=service.clock(),
                created_at=service.clock(),
            )
        )
    with running_api(
        tmp_path,
        AFTERCALL_DATABASE_URL=stores.database_url,
        AFTERCALL_REDIS_URL=stores.redis_url,
    ) as api:
        yield api


def fuzz(api: Api, config: str, *options: str, operations: int) -> None:
    """Runs `st`; all operations must have been tried, and every answer must pass every check."""
    run = subprocess.run(
        [
            *(str(Path(sys.executable).with_name("st")), "--config-file"),
            *(str(Path(__file__).with_name(config)), "run", f"{api.origin}/openapi.json"),
            *("--generation-deterministic", "--continue-on-failure", "--no-color", *options),
        ],
        cwd=api.log.parent,
        env=environment(**SETTINGS),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout
    assert re.search(rf"Tested: +{operations}$", run.stdout, re.MULTILINE), run.stdout
    # Neither an answer that a check cannot judge, nor a traceback that no answer shows.
    assert "WARNINGS" not in run.stdout, run.stdout
    assert "Traceback" not in api.log.read_text()


def test_the_api_does_what_its_document_says(api: Api) -> None:
    fuzz(
        api,
        "schemathesis.toml",
        *("--header", f"Authorization: Bearer {ADMIN_TOKEN}", "--max-examples", EXAMPLES),
        operations=len(ROUTES) + OPEN_OPERATIONS,
    )


@pytest.mark.parametrize("header", ["X-Nothing: 1", "Authorization: Bearer wrong"])
def test_whatever_a_stranger_asks_of_the_operators_api_the_answer_is_401(
    api: Api, header: str
) -> None:
    fuzz(
        api,
        "strangers.toml",
        *("--header", header, "--max-examples", "5", "--phases", "coverage,fuzzing"),
        # That nobody is let in is what it would warn of.
        *("--include-path-regex", "^/api/v1", "--warnings", "off"),
        operations=len(ROUTES),
    )
