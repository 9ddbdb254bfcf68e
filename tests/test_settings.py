"""Settings: where they come from, and what is said of one that is missing or malformed."""

import os
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from aftercall.domain.retention import DataKind
from aftercall.settings import Settings, SettingsError, load_settings

SECRETS = {
    "AFTERCALL_DATABASE_URL": "postgresql://u:hunter2-database@h/db",
    "AFTERCALL_REDIS_URL": "redis://:hunter2-redis@h/0",
    "AFTERCALL_SECRET_KEY": "hunter2-key-and-some-more",
    "AFTERCALL_ADMIN_TOKEN": "hunter2-admin",
    "AFTERCALL_READONLY_TOKEN": "hunter2-readonly",
    "AFTERCALL_WEBHOOK_TOKEN": "hunter2-webhook",
    "AFTERCALL_WEBHOOK_HMAC_SECRET": "hunter2-hmac",
    "TWENTYTWO_API_KEY": "hunter2-api-key",
    "TWENTYTWO_API_SECRET": "hunter2-api-secret",
}


@pytest.fixture(autouse=True)
def _an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # `.env` is read from where the process runs.
    monkeypatch.chdir(tmp_path)


def set_all(monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def complaint() -> str:
    with pytest.raises(SettingsError) as failure:
        load_settings()
    assert failure.value.__cause__ is None
    assert failure.value.__suppress_context__
    return str(failure.value)


# ---- defaults and sources ----------------------------------------------------


def test_nothing_needs_to_be_set() -> None:
    settings = load_settings()
    assert settings.database_url is None
    assert settings.redis_url is None
    assert settings.data_dir == Path(".aftercall")
    assert settings.secret_key is None
    assert settings.admin_token is None
    assert settings.webhook_token is None
    assert settings.webhook_hmac_secret is None
    assert settings.allowed_private_networks == ()
    assert settings.twentytwo_base_url == "https://api.twentytwo.in/api"
    assert settings.twentytwo_workspace_id is None
    assert settings.twentytwo_rate_limit == 60


def test_every_variable_of_the_contract_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(
        monkeypatch,
        **SECRETS,
        AFTERCALL_DATA_DIR="/var/lib/aftercall",
        AFTERCALL_ALLOWED_PRIVATE_NETWORKS="10.0.0.0/8, fd00::/8",
        TWENTYTWO_BASE_URL="http://127.0.0.1:9000/api",
        TWENTYTWO_WORKSPACE_ID="699ed3b91ee5bee389dcb6a3",
        TWENTYTWO_RATE_LIMIT="120",
    )
    settings = load_settings()
    assert settings.require("database_url") == SECRETS["AFTERCALL_DATABASE_URL"]
    assert settings.require("redis_url") == SECRETS["AFTERCALL_REDIS_URL"]
    assert settings.require("secret_key") == SECRETS["AFTERCALL_SECRET_KEY"]
    assert settings.require("admin_token") == SECRETS["AFTERCALL_ADMIN_TOKEN"]
    assert settings.require("webhook_token") == SECRETS["AFTERCALL_WEBHOOK_TOKEN"]
    assert settings.require("webhook_hmac_secret") == SECRETS["AFTERCALL_WEBHOOK_HMAC_SECRET"]
    assert settings.require("twentytwo_api_key") == SECRETS["TWENTYTWO_API_KEY"]
    assert settings.require("twentytwo_api_secret") == SECRETS["TWENTYTWO_API_SECRET"]
    assert settings.data_dir == Path("/var/lib/aftercall")
    assert settings.allowed_private_networks == (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))
    assert settings.twentytwo_base_url == "http://127.0.0.1:9000/api"
    assert settings.twentytwo_workspace_id == "699ed3b91ee5bee389dcb6a3"
    assert settings.twentytwo_rate_limit == 120


def test_a_file_stands_in_for_the_environment_and_the_environment_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text(
        "# comment\nTWENTYTWO_RATE_LIMIT=70\nAFTERCALL_ADMIN_TOKEN='from the file'\nOTHER=1\n"
    )
    monkeypatch.setenv("AFTERCALL_ADMIN_TOKEN", "from the environment")
    settings = load_settings()
    assert settings.twentytwo_rate_limit == 70
    assert settings.require("admin_token") == "from the environment"


@pytest.mark.parametrize("name", [*SECRETS, "AFTERCALL_ALLOWED_PRIVATE_NETWORKS"])
def test_an_empty_variable_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    # `${VARIABLE}` of a compose file that is not set comes out like this.
    monkeypatch.setenv(name, "")
    assert load_settings() == Settings(_env_file=None)


