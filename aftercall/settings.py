"""Every setting, once: from the environment or `.env`. The list for people is `.env.example`.

Only entry points read settings (`api.app`, `worker.app`, `aftercall.cli`,
`alembic/env.py`); everything below them is handed what it needs.
"""

import base64
import os
import re
from collections.abc import Mapping
from datetime import timedelta
from difflib import get_close_matches
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from aftercall.domain.retention import DataKind, Retention
from aftercall.redis_address import read_redis_url

_OURS = ("AFTERCALL_", "TWENTYTWO_")
#: What Kubernetes sets for a service whose name begins as ours do.
_SERVICE_LINK = re.compile(r"_SERVICE_(HOST|PORT)|_PORT(_\d+_(TCP|UDP).*)?$")
_NEAR = 0.8


class SettingsError(Exception):
    """A setting is missing or malformed. The message names it and says what to do."""


_SAME_TOKENS = (
    "AFTERCALL_READONLY_TOKEN and AFTERCALL_ADMIN_TOKEN are the same: "
    "whoever may only read must not know the admin's, so make another"
)
_HALF_A_HOOK = (
    "AFTERCALL_OPERATOR_WEBHOOK_URL and AFTERCALL_OPERATOR_WEBHOOK_SECRET go together: set both, "
    "or neither. A secret is whsec_ and the output of openssl rand -base64 32"
)


