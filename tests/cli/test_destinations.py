"""`aftercall destinations …`."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from aftercall.simulator import Fault, Simulator
from tests.api.server import Api
from tests.cli.command import Command, assert_one_line

URL = "http://127.0.0.1:9/hook"
SECRET = "whsec_QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY="


def names(api: Api) -> list[str]:
    return [one["name"] for one in api.get("/destinations")["items"]]


# ---- add, list, remove -------------------------------------------------------


def test_an_empty_list_says_how_to_add_one(aftercall: Command) -> None:
    assert "aftercall destinations add" in aftercall.ok("destinations", "list")


def test_the_list_as_json_is_what_the_api_answers(aftercall: Command, api: Api) -> None:
    assert json.loads(aftercall.ok("destinations", "list", "--json")) == api.get("/destinations")
    api.post("/destinations", {"name": "leads", "url": URL, "headers": {"A": "b"}}, status=201)
    assert json.loads(aftercall.ok("destinations", "list", "--json")) == api.get("/destinations")


def test_one_is_added_with_all_its_options_and_its_secret_is_shown_once(
    aftercall: Command, api: Api
) -> None:
    said = aftercall.ok(
        "destinations", "add", "Leads", URL,
        "--event", "call.completed",
        "--filter", "output_parameters.interested == 'yes'",
        "--mapping", "{phone: call.callee_phone}",
        "--header", "X-Api-Key: key:with:colons",
        "--header", "X-Team:sales",
        "--timeout", "20", "--max-in-flight", "4", "--rate-limit", "10",
    )  # fmt: skip
    [made] = api.get("/destinations")["items"]
    assert made["id"] in said
    assert "whsec_" in said
    assert (made["name"], made["url"], made["events"]) == ("Leads", URL, ["call.completed"])
    assert (made["timeout_seconds"], made["max_in_flight"], made["rate_limit_per_second"]) == (
        20,
        4,
        10,
    )
    assert set(made["headers"]) == {"X-Api-Key", "X-Team"}
    listed = aftercall("destinations", "list")
    assert "whsec_" not in listed.said
    assert "key:with:colons" not in listed.said


def test_the_table_shows_whole_ids_and_urls(aftercall: Command, api: Api) -> None:
    url = "https://crm.example.com/hooks/after-call/" + "a" * 60
    made = api.post("/destinations", {"name": "Leads in the CRM", "url": url}, status=201)
    listed = aftercall.ok("destinations", "list")
    # What is cut or folded cannot be copied, nor found with grep.
    assert made["id"] in listed
    assert url in listed


def test_a_secret_of_ones_own_comes_by_standard_input(
    aftercall: Command, simulator: Simulator
) -> None:
    simulator.crm.add_hook("leads", SECRET)
    url = simulator.crm.hook_url("leads")
    added = aftercall.ok(
        "destinations", "add", "leads", url, "--secret-stdin", "--json", stdin=f"{SECRET}\n"
    )
    assert json.loads(added)["secret"] == SECRET
    assert "succeeded" in aftercall.ok("destinations", "test", "leads")


def test_names_are_shown_as_they_are(aftercall: Command, api: Api) -> None:
    name = "[/leads] [red]:warning:"
    assert name in aftercall.ok("destinations", "add", name, URL)
    assert name in aftercall.ok("destinations", "list")
    assert name in aftercall.ok("destinations", "disable", name)
    assert name in aftercall.ok("destinations", "remove", name, "--yes")
    assert names(api) == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("leads", "ftp://x"), "http"),
        (("leads", "http://10.0.0.1/"), "AFTERCALL_ALLOWED_PRIVATE_NETWORKS"),
        (("leads", URL, "--filter", "["), "filter"),
        (("leads", URL, "--mapping", "{"), "mapping"),
        (("leads", URL, "--timeout", "99"), "timeout_seconds"),
        (("leads", URL, "--workspace", "ws_2"), "ws_2"),
        (("leads", URL, "--header", "Webhook-Id: 1"), "Webhook-Id"),
        (("", URL), "name"),
    ],
)
def test_what_cannot_work_is_one_line_and_makes_nothing(
    aftercall: Command, api: Api, arguments: tuple[str, ...], says: str
) -> None:
    assert_one_line(aftercall("destinations", "add", *arguments), says)
    assert names(api) == []


def test_a_name_that_is_taken_is_one_line(aftercall: Command, api: Api) -> None:
    api.post("/destinations", {"name": "leads", "url": URL}, status=201)
    assert_one_line(aftercall("destinations", "add", "leads", URL), "leads", "already")


def test_usage_is_told_with_exit_code_2(aftercall: Command) -> None:
    for arguments in (
        ("add", "leads"),
        ("add", "leads", URL, "--event", "call.started"),
        ("add", "leads", URL, "--header", "no-colon"),
        ("apply",),
        ("nonsense",),
    ):
        result = aftercall("destinations", *arguments)
        assert result.code == 2, result
        assert "Usage:" in result.err


# ---- enable, disable, rotate, remove, test -----------------------------------


def test_one_is_disabled_enabled_rotated_and_removed_by_name_or_id(
    aftercall: Command, api: Api
) -> None:
    made = api.post("/destinations", {"name": "leads", "url": URL}, status=201)
    path = f"/destinations/{made['id']}"
    aftercall.ok("destinations", "disable", "leads")
    assert api.get(path)["enabled"] is False
    aftercall.ok("destinations", "enable", made["id"])
    assert api.get(path)["enabled"] is True
    rotated = json.loads(aftercall.ok("destinations", "rotate-secret", "leads", "--json"))
    assert rotated["secret"] not in ("", made["secret"])
    not_yet = aftercall("destinations", "remove", "leads", stdin="n\n")
    assert (not_yet.code != 0, names(api)) == (True, ["leads"])
    nobody = aftercall("destinations", "remove", "leads")
    assert (nobody.code, names(api)) == (1, ["leads"])
    assert "--yes" in nobody.err
    aftercall.ok("destinations", "remove", "leads", stdin="y\n")
    assert names(api) == []


@pytest.mark.parametrize("verb", ["test", "enable", "disable", "rotate-secret", "remove"])
def test_one_that_nobody_knows_is_one_line(aftercall: Command, verb: str) -> None:
    assert_one_line(aftercall("destinations", verb, "[/nobody]"), "[/nobody]")


def test_a_test_exits_0_only_when_the_hook_took_it(
    aftercall: Command, api: Api, simulator: Simulator
) -> None:
    made = api.post(
        "/destinations", {"name": "leads", "url": simulator.crm.hook_url("leads")}, status=201
    )
    hook = simulator.crm.add_hook("leads", made["secret"])
    good = aftercall("destinations", "test", "leads", "--json")
    assert (good.code, json.loads(good.out)["status_code"]) == (0, 200)
    hook.fail_next(Fault.UNPROCESSABLE, Fault.RESET)
    refused = aftercall("destinations", "test", "leads")
    assert (refused.code, "422" in refused.out) == (1, True)
    reset = aftercall("destinations", "test", "leads")
    assert reset.code == 1
    assert "Traceback" not in reset.said


# ---- apply -------------------------------------------------------------------

YAML = """\
# The hooks of the sales team.
destinations:
  - name: leads
    url: http://127.0.0.1:9/leads
    events: [call.completed]
    filter: output_parameters.interested == 'yes'
    mapping: |
      {phone: call.callee_phone}
    headers:
      X-Api-Key: the-key
  - name: callbacks
    url: http://127.0.0.1:9/callbacks
