"""Our requests against HubSpot's OpenAPI description, as its own Python client has it.

The client is generated from that description (version v3 of the API, whose bodies are those of
2026-03): its models know every name, type, choice and required part. Two of its statements
contradict HubSpot's guide "Search the CRM", and the guide is followed: a search needs no
`after`, and sorts by objects rather than by names.
"""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from hubspot.crm.contacts import Configuration, models  # type: ignore[import-untyped]

from aftercall.simulator.crms.fake import Asked, Trouble
from tests.crm_sync.conftest import E164, Bench
from tests.crm_sync.vendors.hubspot import HubSpot

_PLAIN = {"str": str, "int": int, "bool": bool}


@pytest.fixture
def vendor() -> Iterator[HubSpot]:
    vendor = HubSpot()
    with vendor.fake:
        yield vendor


def test_every_request_of_a_sync_is_as_hubspot_describes_it(bench: Bench) -> None:
    bench.connect()
    bench.go()
    bench.vendor.settle()
    bench.vendor.fake.fail_next("call", Trouble.LOST_ANSWER)
    bench.vendor.fake.fail_next("task", Trouble.LOST_ANSWER)
    bench.save(call_id="call_2", output_parameters={"interested": "no", "callback_time": "6 pm"})
    bench.deliver()
    bench.go_on()
    asked = bench.vendor.fake.asked()
    steps = {"find", "read", "make", "change", "call", "find_call", "task", "find_task"}
    assert {one.step for one in asked} == steps
    for one in asked:
        if one.step != "read":
            hold(described(one), model_of(one))


@pytest.mark.parametrize(
    ("body", "model"),
    [
        ({"properties": {"phone": 9871532305}}, "SimplePublicObjectInput"),
        ({"properties": {"phone": E164}, "labels": []}, "SimplePublicObjectInput"),
        ({"propertyName": "phone", "operator": "EQUALS", "value": E164}, "Filter"),
        ({"operator": "EQ", "value": E164}, "Filter"),
    ],
)
def test_what_hubspot_does_not_describe_is_told(body: Any, model: str) -> None:
    with pytest.raises((AssertionError, ValueError)):
        hold(body, model)


def model_of(asked: Asked) -> str:
    if asked.path.endswith("/search"):
        return "PublicObjectSearchRequest"
    made = "SimplePublicObjectInputForCreate"
    return made if asked.method == "POST" else "SimplePublicObjectInput"


def described(asked: Asked) -> Any:
    """Its body, without where HubSpot's guide and its description differ."""
    if asked.path.endswith("/search"):
        return {"after": "0", "limit": 10, **asked.body, "sorts": []}
    if asked.path.endswith("/contacts"):
        return {"associations": [], **asked.body}
    return asked.body


def hold(value: Any, type_: str) -> Any:
    """AssertionError or ValueError when the value is not of this type of the client's."""
    if inner := re.fullmatch(r"list\[(.+)\]", type_):
        assert isinstance(value, list), f"{value} is no list"
        return [hold(one, inner[1]) for one in value]
    if inner := re.fullmatch(r"dict\[str, (.+)\]", type_):
        assert isinstance(value, dict), f"{value} is no object"
        return {name: hold(one, inner[1]) for name, one in value.items()}
    if type_ in _PLAIN:
        assert type(value) is _PLAIN[type_], f"{value!r} is no {type_}"
        return value
    return _hold_model(value, getattr(models, type_))


def _hold_model(value: Any, model: Any) -> Any:
    names = {name: attribute for attribute, name in model.attribute_map.items()}
    assert isinstance(value, dict), f"{value} is no {model.__name__}"
    assert not value.keys() - names.keys(), f"{value.keys() - names.keys()} in {model.__name__}"
    types = model.openapi_types
    held = {names[name]: hold(one, types[names[name]]) for name, one in value.items()}
    strict = Configuration()
    strict.client_side_validation = True
    return model(local_vars_configuration=strict, **held)