def _split(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _networks(value: object) -> object:
    parts = _split(value)
    if not isinstance(parts, tuple):
        return parts
    try:
        return tuple(ip_network(str(part)) for part in parts)
    except ValueError:
        raise ValueError(
            "It is not a list of networks: expected for example 10.0.0.0/8,fd00::/8"
        ) from None


def _not_blank(value: SecretStr) -> SecretStr:
    if not value.get_secret_value().strip():
        raise ValueError("It is blank")
    return value


def _public_url(value: str) -> str:
    try:
        parts = urlsplit(value)
        is_good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_good = False
    if not is_good or not value.isascii() or re.search(r"[\s?#@\\]", value):
        raise ValueError("It is not an address: expected for example https://calls.example.com")
    return value.rstrip("/")


_DURATION = re.compile(r"([0-9]{1,6})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_LONGEST = timedelta(days=30)
_SHORTEST = timedelta(seconds=10)


def _duration(text: str) -> timedelta:
    """Of "6h", "30m", "90s", "1d"; 0 is none. ValueError of anything else."""
    given = text.replace(" ", "").lower()
    found = _DURATION.fullmatch(given)
    if found is not None:
        return timedelta(**{_UNITS[found[2]]: int(found[1])})
    if given == "0":
        return timedelta(0)
    raise ValueError("It is not a duration: expected for example 6h, 30m or 1d; 0 is never")


def _every(text: str) -> str:
    every = _duration(text)
    if every and not _SHORTEST <= every <= _LONGEST:
        raise ValueError("It is not between 10s and 30d, nor 0")
    return text


Every = Annotated[str, Field(max_length=20), AfterValidator(_every)]


def _days(value: object) -> object:
    if isinstance(value, str) and value.strip().lower() == FOR_EVER:
        return None
    try:
        days = int(value) if isinstance(value, str) else value
    except ValueError:
        days = None
    if days is None and not isinstance(value, str):
        return None
    if not isinstance(days, int) or not FEWEST_DAYS <= days <= MOST_DAYS:
        raise ValueError(
            f"It is no number of days: expected {FEWEST_DAYS} to {MOST_DAYS}, or {FOR_EVER}"
        )
    return days


#: What a number of days may be instead.
FOR_EVER = "forever"
#: Deliveries are tried for three days, and media that are late are looked for in two.
FEWEST_DAYS = 7
MOST_DAYS = 36_500
Days = Annotated[int | None, BeforeValidator(_days)]


def _redis_url(value: SecretStr) -> SecretStr:
    read_redis_url(value.get_secret_value())
    return value


def _hook_url(value: SecretStr) -> SecretStr:
    try:
        parts = urlsplit(value.get_secret_value())
        is_good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_good = False
    if not is_good or re.search(r"[^\x21-\x7e]|[\\#@]", value.get_secret_value()):
        raise ValueError("It is not a webhook's URL: expected https://… without user and #")
    return value


def _signing_secret(value: SecretStr) -> SecretStr:
    # As Standard Webhooks has it: 24 to 64 bytes.
    prefix, text = "whsec_", value.get_secret_value()
    try:
        raw = base64.b64decode(text.removeprefix(prefix), validate=True)
    except ValueError:
        raw = b""
    if not text.startswith(prefix) or not 24 <= len(raw) <= 64:
        raise ValueError("It must be whsec_ and 24 to 64 bytes in base64")
    return value


Secret = Annotated[SecretStr, AfterValidator(_not_blank)]
Networks = Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode, BeforeValidator(_networks)]


class Settings(BaseSettings):
    """Frozen; secrets are `SecretStr`, so no repr or log shows them."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        populate_by_name=True,
        hide_input_in_errors=True,
    )

    database_url: Secret | None = Field(None, alias="AFTERCALL_DATABASE_URL")
    #: Set when a pooler stands between: no transaction then leaves anything in its session.
    database_pooler: Literal["transaction"] | None = Field(None, alias="AFTERCALL_DATABASE_POOLER")
    #: PostgreSQL itself, for what needs a session: migrations, backups, a vacuum.
    direct_database_url: Secret | None = Field(None, alias="AFTERCALL_DIRECT_DATABASE_URL")
    redis_url: Annotated[Secret, AfterValidator(_redis_url)] | None = Field(
        None, alias="AFTERCALL_REDIS_URL"
    )
    data_dir: Path = Field(Path(".aftercall"), alias="AFTERCALL_DATA_DIR")

    #: Several, comma-separated: the first encrypts, all decrypt.
    secret_key: Secret | None = Field(None, alias="AFTERCALL_SECRET_KEY")
    admin_token: Secret | None = Field(None, alias="AFTERCALL_ADMIN_TOKEN")
    #: Opens the console and the operator's API for reading alone.
    readonly_token: Secret | None = Field(None, alias="AFTERCALL_READONLY_TOKEN")
    webhook_token: Secret | None = Field(None, alias="AFTERCALL_WEBHOOK_TOKEN")
    webhook_hmac_secret: Secret | None = Field(None, alias="AFTERCALL_WEBHOOK_HMAC_SECRET")
    allowed_private_networks: Networks = Field((), alias="AFTERCALL_ALLOWED_PRIVATE_NETWORKS")

    #: Where aftercall tells a person what to look at, and what it signs that with.
    operator_webhook_url: Annotated[SecretStr, AfterValidator(_hook_url)] | None = Field(
        None, alias="AFTERCALL_OPERATOR_WEBHOOK_URL", max_length=2000
    )
    operator_webhook_secret: Annotated[SecretStr, AfterValidator(_signing_secret)] | None = Field(
        None, alias="AFTERCALL_OPERATOR_WEBHOOK_SECRET"
    )

    #: Under which the api is reached from outside; without it no links are given away.
    public_url: Annotated[str, AfterValidator(_public_url)] | None = Field(
        None, alias="AFTERCALL_PUBLIC_URL", max_length=500
    )
    keep_media: bool = Field(True, alias="AFTERCALL_KEEP_MEDIA")
    #: A folder or a URL of fsspec's; may hold a key.
    media_url: Secret | None = Field(None, alias="AFTERCALL_MEDIA_URL")
    media_max_bytes: int = Field(
        50_000_000, alias="AFTERCALL_MEDIA_MAX_BYTES", ge=1_000, le=500_000_000
    )

    #: Where worker and beat answer /metrics and /healthz; 0: nowhere.
    metrics_port: int = Field(0, alias="AFTERCALL_METRICS_PORT", ge=0, le=65_535)
    metrics_host: str = Field(
        "127.0.0.1", alias="AFTERCALL_METRICS_HOST", pattern=r"^[0-9A-Za-z:.-]{1,253}$"
    )
    #: A collector of OpenTelemetry's; its other variables (OTEL_…) are read by its own library.
    otlp_endpoint: str | None = Field(
        None, alias="OTEL_EXPORTER_OTLP_ENDPOINT", pattern=r"^https?://[^?#\s@]+$"
    )
    #: Days; None: for ever. Nothing is kept for longer than its call.
    keep_raw_events_days: Days = Field(90, alias="AFTERCALL_KEEP_RAW_EVENTS_DAYS")
    keep_attempts_days: Days = Field(180, alias="AFTERCALL_KEEP_ATTEMPTS_DAYS")
    keep_payloads_days: Days = Field(None, alias="AFTERCALL_KEEP_PAYLOADS_DAYS")
    keep_calls_days: Days = Field(None, alias="AFTERCALL_KEEP_CALLS_DAYS")
    keep_media_days: Days = Field(None, alias="AFTERCALL_KEEP_MEDIA_DAYS")

    twentytwo_base_url: str = Field(
        "https://api.twentytwo.in/api",
        alias="TWENTYTWO_BASE_URL",
        pattern=r"^https?://[^/?#\s@:]+(:\d{1,5})?(/[^?#\s]*)?$",
    )
    twentytwo_workspace_id: str | None = Field(
        None, alias="TWENTYTWO_WORKSPACE_ID", max_length=128, pattern=r"^[!-~]([ -~]*[!-~])?$"
    )
    twentytwo_api_key: Secret | None = Field(None, alias="TWENTYTWO_API_KEY")
    twentytwo_api_secret: Secret | None = Field(None, alias="TWENTYTWO_API_SECRET")
    #: Requests a minute and workspace.
    twentytwo_rate_limit: int = Field(60, alias="TWENTYTWO_RATE_LIMIT", ge=1, le=10_000_000)

    reconcile_every_text: Every = Field("6h", alias="AFTERCALL_RECONCILE_EVERY")

    @model_validator(mode="before")
    @classmethod
    def _without_space_around(cls, given: object) -> object:
        # What `echo` made has the end of a line in it, and no token with that ever fits.
        if not isinstance(given, dict):
            return given
        return {
            name: value.strip() if isinstance(value, str) else value
            for name, value in given.items()
        }

    @model_validator(mode="after")
    def _tokens_differ(self) -> Self:
        if self._has_one_token_for_both():
            raise ValueError(_SAME_TOKENS)
        return self

    @model_validator(mode="after")
    def _nothing_outlives_its_call(self) -> Self:
        calls = self.keep_calls_days
        for kind in DataKind:
            name = f"keep_{kind.value}_days"
            days: int | None = getattr(self, name)
            is_given = name in self.model_fields_set
            if calls is not None and is_given and (days is None or days > calls):
                variable = type(self).model_fields[name].alias
                raise ValueError(
                    f"{variable} is {FOR_EVER if days is None else days} and "
                    f"AFTERCALL_KEEP_CALLS_DAYS is {calls}, but nothing outlives its call: "
                    f"lower {variable} or leave it away, or keep calls for longer"
                )
        return self

    @property
    def retention(self) -> Retention:
        """How long each kind of data is kept."""
        return Retention(
            raw_events=self.keep_raw_events_days,
            attempts=self.keep_attempts_days,
            payloads=self.keep_payloads_days,
            media=self.keep_media_days,
            calls=self.keep_calls_days,
        )

    @model_validator(mode="after")
    def _hook_has_both(self) -> Self:
        if (self.operator_webhook_url is None) != (self.operator_webhook_secret is None):
            raise ValueError(_HALF_A_HOOK)
        return self

    def completed(self, secrets: Mapping[str, SecretStr]) -> Self:
        """With these secrets as well, by their fields' names; SettingsError as when loading."""
        settings = self.model_copy(update=dict(secrets))
        if settings._has_one_token_for_both():
            raise SettingsError(_SAME_TOKENS)
        return settings

    def _has_one_token_for_both(self) -> bool:
        return self.admin_token is not None and self.admin_token == self.readonly_token

    @property
    def reconcile_every(self) -> timedelta:
        """How often Twenty2's log is read for calls that never came; nothing: never."""
        return _duration(self.reconcile_every_text)

    @property
    def is_pooled(self) -> bool:
        """Whether a pooler stands between us and PostgreSQL."""
        return self.database_pooler is not None

    @property
    def media_root(self) -> str:
        """Where recordings and transcripts are kept."""
        if self.media_url is not None:
            return self.media_url.get_secret_value()
        return str(self.data_dir / "media")

    def require(self, name: str) -> str:
        """The secret setting of this field name; SettingsError when it is unset."""
        value = getattr(self, name)
        if value is None:
            variable = type(self).model_fields[name].alias
            raise SettingsError(
                f"{variable} is not set. Set it in the environment or in .env; "
                "`aftercall up` makes one by itself"
            )
        return str(value.get_secret_value())


def unknown_settings() -> dict[str, str | None]:
    """Names that look like settings of ours and are none, each with the one that was meant, if one
    is near. From the environment and `.env`, as `load_settings` reads them."""
    known = {str(field.alias) for field in Settings.model_fields.values()}
    given = {name.upper() for name in (*os.environ, *dotenv_values(".env"))}
    return {
        name: next(iter(get_close_matches(name, known, n=1, cutoff=_NEAR)), None)
        for name in sorted(given - known)
        if name.startswith(_OURS) and not _SERVICE_LINK.search(name)
    }


def load_settings() -> Settings:
    """The settings of this process; SettingsError, in one line, when one is malformed."""
    try:
        return Settings()
    except UnicodeDecodeError:
        raise SettingsError("The file .env is not UTF-8: write it again as UTF-8") from None
    except ValidationError as error:
        # Never the value: it may be a secret.
        wrong = "; ".join(
            ": ".join([*(str(part) for part in problem["loc"]), problem["msg"]])
            for problem in error.errors(include_input=False, include_url=False)
        )
        raise SettingsError(f"A setting is malformed. {wrong}") from None
