"""`aftercall audit`: what commands changed stands there, too."""

import json

from tests.cli.command import Command


def test_a_command_is_written_down_as_the_machines_own(aftercall: Command) -> None:
    aftercall.ok("enqueue", "call_1")
    aftercall.ok("calls", "refetch", "call_1")
    aftercall.ok("destinations", "add", "leads", "http://127.0.0.1:9/hook")
    aftercall.ok("destinations", "disable", "leads")
    aftercall.ok("deliveries", "replay", "--state", "dead")
    found = json.loads(aftercall.ok("audit", "list", "--json"))["items"]
    assert [(one["actor"], one["via"], one["action"]) for one in reversed(found)] == [
        ("cli", "cli", "calls.added"),
        ("cli", "cli", "call.refetched"),
        ("cli", "cli", "destination.created"),
        ("cli", "cli", "destination.disabled"),
        ("cli", "cli", "deliveries.replayed"),
    ]


def test_the_log_of_one_thing_alone(aftercall: Command) -> None:
    aftercall.ok("enqueue", "call_1")
    aftercall.ok("enqueue", "call_2")
    said = aftercall.ok("audit", "list", "--subject", "call_1")
    assert "call_1" in said
    assert "call_2" not in said


def test_an_empty_log_says_so(aftercall: Command) -> None:
    assert "Nothing was changed yet" in aftercall.ok("audit", "list")