"""


def test_a_file_in_yaml_or_json_is_applied_and_doing_it_again_changes_nothing(
    aftercall: Command, api: Api
) -> None:
    file = aftercall.folder / "destinations.yaml"
    file.write_text(YAML)
    said = aftercall.ok("destinations", "apply", "-f", str(file))
    assert said.count("created") == 2
    assert said.count("whsec_") == 2
    before = api.get("/destinations")
    assert names(api) == ["leads", "callbacks"]
    again = aftercall.ok("destinations", "apply", "-f", str(file))
    assert again.count("unchanged") == 2
    assert "whsec_" not in again
    assert api.get("/destinations") == before
    changed = [{"name": "leads", "url": "http://127.0.0.1:9/other", "timeout_seconds": 7}]
    said = aftercall.ok("destinations", "apply", "-f", "-", stdin=json.dumps(changed))
    assert said.split() == ["changed", "leads"]
    leads = api.get("/destinations")["items"][0]
    assert (leads["url"], leads["timeout_seconds"], leads["filter"]) == (
        "http://127.0.0.1:9/other",
        7,
        None,
    )
    assert names(api) == ["leads", "callbacks"]


def test_a_file_that_does_not_speak_of_it_does_not_enable_what_was_disabled(
    aftercall: Command, api: Api
) -> None:
    """Disabled by a 410 or by hand: the next deploy must not undo it unasked."""
    entries: list[dict[str, Any]] = [{"name": "leads", "url": URL}]
    aftercall.ok("destinations", "apply", "-f", "-", stdin=json.dumps(entries))
    aftercall.ok("destinations", "disable", "leads")
    said = aftercall.ok("destinations", "apply", "-f", "-", stdin=json.dumps(entries))
    assert "unchanged" in said
    assert api.get("/destinations")["items"][0]["enabled"] is False
    entries[0]["enabled"] = True
    aftercall.ok("destinations", "apply", "-f", "-", stdin=json.dumps(entries))
    assert api.get("/destinations")["items"][0]["enabled"] is True


@pytest.mark.parametrize(
    ("second", "says"),
    [
        ({"name": "others", "url": "http://10.0.0.1/"}, "AFTERCALL_ALLOWED_PRIVATE_NETWORKS"),
        ({"name": "others", "url": URL, "workspace_id": "ws_2"}, "ws_2"),
        ({"name": "others", "url": URL, "filter": "["}, "filter"),
        ({"name": "leads", "url": URL}, "twice"),
        ({"name": "others"}, "url"),
        ("others", ""),
    ],
)
def test_a_fault_in_one_entry_leaves_all_as_it_was(
    aftercall: Command, api: Api, second: object, says: str
) -> None:
    """Else the first one's secret, shown only once, is lost before anybody saw it."""
    entries = [{"name": "leads", "url": URL}, second]
    result = aftercall("destinations", "apply", "-f", "-", stdin=json.dumps(entries))
    assert_one_line(result, says)
    assert names(api) == []


