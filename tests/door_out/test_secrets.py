"""No secret comes out: not in a log, a page, an error, a repr or a command's output.

Real processes, with every secret a word that is found wherever it turns up; everything goes right
once and wrong in every way. A phone number is the operator's to see, and no log's.
"""

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from sqlalchemy import make_url, text
from sqlalchemy.exc import DBAPIError

from aftercall.cli.processes import worker_arguments
from aftercall.crm.destination_spec import DestinationSpec
from aftercall.crm.sending import HookSender, prepare
from aftercall.db.schema import migrate
from aftercall.db.session import Database
from aftercall.domain.work import Credentials
from aftercall.embedded import StoreUrls, embedded_stores
from aftercall.flows.configure_workspaces import WorkspaceSpec
from aftercall.flows.service import open_service
from aftercall.flows.views import NewDestinationView
from aftercall.sealing import Sealer
from aftercall.settings import Settings
from aftercall.simulator import Fault, SimulatedWorkspace, Simulator
from aftercall.simulator.webhooks import signature
from aftercall.twentytwo.client import Twenty2
from tests.api.server import Api, free_port
from tests.cli.command import Command, environment, launched
from tests.console.visitor import Visitor
from tests.crm.test_mapping import DELIVERY
from tests.raw_server import Peer, RawServer

SECRETS = {
    "the admin token": "canary-admin-6fK2",
    "the webhook token": "canary-webhook-9vQ1",
    "the HMAC secret": "canary-hmac-3xT8",
    "the secret key": "canary-secret-key-1bN5",
    "the API key": "canary-api-key-7pL4",
    "the API secret": "canary-api-secret-2wM9",
    "a stored API key": "canary-stored-key-5hD3",
    "a stored API secret": "canary-stored-secret-8jR6",
    "the hook secret": "whsec_Y2FuYXJ5LWRlc3RpbmF0aW9uLXNlY3JldC0wMQ==",
    "the header": "canary-header-4cG7",
    "the database password": "canary-database-0zB2",
    "userinfo": "canary-userinfo-6yF5",
}
PHONE = "919812345678"
WORKSPACE = SimulatedWorkspace(
    id="ws_canary",
    api_key=SECRETS["the API key"],
    api_secret=SECRETS["the API secret"],
    rate_limit=6_000,
)


def forms(secret: str) -> list[str]:
    """As itself, and in base64 wherever it begins."""
    encoded = [base64.b64encode(b"x" * n + secret.encode()).decode()[4:-4] for n in range(3)]
    return [secret, *encoded]


def assert_no_secret(where: str, said: str, *more: str) -> None:
    for name, secret in {**SECRETS, **{each: each for each in more}}.items():
        for form in forms(secret):
            found = said.find(form)
            around = said[max(found - 300, 0) : found + 100]
            assert found < 0, f"{name} is in {where}: …{around}…"


