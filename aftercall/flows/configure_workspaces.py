"""Sets a workspace's credentials, limit, region and zone. New credentials release a block at
once."""

import re
from functools import cache
from typing import Annotated
from zoneinfo import available_timezones

import redis
import structlog
from phonenumbers import SUPPORTED_REGIONS
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, SecretStr
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from aftercall.crm.destination_spec import WHOLE
from aftercall.db.models import Workspace
from aftercall.db.workspaces import get_workspace, release_workspace
from aftercall.flows.audit import Actor, record
from aftercall.flows.errors import Invalid
from aftercall.flows.look import workspace_view
from aftercall.flows.service import Service
from aftercall.flows.views import WorkspaceView
from aftercall.twentytwo.inbound import NoCallId, check_workspace_id
from aftercall.twentytwo.rate_limit import workspace_lane

log = structlog.get_logger(__name__)


#: Not blank, and nothing but what a terminal shows.
_KEY = re.compile(r"[\x20-\x7e]*[\x21-\x7e][\x20-\x7e]*")


def _check_key(key: SecretStr) -> SecretStr:
    if not _KEY.fullmatch(key.get_secret_value()):
        raise ValueError("It is blank, or has characters in it that no key has")
    return key


Key = Annotated[
    SecretStr,
    Field(min_length=1, max_length=500, json_schema_extra={"pattern": f"^{_KEY.pattern}$"}),
    AfterValidator(_check_key),
]


def _check_region(region: str) -> str:
    region = region.strip().upper()
    if region not in SUPPORTED_REGIONS:
        raise ValueError("It is no country's code of two letters, as IN or AE")
    return region


def _check_time_zone(name: str) -> str:
    if name.strip() not in time_zones():
        raise ValueError("There is no such zone: its name is like Asia/Kolkata")
    return name.strip()


@cache
def time_zones() -> frozenset[str]:
    """Every zone by its name, those of the `tz` database's folders alone."""
    return frozenset(name for name in available_timezones() if "/" in name or name == "UTC")


def regions() -> list[str]:
    """Every country whose numbers can be read, as ISO 3166 has it."""
    return sorted(SUPPORTED_REGIONS)


def _both_are(type_: str) -> dict[str, JsonValue]:
    return {name: {"type": type_} for name in ("api_key", "api_secret")}


class WorkspaceSpec(BaseModel):
    """What is given is set; what is not, stays."""

    model_config = ConfigDict(
        extra="forbid",
        hide_input_in_errors=True,
        # Both or neither.
        json_schema_extra={
            "anyOf": [
                {"required": ["api_key", "api_secret"], "properties": _both_are("string")},
                {"properties": _both_are("null")},
            ]
        },
    )

    api_key: Key | None = None
    api_secret: Key | None = None
    rate_limit: Annotated[int, Field(ge=1, le=10_000_000), WHOLE] | None = Field(
        None, description="Requests a minute; null: TWENTYTWO_RATE_LIMIT"
    )
    region: Annotated[str, Field(max_length=4), AfterValidator(_check_region)] | None = Field(
        None, description="Where numbers without a country's code belong: ISO 3166, two letters"
    )
    time_zone: Annotated[str, Field(max_length=64), AfterValidator(_check_time_zone)] | None = (
        Field(None, description="The zone that people speak in, by its IANA name")
    )


def set_workspace(
    service: Service, workspace_id: str, spec: WorkspaceSpec, *, by: Actor | None = None
) -> WorkspaceView:
    """Makes the workspace if there is none. Invalid when only half of the credentials is given."""
    try:
        workspace_id = check_workspace_id(workspace_id)
    except NoCallId as error:
        raise Invalid([("workspace_id", str(error))]) from None
    if (spec.api_key is None) != (spec.api_secret is None):
        raise Invalid([("api_key", "api_key and api_secret go together")])
    with service.database.transaction() as session:
        row = _get_or_make(session, workspace_id)
        if spec.api_key is not None and spec.api_secret is not None:
            row.api_key_sealed = service.sealer.seal(spec.api_key.get_secret_value())
            row.api_secret_sealed = service.sealer.seal(spec.api_secret.get_secret_value())
            session.flush()
            release_workspace(session, workspace_id)
        if "rate_limit" in spec.model_fields_set:
            row.rate_limit = spec.rate_limit
        row.region = spec.region or row.region
        row.time_zone = spec.time_zone or row.time_zone
        session.flush()
        session.refresh(row)
        # The names alone: two of them are secrets.
        record(session, by, "workspace.set", workspace_id, fields=sorted(spec.model_fields_set))
        view = workspace_view(service, row)
    if spec.api_key is not None:
        _unblock(service, workspace_id, view.rate_limit)
    return view


def _get_or_make(session: Session, workspace_id: str) -> Workspace:
    session.execute(insert(Workspace).values(id=workspace_id).on_conflict_do_nothing())
    row = get_workspace(session, workspace_id)
    if row is None:
        raise AssertionError("it was made just now")
    return row


def _unblock(service: Service, workspace_id: str, rate_limit: int) -> None:
    lane = workspace_lane(workspace_id, requests_per_minute=rate_limit)
    try:
        service.limiter.unblock(lane.name)
    except redis.RedisError as error:
        # The block there lasts minutes at most.
        log.warning("limiter.unreachable", error=type(error).__name__)
