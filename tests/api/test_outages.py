"""The API while a store is away, or does not answer: what it says, how soon, and that it recovers.

Each store is reached through a door of the test's own, on a database of its own.
"""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families
from psycopg import sql

from aftercall.db.schema import migrate
from aftercall.embedded import StoreUrls
from aftercall.flows.service import Service, open_service
from aftercall.flows.spool import drain_spool
from tests.api.server import Api, Json, assert_problem, running_api
from tests.api.tcp_proxy import Door, TcpProxy
from tests.conftest import WEBHOOK_TOKEN, WORKSPACE, make_settings

#: Twenty2 wants its answer by then.
PATIENCE = 5.0


@dataclass(frozen=True, slots=True)
class House:
    """An API, and the doors to its stores."""

    api: Api
    database: TcpProxy
    redis: TcpProxy
    #: Past the doors.
    database_url: str
    redis_url: str

    @contextmanager
    def service(self) -> Iterator[Service]:
        """What sweeps here."""
        settings = make_settings()
        service = open_service(settings, StoreUrls(self.database_url, self.redis_url), pool_size=1)
        try:
            yield service
        finally:
            service.close()


@pytest.fixture(scope="module")
def _house(stores: StoreUrls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    admin = psycopg.connect(stores.database_url, autocommit=True)
    admin.execute("CREATE DATABASE outages")
    url = stores.database_url.replace("/aftercall?", "/outages?")
    migrate(url)
    folder = parse_qs(urlsplit(stores.database_url).query)["host"][0]
    redis = urlsplit(stores.redis_url)
    assert redis.hostname is not None
    assert redis.port is not None
    with (
        TcpProxy(f"{folder}/.s.PGSQL.5432") as database_door,
        TcpProxy((redis.hostname, redis.port)) as redis_door,
        running_api(
            tmp_path_factory.mktemp("outages"),
            AFTERCALL_DATABASE_URL=f"postgresql://postgres@127.0.0.1:{database_door.port}/outages",
            AFTERCALL_REDIS_URL=f"redis://:{redis.password}@127.0.0.1:{redis_door.port}/9",
        ) as api,
    ):
        yield House(api, database_door, redis_door, url, stores.redis_url.replace("/0", "/9"))
    admin.execute("DROP DATABASE outages WITH (FORCE)")
    admin.close()


@pytest.fixture
def house(_house: House) -> Iterator[House]:
    yield _house
    _house.database.set(Door.OPEN)
    _house.redis.set(Door.OPEN)
    until(lambda: _house.api.open("/readyz").ok, "it is ready again")
    until(_house.api.stores_at_once, "webhooks go to the database again")
    with _house.service() as service:
        drain_spool(service)


def until(happens: Callable[[], bool], what: str, *, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.05)


def timed(request: Callable[[], requests.Response]) -> tuple[requests.Response, float]:
    began = time.monotonic()
    answer = request()
    return answer, time.monotonic() - began


# ---- the database ------------------------------------------------------------


@pytest.mark.parametrize("door", [Door.SHUT, Door.SILENT])
def test_webhooks_are_taken_without_the_database_and_are_there_once_when_it_is_back(
    house: House, door: Door
) -> None:
    bodies = [{"call_id": f"call_{door}_{number}"} for number in range(30)]
    house.database.set(door)
    with ThreadPoolExecutor(30) as pool:
        answers = list(pool.map(lambda body: timed(lambda: send(house, body)), bodies * 2))
    assert {answer.status_code for answer, _ in answers} == {200}
    assert max(seconds for _, seconds in answers) < PATIENCE
    house.database.set(Door.OPEN)
    with house.service() as service:
        until(house.api.stores_at_once, "it is back")
        drain_spool(service)
    found = [call["call_id"] for call in house.api.calls() if f"_{door}_" in call["call_id"]]
    assert sorted(found) == sorted(body["call_id"] for body in bodies)


def takes_writes(house: House, answer: bool) -> None:
    """Or nothing, as one that became a standby. For connections that are made from now on."""
    with psycopg.connect(house.database_url, autocommit=True) as admin:
        admin.execute("SET default_transaction_read_only = off")
        admin.execute(
            sql.SQL("ALTER DATABASE outages SET default_transaction_read_only = {}").format(
                sql.Literal("off" if answer else "on")
            )
        )
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = 'outages' AND pid <> pg_backend_pid()"
        )