@dataclass
class House:
    """The processes, and everything that they have said."""

    folder: Path
    settings: dict[str, str]
    stores: StoreUrls
    simulator: Simulator
    api: Api
    command: Command
    #: Where, and what was said there.
    said: list[tuple[str, str]] = field(default_factory=list)

    def ask(self, method: str, path: str, **more: Any) -> requests.Response:
        """As the operator; what is answered is kept."""
        headers = {"Authorization": f"Bearer {SECRETS['the admin token']}"}
        answer = self.api.session.request(
            method,
            f"{self.api.origin}{path}",
            headers={**headers, **more.pop("headers", {})},
            timeout=20,
            **more,
        )
        self.said.append((f"{method} {path} ({answer.status_code})", answer.text))
        self.said.append((f"the headers of {path}", str(answer.headers)))
        return answer

    def run(self, *arguments: str, **settings: str) -> None:
        result = self.command(*arguments, **settings)
        self.said.append((f"aftercall {' '.join(arguments)}", result.said))

    def webhook(self, call_id: str) -> None:
        body = json.dumps({"call_id": call_id}).encode()
        answer = self.api.webhook(
            raw=body,
            token=SECRETS["the webhook token"],
            headers={"x-twenty2-signature": signature(body, SECRETS["the HMAC secret"])},
        )
        self.said.append(("the webhook's answer", answer.text))
        assert answer.ok, answer.text

    def until(self, is_so: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + 45
        while not is_so():
            assert time.monotonic() < end, (what, self.logs()[-4_000:])
            time.sleep(0.05)

    def logs(self) -> str:
        return "".join(path.read_text(errors="replace") for path in self.folder.glob("*.log"))


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="aftercall-")))
        folder.chmod(0o755)
        stores = stack.enter_context(embedded_stores(folder / "data"))
        migrate(stores.database_url)
        url = make_url(stores.database_url).set(password=SECRETS["the database password"])
        stores = StoreUrls(url.render_as_string(hide_password=False), stores.redis_url)
        simulator = stack.enter_context(Simulator(seed=7, workspaces=[WORKSPACE]))
        settings = {
            "AFTERCALL_DATABASE_URL": stores.database_url,
            "AFTERCALL_REDIS_URL": stores.redis_url,
            "AFTERCALL_SECRET_KEY": SECRETS["the secret key"],
            "AFTERCALL_ADMIN_TOKEN": SECRETS["the admin token"],
            "AFTERCALL_WEBHOOK_TOKEN": SECRETS["the webhook token"],
            "AFTERCALL_WEBHOOK_HMAC_SECRET": SECRETS["the HMAC secret"],
            "AFTERCALL_ALLOWED_PRIVATE_NETWORKS": "127.0.0.0/8",
            "TWENTYTWO_BASE_URL": simulator.twentytwo.base_url,
            "TWENTYTWO_WORKSPACE_ID": WORKSPACE.id,
            "TWENTYTWO_API_KEY": WORKSPACE.api_key,
            "TWENTYTWO_API_SECRET": WORKSPACE.api_secret,
            "TWENTYTWO_RATE_LIMIT": "6000",
        }
        port = free_port()
        api = ["uvicorn", "api.app:app", "--port", str(port), "--log-level", "debug"]
        worker = [*worker_arguments(concurrency=1), "--loglevel", "DEBUG", "--pool", "solo"]
        for name, arguments in (("api", api), ("worker", worker)):
            stack.enter_context(running(folder, name, arguments, settings))
        launcher = stack.enter_context(launched())
        house = House(
            folder=folder,
            settings=settings,
            stores=stores,
            simulator=simulator,
            api=Api(f"http://127.0.0.1:{port}", folder / "api.log"),
            command=Command(launcher, folder, settings),
        )
        stack.callback(house.api.session.close)
        house.until(lambda: _answers(house), "the api is alive")
        house.until(lambda: "ready." in house.logs(), "the worker is ready")
        yield house


@contextmanager
def running(
    folder: Path, name: str, arguments: list[str], settings: dict[str, str]
) -> Iterator[None]:
    """A process whose output goes to a log of its name."""
    with (folder / f"{name}.log").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=folder,
            env=environment(**settings),
            stdout=output,
            stderr=output,
        )
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()


def _answers(house: House) -> bool:
    try:
        return house.api.open("/healthz", timeout=1).ok
    except requests.RequestException:
        return False


def echo(status: str) -> Callable[[Peer], None]:
    """A server that answers with the request, head and body."""

    def script(peer: Peer) -> None:
        for request in peer.requests():
            head = f"HTTP/1.1 {status}\r\nContent-Length: {len(request)}\r\n\r\n"
            peer.say(head.encode() + request)

    return script


def state_of(house: House, call_id: str) -> dict[str, Any]:
    found: dict[str, Any] = house.ask("GET", f"/api/v1/calls/{call_id}").json()
    return found