def test_a_fault_names_the_entry(aftercall: Command) -> None:
    entries = [{"name": "leads", "url": URL}, {"name": "others", "url": URL, "filter": "["}]
    result = aftercall("destinations", "apply", "-f", "-", stdin=json.dumps(entries))
    assert_one_line(result, "filter")
    assert "others" in result.err or "1" in result.err.partition("filter")[0]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "leads",
        "17",
        "{}",
        "destinations:",
        "destinations: leads",
        "- name: [",
        "\tname: leads",
        "[" * 100_000,
        "&a [*a]",
        "- !!python/object/apply:os.system ['true']",
    ],
)
def test_a_file_that_is_no_list_of_destinations_is_one_line(
    aftercall: Command, api: Api, text: str
) -> None:
    assert_one_line(aftercall("destinations", "apply", "-f", "-", stdin=text))
    assert names(api) == []


def test_a_file_that_is_missing_or_no_text_is_told(aftercall: Command) -> None:
    missing = aftercall("destinations", "apply", "-f", "no-such-file.yaml")
    assert (missing.code, "no-such-file.yaml" in missing.err) == (2, True)
    file = aftercall.folder / "destinations.bin"
    file.write_bytes(b"\xff\xfe\x00")
    assert_one_line(aftercall("destinations", "apply", "-f", str(file)))


def test_an_empty_list_changes_nothing(aftercall: Command, api: Api) -> None:
    api.post("/destinations", {"name": "leads", "url": URL}, status=201)
    aftercall.ok("destinations", "apply", "-f", "-", stdin="[]")
    assert names(api) == ["leads"]


def test_what_is_held_goes_on_once_the_file_enables_it(
    aftercall: Command, api: Api, simulator: Simulator, work: Callable[[], None]
) -> None:
    entry: dict[str, Any] = {
        "name": "leads",
        "url": simulator.crm.hook_url("leads"),
        "secret": SECRET,
        "enabled": False,
    }
    simulator.crm.add_hook("leads", SECRET)
    said = aftercall.ok("destinations", "apply", "-f", "-", stdin=json.dumps([entry]))
    assert SECRET not in said
    api.webhook({"call_ids": simulator.twentytwo.make_calls(2)})
    work()
    assert simulator.crm.receipts() == []
    entry["enabled"] = True
    aftercall.ok("destinations", "apply", "-f", "-", stdin=json.dumps([entry]))
    work()
    assert len(simulator.crm.receipts()) == 2