def test_space_around_a_value_and_the_end_of_its_line_are_no_part_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # `echo TOKEN | base64` in a Kubernetes secret: no webhook, no sign-in and no key would fit.
    names = {*SECRETS, "TWENTYTWO_WORKSPACE_ID", "AFTERCALL_DATA_DIR"}
    set_all(
        monkeypatch, **{"TWENTYTWO_WORKSPACE_ID": "ws_1", "AFTERCALL_DATA_DIR": "/d", **SECRETS}
    )
    meant = load_settings()
    for name in names:
        monkeypatch.setenv(name, f" {os.environ[name]}\n")
    assert load_settings() == meant


@pytest.mark.parametrize(
    ("given", "networks"),
    [
        (" ", ()),
        (",", ()),
        ("127.0.0.1", (ip_network("127.0.0.1/32"),)),
        ("10.0.0.0/8,", (ip_network("10.0.0.0/8"),)),
        ("::1/128 , 192.168.0.0/16", (ip_network("::1/128"), ip_network("192.168.0.0/16"))),
    ],
)
def test_networks_are_separated_by_commas(
    monkeypatch: pytest.MonkeyPatch, given: str, networks: tuple[object, ...]
) -> None:
    monkeypatch.setenv("AFTERCALL_ALLOWED_PRIVATE_NETWORKS", given)
    assert load_settings().allowed_private_networks == networks


# ---- what is malformed -------------------------------------------------------

MALFORMED = [
    ("AFTERCALL_ALLOWED_PRIVATE_NETWORKS", "hunter2"),
    ("AFTERCALL_ALLOWED_PRIVATE_NETWORKS", "10.0.0.0/8,hunter2"),
    ("AFTERCALL_ALLOWED_PRIVATE_NETWORKS", "10.0.0.1/8"),
    ("AFTERCALL_ALLOWED_PRIVATE_NETWORKS", "10.0.0.0/33"),
    ("AFTERCALL_ALLOWED_PRIVATE_NETWORKS", "[10.0.0.0/8]"),
    ("TWENTYTWO_RATE_LIMIT", "hunter2"),
    ("TWENTYTWO_RATE_LIMIT", "000"),
    ("TWENTYTWO_RATE_LIMIT", "-5"),
    ("TWENTYTWO_RATE_LIMIT", "60.5"),
    ("TWENTYTWO_RATE_LIMIT", "10000001"),
    ("TWENTYTWO_RATE_LIMIT", "9" * 5_000),
    ("TWENTYTWO_BASE_URL", "hunter2"),
    ("TWENTYTWO_BASE_URL", "ftp://hunter2.example/api"),
    ("TWENTYTWO_BASE_URL", "https:///hunter2"),
    ("TWENTYTWO_BASE_URL", "api.hunter2.example/api"),
    ("TWENTYTWO_WORKSPACE_ID", "hunter2" * 30),
    ("TWENTYTWO_WORKSPACE_ID", "hunter2\u200b"),
]


@pytest.mark.parametrize(("name", "value"), MALFORMED, ids=lambda value: f"{value:.40}")
def test_a_malformed_setting_is_named_in_one_line_that_does_not_show_its_value(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    said = complaint()
    assert name in said
    assert "\n" not in said
    assert value.split(",")[-1] not in said


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("TWENTYTWO_BASE_URL", "https:// /api", id="a URL without a host"),
        pytest.param("TWENTYTWO_BASE_URL", "https://h:port/api", id="a URL with a bad port"),
        pytest.param("AFTERCALL_WEBHOOK_TOKEN", "   ", id="a webhook token that is blank"),
        pytest.param("AFTERCALL_ADMIN_TOKEN", "   ", id="an admin token that is blank"),
    ],
)
def test_what_could_never_work_is_malformed_too(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    # A blank token opens the door to `?token=%20`; a bad URL fails every fetch for a day.
    monkeypatch.setenv(name, value)
    assert name in complaint()


def test_all_that_is_malformed_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, TWENTYTWO_RATE_LIMIT="x", TWENTYTWO_BASE_URL="y")
    said = complaint()
    assert "TWENTYTWO_RATE_LIMIT" in said
    assert "TWENTYTWO_BASE_URL" in said
    assert "\n" not in said


def test_a_file_that_is_not_text_is_a_complaint_that_names_it(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"AFTERCALL_SECRET_KEY=hunter2\xe9\n")
    said = complaint()
    assert ".env" in said
    assert "hunter2" not in said


# ---- secrets -----------------------------------------------------------------