def live_through_everything(house: House) -> None:
    """Each thing that may go wrong goes wrong once; some go right."""
    crm = house.simulator.crm
    crm.add_hook("leads", SECRETS["the hook secret"])
    with RawServer(echo("500 Oh")) as angry, RawServer(echo("400 No")) as refusing:
        made = {
            "name": "leads",
            "url": crm.hook_url("leads"),
            "secret": SECRETS["the hook secret"],
            "headers": {"Authorization": f"Bearer {SECRETS['the header']}"},
        }
        # What makes one may show its secret, that once.
        headers = {"Authorization": f"Bearer {SECRETS['the admin token']}"}
        for name, url, more in (
            ("leads", made["url"], {}),
            ("angry", angry.url("/hook"), {}),
            ("refusing", refusing.url("/hook"), {}),
            ("nobody", f"http://127.0.0.1:{free_port()}/hook", {}),
            ("failing", made["url"], {"mapping": "abs(call.callee_phone)"}),
        ):
            answer = house.api.session.post(
                f"{house.api.origin}/api/v1/destinations",
                json={**made, "name": name, "url": url, **more},
                headers=headers,
                timeout=20,
            )
            assert answer.status_code == 201, answer.text
        ids = [each["id"] for each in house.ask("GET", "/api/v1/destinations").json()["items"]]
        stored = {
            "api_key": SECRETS["a stored API key"],
            "api_secret": SECRETS["a stored API secret"],
        }
        house.ask("PUT", "/api/v1/workspaces/ws_stored", json=stored)
        call_ids = house.simulator.twentytwo.make_calls(6)
        for call_id in call_ids:
            call = house.simulator.twentytwo.call(call_id)
            house.simulator.twentytwo.add_call(replace(call, callee_phone=PHONE))
        twentytwo = house.simulator.twentytwo
        twentytwo.fail_next(call_ids[1], Fault.SERVER_ERROR)
        twentytwo.fail_next(call_ids[2], Fault.BAD_REQUEST)
        twentytwo.fail_next(call_ids[3], Fault.RESET)
        for call_id in call_ids[:4]:
            house.webhook(call_id)
        house.until(lambda: _is_tried(house, call_ids[:4]), "all were tried")
        house.until(lambda: _are_sent(house, call_ids[0], 5), "the first was delivered")
        for id_ in ids:
            house.ask("POST", f"/api/v1/destinations/{id_}/test")
    break_the_database(house, call_ids)
    # The credentials are refused: the workspace is blocked.
    twentytwo.fail_next(call_ids[4], Fault.UNAUTHORIZED)
    house.webhook(call_ids[4])
    house.until(lambda: _is_tried(house, [call_ids[4]]), "the refused one was tried")
    refuse_requests(house)
    look_at_every_page(house, call_ids, ids)
    run_every_command(house, call_ids)


def _is_tried(house: House, call_ids: list[str]) -> bool:
    return all(state_of(house, call_id)["attempts"] for call_id in call_ids)


def _are_sent(house: House, call_id: str, count: int) -> bool:
    deliveries = state_of(house, call_id)["deliveries"]
    return len(deliveries) == count and all(each["attempts"] for each in deliveries)


def refuse_requests(house: House) -> None:
    """Malformed requests that bring secrets along."""
    userinfo = f"https://user:{SECRETS['userinfo']}@crm.example/"
    bad = {
        "name": "",
        "url": userinfo,
        "secret": SECRETS["the hook secret"][:-4],
        "headers": {"Authorization": f"Bearer\n{SECRETS['the header']}"},
        "filter": "[",
    }
    assert house.ask("POST", "/api/v1/destinations", json=bad).status_code == 422
    half = {"api_key": SECRETS["a stored API key"]}
    assert house.ask("PUT", "/api/v1/workspaces/ws_2", json=half).status_code == 422
    odd = {"api_key": SECRETS["a stored API key"] + "\n", "api_secret": ["x"]}
    assert house.ask("PUT", "/api/v1/workspaces/ws_2", json=odd).status_code == 422
    wrong = {"Authorization": f"Bearer {SECRETS['the webhook token']}"}
    assert house.ask("GET", "/api/v1/stats", headers=wrong).status_code == 401
    for path in ("/api/v1/nothing", "/api/v1/calls?limit=x", "/api/v1/calls/unknown"):
        assert not house.ask("GET", path).ok
    url = f"/webhooks/twentytwo?token={SECRETS['the webhook token']}"
    assert house.ask("POST", url, data=b"{").status_code == 401
    raw = b"GET /?token=" + SECRETS["the webhook token"].encode() + b" HTTP/9.9\r\n\r\n"
    _say(house, raw)
    _say(house, b"\x00" + SECRETS["the admin token"].encode() + b"\r\n\r\n")


def _say(house: House, raw: bytes) -> None:
    parts = urlsplit(house.api.origin)
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as connection:
        connection.sendall(raw)
        house.said.append(("the answer to no HTTP", connection.recv(65_536).decode("latin-1")))


def break_the_database(house: House, call_ids: list[str]) -> None:
    """A table is missing: tracebacks in the api and in the worker."""
    database = Database(house.stores.database_url, pool_size=1)
    try:
        with database.transaction() as session:
            session.execute(text("ALTER TABLE attempts RENAME TO attempts_away"))
        path = f"/api/v1/calls/{call_ids[0]}"
        assert house.ask("GET", path).status_code == 500
        # The server hangs up after a failure of its own.
        house.api.session.close()
        house.webhook(call_ids[5])
        house.until(lambda: "UndefinedTable" in _log_of(house, "worker"), "the worker met it")
        house.until(lambda: "UndefinedTable" in _log_of(house, "api"), "the api met it")
    finally:
        with database.transaction() as session:
            session.execute(text("ALTER TABLE attempts_away RENAME TO attempts"))
        database.close()