def test_webhooks_are_taken_while_the_database_takes_nothing_and_wait_until_it_does(
    house: House,
) -> None:
    bodies = [{"call_id": f"call_standby_{number}"} for number in range(30)]
    takes_writes(house, answer=False)
    try:
        with ThreadPoolExecutor(30) as pool:
            answers = list(pool.map(lambda body: timed(lambda: send(house, body)), bodies))
        with house.service() as service:
            assert drain_spool(service) == 0
        refused = house.api.call("PUT", f"/workspaces/{WORKSPACE.id}", json={})
        assert_problem(refused, 503, "standby")
    finally:
        takes_writes(house, answer=True)
    assert {answer.status_code for answer, _ in answers} == {200}
    assert max(seconds for _, seconds in answers) < PATIENCE
    with house.service() as service:
        until(house.api.stores_at_once, "it is back")
        drain_spool(service)
    found = [call["call_id"] for call in house.api.calls() if "_standby_" in call["call_id"]]
    assert sorted(found) == sorted(body["call_id"] for body in bodies)


@pytest.mark.parametrize("door", [Door.SHUT, Door.SILENT])
def test_without_both_stores_webhooks_are_told_to_come_again_in_time_for_twenty2(
    house: House, door: Door
) -> None:
    house.database.set(door)
    house.redis.set(door)
    bodies = [{"call_id": f"call_nowhere_{door}_{number}"} for number in range(30)]
    with ThreadPoolExecutor(30) as pool:
        answers = list(pool.map(lambda body: timed(lambda: send(house, body)), bodies))
    for answer, seconds in answers:
        assert_problem(answer, 503, "again")
        assert int(answer.headers["retry-after"]) >= 1
        assert seconds < PATIENCE
    house.database.set(Door.OPEN)
    house.redis.set(Door.OPEN)
    until(lambda: send(house, bodies[0]).status_code == 200, "it is stored again")


def send(house: House, body: Json) -> requests.Response:
    """On a connection of its own."""
    url = f"{house.api.origin}/webhooks/twentytwo"
    headers = {"Authorization": f"Bearer {WEBHOOK_TOKEN}"}
    return requests.post(url, json=body, headers=headers, timeout=20)


def test_a_wrong_webhook_is_told_so_even_while_the_database_is_away(house: House) -> None:
    house.database.set(Door.SHUT)
    assert_problem(house.api.webhook({"call_id": "x"}, token="wrong"), 401)
    assert_problem(house.api.webhook(raw=b"{"), 400)
    assert_problem(house.api.webhook({"call_id": ""}), 422)


def test_the_operators_api_says_503_while_the_database_is_away(house: House) -> None:
    house.database.set(Door.SHUT)
    for path in ("/calls", "/deliveries", "/destinations", "/workspaces", "/stats"):
        answer = house.api.call("GET", path)
        assert_problem(answer, 503, "database")
        assert "retry-after" in answer.headers


def test_it_is_alive_while_the_database_is_away_and_while_it_is_silent(house: House) -> None:
    for door in (Door.SHUT, Door.SILENT):
        house.database.set(door)
        answer, seconds = timed(lambda: house.api.open("/healthz"))
        assert answer.ok
        assert seconds < 1


def test_it_is_alive_while_many_requests_wait_for_a_silent_database(house: House) -> None:
    """Else whoever probes it kills it for what is the database's fault."""
    house.database.set(Door.SILENT)
    asked = threading.Barrier(61)

    def ask() -> None:
        asked.wait()
        try:
            house.api.call("GET", "/stats")
        except requests.RequestException:
            pass  # what it answers is not the point here

    askers = [threading.Thread(target=ask) for _ in range(60)]
    for asker in askers:
        asker.start()
    try:
        asked.wait()
        for _ in range(5):
            answer = requests.get(f"{house.api.origin}/healthz", timeout=2)
            assert answer.ok
    finally:
        house.database.set(Door.OPEN)
        for asker in askers:
            asker.join()


@pytest.mark.parametrize("path", ["/readyz", "/metrics"])
def test_readiness_and_metrics_answer_while_the_database_is_silent(house: House, path: str) -> None:
    house.database.set(Door.SILENT)
    answer = house.api.open(path, timeout=6)
    assert answer.status_code == (503 if path == "/readyz" else 200)


def test_metrics_say_which_store_is_away(house: House) -> None:
    house.database.set(Door.SHUT)
    send(house, {"call_id": "call_kept"})
    assert (metric(house, "aftercall_database_up"), metric(house, "aftercall_redis_up")) == (0, 1)
    assert metric(house, "aftercall_spooled_webhooks") == 1
    house.database.set(Door.OPEN)
    house.redis.set(Door.SHUT)
    assert (metric(house, "aftercall_database_up"), metric(house, "aftercall_redis_up")) == (1, 0)