def test_whoever_may_only_read_does_not_have_the_admins_token(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_all(monkeypatch, AFTERCALL_READONLY_TOKEN="hunter2")
    kept = {"admin_token": SecretStr("hunter2")}
    with pytest.raises(SettingsError, match="AFTERCALL_READONLY_TOKEN and AFTERCALL_ADMIN_TOKEN"):
        load_settings().completed(kept)
    set_all(monkeypatch, AFTERCALL_ADMIN_TOKEN="hunter2")
    said = complaint()
    assert "AFTERCALL_READONLY_TOKEN and AFTERCALL_ADMIN_TOKEN are the same" in said
    assert "hunter2" not in said


def test_no_repr_shows_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, **SECRETS)
    settings = load_settings()
    for shown in (repr(settings), str(settings), str(settings.model_dump())):
        assert "hunter2" not in shown


@pytest.mark.parametrize(
    ("field", "name"),
    [
        ("database_url", "AFTERCALL_DATABASE_URL"),
        ("secret_key", "AFTERCALL_SECRET_KEY"),
        ("admin_token", "AFTERCALL_ADMIN_TOKEN"),
        ("webhook_token", "AFTERCALL_WEBHOOK_TOKEN"),
        ("twentytwo_api_secret", "TWENTYTWO_API_SECRET"),
    ],
)
def test_a_missing_setting_is_named_with_what_to_do(field: str, name: str) -> None:
    with pytest.raises(SettingsError) as failure:
        load_settings().require(field)
    assert name in str(failure.value)
    assert "aftercall up" in str(failure.value)


def test_settings_do_not_change() -> None:
    settings = load_settings()
    with pytest.raises(ValidationError):
        settings.twentytwo_rate_limit = 5  # type: ignore[misc]


# ---- durations ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "every"),
    [
        ("6h", timedelta(hours=6)),
        ("30m", timedelta(minutes=30)),
        (" 90 S ", timedelta(seconds=90)),
        ("1d", timedelta(days=1)),
        ("0", timedelta(0)),
        ("", timedelta(hours=6)),
    ],
)
def test_how_often_the_log_is_read_is_a_duration(
    monkeypatch: pytest.MonkeyPatch, given: str, every: timedelta
) -> None:
    set_all(monkeypatch, AFTERCALL_RECONCILE_EVERY=given)
    assert load_settings().reconcile_every == every


@pytest.mark.parametrize("given", ["6", "often", "-1h", "9s", "31d", "9999999h", "٣h", "٠", "1.5h"])
def test_what_is_no_such_duration_is_told_with_an_example(
    monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    set_all(monkeypatch, AFTERCALL_RECONCILE_EVERY=given)
    assert "AFTERCALL_RECONCILE_EVERY: " in complaint()


# ---- how long things are kept ------------------------------------------------


def test_raw_events_and_attempts_go_the_rest_stays_unless_somebody_says_otherwise() -> None:
    retention = load_settings().retention
    assert (retention.raw_events, retention.attempts) == (90, 180)
    assert (retention.payloads, retention.calls, retention.media) == (None, None, None)


def test_for_ever_is_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, AFTERCALL_KEEP_RAW_EVENTS_DAYS=" Forever", AFTERCALL_KEEP_CALLS_DAYS="")
    assert load_settings().keep_raw_events_days is None
    assert load_settings().keep_calls_days is None


@pytest.mark.parametrize("days", ["0", "6", "-1", "36501", "ninety", "1.5", "90d", "٩٠٠٠٠٠"])
def test_days_are_a_number_of_days(monkeypatch: pytest.MonkeyPatch, days: str) -> None:
    set_all(monkeypatch, AFTERCALL_KEEP_MEDIA_DAYS=days)
    said = complaint()
    assert "AFTERCALL_KEEP_MEDIA_DAYS" in said
    assert "7 to 36500, or forever" in said


@pytest.mark.parametrize("days", ["31", "forever"])
def test_nothing_may_be_kept_for_longer_than_its_call(
    monkeypatch: pytest.MonkeyPatch, days: str
) -> None:
    set_all(monkeypatch, AFTERCALL_KEEP_CALLS_DAYS="30", AFTERCALL_KEEP_PAYLOADS_DAYS=days)
    said = complaint()
    assert f"AFTERCALL_KEEP_PAYLOADS_DAYS is {days}" in said
    assert "nothing outlives its call" in said


def test_a_shorter_time_for_calls_holds_for_what_has_none_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_all(monkeypatch, AFTERCALL_KEEP_CALLS_DAYS="30")
    retention = load_settings().retention
    assert {retention.days(kind) for kind in DataKind} == {30}