def _log_of(house: House, name: str) -> str:
    return (house.folder / f"{name}.log").read_text(errors="replace")


def look_at_every_page(house: House, call_ids: list[str], destination_ids: list[str]) -> None:
    deliveries = house.ask("GET", "/api/v1/deliveries").json()["items"]
    pages = [
        *("/healthz", "/readyz", "/metrics", "/docs", "/openapi.json"),
        *("/api/v1/calls", "/api/v1/stats", "/api/v1/workspaces", "/api/v1/destinations"),
        *(f"/api/v1/calls/{call_id}" for call_id in call_ids),
        *(f"/api/v1/destinations/{id_}" for id_ in destination_ids),
        *(f"/api/v1/deliveries/{each['id']}" for each in deliveries),
        *("/api/v1/workspaces/ws_stored", f"/api/v1/workspaces/{WORKSPACE.id}"),
    ]
    for page in pages:
        assert house.ask("GET", page).ok, page
    look_at_the_console(house, call_ids, destination_ids)


def look_at_the_console(house: House, call_ids: list[str], destination_ids: list[str]) -> None:
    """Every page of it, as the admin; the session's cookie comes from signing in."""
    with Visitor(house.api.origin) as visitor:
        answers = [visitor.sign_in(SECRETS["the admin token"])]
        assert answers[0].status_code == 303, answers[0].text
        for path in (
            *("/", "/set-up", "/calls", "/deliveries", "/destinations", "/workspaces", "/audit"),
            *(f"/calls/{call_id}" for call_id in call_ids),
            *(f"/destinations/{id_}" for id_ in destination_ids),
            *(f"/destinations/{id_}/edit" for id_ in destination_ids),
            *("/workspaces/ws_stored", f"/workspaces/{WORKSPACE.id}"),
        ):
            answers.append(visitor.get(path))
            assert answers[-1].status_code == 200, (path, answers[-1].text)
    for answer in answers:
        at = f"{answer.request.method} {urlsplit(answer.url).path}"
        house.said.append((f"the console's {at} ({answer.status_code})", answer.text))
        house.said.append((f"the headers of the console's {at}", str(answer.headers)))


def run_every_command(house: House, call_ids: list[str]) -> None:
    for words in (
        ["doctor"],
        ["calls", "list"],
        ["calls", "list", "--json"],
        ["calls", "show", call_ids[0]],
        ["calls", "show", call_ids[0], "--json"],
        ["destinations", "list"],
        ["destinations", "list", "--json"],
        ["destinations", "test", "angry"],
        ["destinations", "add", "bad", f"https://u:{SECRETS['userinfo']}@crm.example/"],
        ["deliveries", "list"],
        ["deliveries", "list", "--json"],
        ["workspaces", "list"],
        ["workspaces", "list", "--json"],
        ["migrate"],
    ):
        house.run(*words)
    database = house.settings["AFTERCALL_DATABASE_URL"]
    redis = house.settings["AFTERCALL_REDIS_URL"]
    nowhere = f"u:{SECRETS['the database password']}@127.0.0.1:9"
    for bad in (
        {"AFTERCALL_DATABASE_URL": database.replace("postgresql", "mysql", 1)},
        {"AFTERCALL_DATABASE_URL": f"nonsense {database}"},
        {"AFTERCALL_DATABASE_URL": f"postgresql://{nowhere}/x"},
        {"AFTERCALL_REDIS_URL": redis.replace("redis://", "http://", 1)},
        {"AFTERCALL_REDIS_URL": redis.replace("redis://:", "redis://:wrong", 1)},
        {"AFTERCALL_REDIS_URL": f"redis://{nowhere}/0"},
        {"AFTERCALL_SECRET_KEY": SECRETS["the secret key"][:9]},
        {"AFTERCALL_SECRET_KEY": "another key, long enough"},
        {"TWENTYTWO_BASE_URL": f"https://u:{SECRETS['userinfo']}@api.example/"},
        {"TWENTYTWO_RATE_LIMIT": SECRETS["the API key"]},
        {"AFTERCALL_ALLOWED_PRIVATE_NETWORKS": SECRETS["the API key"]},
    ):
        for words in (["doctor"], ["destinations", "list"]):
            house.run(*words, **bad)


