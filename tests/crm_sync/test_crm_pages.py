"""The pages about CRMs keep up with the descriptions, and their examples work."""

import re
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from aftercall.crm import description as described
from aftercall.crm.description import Description, descriptions
from aftercall.crm.facts import facts_of, marker_of, moment, zone_of
from aftercall.crm.sync_settings import FieldMap, FollowUp, SyncSettings
from aftercall.flows.configure_destinations import read_spec

PAGES = Path(__file__).resolve().parents[2] / "docs" / "crm"
OVERVIEW = (PAGES / "README.md").read_text()
ADDING = (PAGES / "adding-a-crm.md").read_text()
KINDS = sorted(descriptions())


def models() -> list[type[BaseModel]]:
    found = [one for one in vars(described).values() if isinstance(one, type)]
    return [one for one in found if issubclass(one, BaseModel) and one is not BaseModel]


def keys() -> list[str]:
    return sorted({name for model in models() for name in model.model_fields})


def known() -> dict[str, Any]:
    """What templates know of a call with all there is."""
    at = datetime(2024, 12, 25, 10, tzinfo=UTC)
    call = {"started_at": at.isoformat(), "callee_phone": "9871532305", "direction": "outbound"}
    data = {
        "call_id": "call_1",
        "call": call,
        "input_parameters": {},
        "output_parameters": {"callback_time": "Tomorrow 11am"},
    }
    facts = facts_of(
        data,
        description=descriptions()["hubspot"],
        settings=SyncSettings(),
        marker=marker_of(uuid.uuid4(), 1),
        region="IN",
        time_zone="Asia/Kolkata",
        recording_link=None,
        fallback_time=at,
    )
    return facts.known


def stands(name: str, page: str) -> bool:
    return re.search(rf"`(?:[\w]+\.)*{re.escape(name)}`", page) is not None


def said(seconds: int) -> str:
    return f"{seconds // 3600} h" if seconds % 3600 == 0 else f"{seconds} s"


def examples(page: str) -> list[Any]:
    """The destinations that a page shows."""
    blocks = re.findall(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    parsed = [yaml.safe_load(block) for block in blocks]
    return [
        one
        for found in parsed
        if isinstance(found, dict) and "destinations" in found
        for one in found["destinations"]
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_every_crm_has_a_page_with_an_example_that_works(kind: str) -> None:
    page = (PAGES / f"{kind}.md").read_text()
    shown = [read_spec(one) for one in examples(page)]
    assert kind in {spec.kind for spec in shown}


@pytest.mark.parametrize("kind", KINDS)
def test_every_crms_page_says_what_was_never_tried(kind: str) -> None:
    assert "never tried on a live account" in (PAGES / f"{kind}.md").read_text().lower()


@pytest.mark.parametrize("kind", KINDS)
def test_every_crm_stands_in_the_overview(kind: str) -> None:
    row = re.search(rf"^\|.*\| `{kind}` \|.*$", OVERVIEW, re.MULTILINE)
    assert row, f"{kind} has no row in docs/crm/README.md"
    cells = [cell.strip() for cell in row[0].strip("|").split("|")]
    crm = descriptions()[kind]
    assert cells[4] == ("no" if crm.call.change is None else "yes")
    assert cells[5] == f"{crm.limits[0].requests:,} in {said(crm.limits[0].seconds)}"


@pytest.mark.parametrize("kind", KINDS)
def test_every_crms_page_names_its_credentials_and_options(kind: str) -> None:
    page, crm = (PAGES / f"{kind}.md").read_text(), descriptions()[kind]
    names = [need.key for need in [*crm.credentials, *crm.options]]
    assert [name for name in names if not re.search(rf"\b{name}\b", page)] == []


@pytest.mark.parametrize("key", keys())
def test_every_key_of_a_description_is_explained(key: str) -> None:
    assert stands(key, ADDING)


def test_everything_that_templates_know_is_explained() -> None:
    top = known()
    names = {*top, "person", "people", "made", "each", "fields", "field_list", "answer", "token"}
    parts = {*top["number"], *top["duration"], *top["follow_up"], *moment_names()}
    assert sorted(name for name in names | parts if not stands(name, ADDING)) == []


def moment_names() -> set[str]:
    return set(moment(datetime(2024, 12, 25, tzinfo=UTC), zone_of("UTC")))


@pytest.mark.parametrize("model", [SyncSettings, FieldMap, FollowUp])
def test_every_setting_of_a_sync_is_explained(model: type[BaseModel]) -> None:
    assert [name for name in model.model_fields if not stands(name, OVERVIEW)] == []


def test_a_copy_of_a_description_under_another_name_is_one() -> None:
    file = Path(described.__file__).parent / "kinds" / "hubspot.yaml"
    copy = yaml.safe_load(file.read_text()) | {"kind": "other", "name": "Other"}
    assert Description.model_validate(copy).default_object == "contact"


@pytest.mark.parametrize(
    ("place", "wrong"),
    [
        ("call", {"make": {"method": "DELETE", "path": "/", "id": "id"}}),
        ("call", {"make": {"method": "POST", "path": "/{{ number. }}", "id": "id"}}),
        ("limit", [{"requests": 1, "seconds": 1}]),
        ("objects", {}),
    ],
)
def test_a_wrong_description_is_refused(place: str, wrong: Any) -> None:
    file = Path(described.__file__).parent / "kinds" / "hubspot.yaml"
    with pytest.raises(ValueError, match=place):
        Description.model_validate(yaml.safe_load(file.read_text()) | {place: wrong})