def metric(house: House, name: str) -> float:
    """The value of one that has no labels."""
    answer = house.api.open("/metrics")
    assert answer.status_code == 200
    [value] = [
        sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
        if sample.name == name
    ]
    return value


# ---- Redis -------------------------------------------------------------------


@pytest.mark.parametrize("door", [Door.SHUT, Door.SILENT])
def test_webhooks_are_taken_without_redis(house: House, door: Door) -> None:
    house.redis.set(door)
    for number in range(10):
        answer, seconds = timed(
            lambda number=number: house.api.webhook(  # type: ignore[misc]
                {"call_id": f"call_without_redis_{door}_{number}"}
            )
        )
        assert (answer.status_code, answer.json()["duplicates"]) == (200, 0)
        assert seconds < 2


@pytest.mark.parametrize("door", [Door.SHUT, Door.SILENT])
def test_the_operators_api_works_without_redis(house: House, door: Door) -> None:
    house.api.webhook({"call_id": "call_known"})
    house.redis.set(door)
    requests_ = [
        lambda: house.api.call("POST", "/calls", json={"call_ids": [f"call_by_hand_{door}"]}),
        lambda: house.api.call("POST", "/calls/call_known/refetch"),
        lambda: house.api.call("POST", "/deliveries/replay", json={"state": "dead"}),
        lambda: house.api.call("PUT", "/workspaces/ws_2", json={"api_key": "k", "api_secret": "s"}),
        lambda: house.api.call("GET", "/calls"),
    ]
    for request in requests_:
        answer, seconds = timed(request)
        assert answer.ok, answer.text
        assert seconds < 12


# ---- readiness ---------------------------------------------------------------


def test_readiness_names_each_part_that_is_away(house: House) -> None:
    found = house.api.open("/readyz").json()
    assert (found["ready"], found["database"], found["schema"]) == (True, "ok", "ok")
    assert found["redis"] == "ok"
    house.redis.set(Door.SHUT)
    answer = house.api.open("/readyz")
    assert answer.status_code == 503
    found = answer.json()
    assert (found["ready"], found["database"], found["schema"]) == (False, "ok", "ok")
    assert "does not answer" in found["redis"]
    house.redis.set(Door.OPEN)
    house.database.set(Door.SHUT)
    answer = house.api.open("/readyz")
    assert answer.status_code == 503
    found = answer.json()
    assert (found["ready"], found["redis"]) == (False, "ok")
    assert "does not answer" in found["database"]


@pytest.mark.parametrize(
    ("version", "says"),
    [("", "aftercall migrate"), ("from-the-future", "newer than this version")],
)
def test_readiness_names_a_schema_that_does_not_fit_and_its_cure(
    house: House, version: str, says: str
) -> None:
    with psycopg.connect(house.database_url, autocommit=True) as connection:
        [(right,)] = connection.execute("SELECT version_num FROM alembic_version").fetchall()
        [(served,)] = connection.execute(
            "SELECT obj_description(to_regclass('alembic_version'), 'pg_class')"
        ).fetchall()
        connection.execute("DELETE FROM alembic_version")
        # Nor does it serve this version.
        connection.execute("COMMENT ON TABLE alembic_version IS 'runs_with: from-the-future'")
        if version:
            connection.execute("INSERT INTO alembic_version VALUES (%s)", [version])
        try:
            answer = house.api.open("/readyz")
        finally:
            connection.execute("DELETE FROM alembic_version")
            connection.execute("INSERT INTO alembic_version VALUES (%s)", [right])
            connection.execute(
                sql.SQL("COMMENT ON TABLE alembic_version IS {}").format(sql.Literal(served))
            )
    assert answer.status_code == 503
    found = answer.json()
    assert (found["ready"], found["database"], found["redis"]) == (False, "ok", "ok")
    assert says in found["schema"]


def test_health_and_readiness_want_no_token_and_tell_no_secret(house: House) -> None:
    for path in ("/healthz", "/readyz", "/metrics"):
        answer = house.api.open(path)
        assert answer.ok
        assert WORKSPACE.api_secret not in answer.text
    house.database.set(Door.SHUT)
    house.redis.set(Door.SHUT)
    text = house.api.open("/readyz").text
    assert "postgres" not in text
    assert "127.0.0.1" not in text