def test_no_secret_comes_out_of_the_processes_whatever_goes_wrong(house: House) -> None:
    live_through_everything(house)
    redis_password = make_url(house.stores.redis_url).password or ""
    assert len(redis_password) > 20
    everything = [*house.said, ("the log", house.logs())]
    for where, said in everything:
        assert_no_secret(where, said, redis_password)
    # It has been looked for where it could have been.
    log = house.logs()
    for happened in ("fetch.attempted", "delivery.attempted", "Traceback", "invalid type", "401"):
        assert happened in log, happened
    assert any("***" in said for where, said in house.said if "/deliveries/" in where)
    # A phone number is the operator's to see, and no log's.
    assert any(PHONE in said for where, said in house.said if "/calls/" in where)
    assert PHONE not in log


# ---- objects -------------------------------------------------------------------


def test_what_a_statement_was_given_is_not_in_its_error(database: Database) -> None:
    given = {"secret": SECRETS["a stored API key"]}
    with pytest.raises(DBAPIError) as caught, database.transaction() as session:
        session.execute(text("SELECT :secret FROM no_such_table"), given)
    assert_no_secret("the error", str(caught.value))


def test_no_secret_is_in_the_repr_of_what_holds_it(house: House) -> None:
    settings = Settings(_env_file=None, **house.settings)  # type: ignore[call-arg]
    service = open_service(settings, house.stores)
    sealer = Sealer(SECRETS["the secret key"])
    credentials = Credentials(
        api_key=SECRETS["a stored API key"], api_secret=SECRETS["a stored API secret"]
    )
    spec = DestinationSpec(
        name="leads",
        url="https://crm.example/",
        secret=SECRETS["the hook secret"],
        headers={"Authorization": SECRETS["the header"]},
    )
    claim_fields = {
        "secret_sealed": sealer.seal(SECRETS["the hook secret"]),
        "headers_sealed": sealer.seal(json.dumps(spec.headers)),
    }
    claim = replace(DELIVERY, **claim_fields)  # type: ignore[arg-type]
    held = [
        NewDestinationView.model_construct(secret=SECRETS["the hook secret"]),
        settings,
        service,
        service.database,
        service.database.url,
        service.database.engine,
        service.redis,
        service.doorbell,
        service.sealer,
        service.guard(),
        credentials,
        spec,
        claim,
        prepare(claim, sealer=sealer, now=datetime.now(UTC)),
        WorkspaceSpec.model_validate(
            {"api_key": SECRETS["a stored API key"], "api_secret": SECRETS["a stored API secret"]}
        ),
        HookSender(guard=service.guard(), keep=1),
        Twenty2(settings.twentytwo_base_url, keep=1),
    ]
    redis_password = make_url(house.stores.redis_url).password or ""
    for each in held:
        for said in (repr(each), str(each), f"{each}"):
            assert_no_secret(type(each).__name__, said, redis_password)
    service.close()


def _bad_destination() -> None:
    DestinationSpec.model_validate(
        {
            "name": "",
            "url": f"https://u:{SECRETS['userinfo']}@crm.example/",
            "secret": SECRETS["the hook secret"][:-4],
            "headers": {"X": f"\n{SECRETS['the header']}"},
        }
    )


def _bad_workspace() -> None:
    WorkspaceSpec.model_validate({"api_key": SECRETS["a stored API key"] + "\n", "api_secret": 1})


def _bad_settings() -> None:
    Settings(  # type: ignore[call-arg]
        _env_file=None,
        TWENTYTWO_BASE_URL=f"https://u:{SECRETS['userinfo']}@api.example",
        TWENTYTWO_RATE_LIMIT=SECRETS["the API key"],
    )


def _wrong_key() -> None:
    sealed = Sealer(SECRETS["the secret key"]).seal(SECRETS["a stored API key"])
    Sealer("another key, long enough").open(sealed)


def _short_key() -> None:
    Sealer(SECRETS["the secret key"][:12])


def _bad_url() -> None:
    Database(f"mysql://u:{SECRETS['the database password']}@h/x")


def _no_database() -> None:
    url = f"postgresql://u:{SECRETS['the database password']}@127.0.0.1:9/x"
    database = Database(url, pool_size=1)
    with database.transaction() as session:
        session.execute(text("SELECT 1"))


@pytest.mark.parametrize(
    "fail",
    [
        _bad_destination,
        _bad_workspace,
        _bad_settings,
        _wrong_key,
        _short_key,
        _bad_url,
        _no_database,
    ],
)
def test_no_secret_is_in_an_exception_or_its_traceback(fail: Callable[[], None]) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - whichever it is
        fail()
    said = "".join(traceback.format_exception(caught.value))
    # The source line of the call names its secret, not its value.
    for part in (said, str(caught.value), repr(caught.value)):
        assert_no_secret(fail.__name__, part)
        assert SECRETS["the secret key"][:12] not in part
