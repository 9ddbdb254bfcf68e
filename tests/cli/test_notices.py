"""`aftercall notices`: tries the operator's webhook, and shows what it was told."""

import json

from aftercall.crm.signing import new_secret
from tests.cli.command import Command, assert_one_line
from tests.raw_server import RawServer, always, answer

SECRET = new_secret()


def hook(server: RawServer) -> dict[str, str]:
    return {
        "AFTERCALL_OPERATOR_WEBHOOK_URL": server.url("/services/a-key"),
        "AFTERCALL_OPERATOR_WEBHOOK_SECRET": SECRET,
    }


def test_a_test_is_sent_and_stands_in_the_list(aftercall: Command) -> None:
    with RawServer(always(answer())) as server:
        assert "succeeded (200)" in aftercall.ok("notices", "test", **hook(server))
        [request] = server.requests
    [one] = json.loads(aftercall.ok("notices", "list", "--json"))["items"]
    assert (one["type"], one["state"], one["attempts"]) == ("test", "sent", 1)
    assert f"webhook-id: {one['id']}".encode() in request
    assert json.loads(request.partition(b"\r\n\r\n")[2]) == one["body"]
    assert one["id"] in aftercall.ok("notices", "list")
    [entry] = json.loads(aftercall.ok("audit", "list", "--json"))["items"]
    assert (entry["action"], entry["subject"]) == ("notice.tested", one["id"])


def test_one_that_is_not_taken_says_why_and_exits_1(aftercall: Command) -> None:
    with RawServer(always(answer(b"channel_not_found", status="404 Not Found"))) as server:
        settings = hook(server)
        result = aftercall("notices", "test", **settings)
        assert result.code == 1
        assert "retry (404)" in result.out
        assert "channel_not_found" in result.out
        said = aftercall("doctor", **settings).out
    line = next(line for line in said.splitlines() if "operator webhook" in line)
    assert line.startswith("fault")
    assert "the hook answered 404" in line
    assert "a-key" not in result.said + said


def test_doctor_says_nothing_of_a_webhook_that_is_not_set_and_ok_of_one_that_works(
    aftercall: Command,
) -> None:
    assert "operator webhook" not in aftercall("doctor").out
    with RawServer(always(answer())) as server:
        aftercall.ok("notices", "test", **hook(server))
        assert "ok    operator webhook" in aftercall("doctor", **hook(server)).out


def test_without_a_webhook_it_is_said_what_to_set(aftercall: Command) -> None:
    assert_one_line(aftercall("notices", "test"), "AFTERCALL_OPERATOR_WEBHOOK_URL")
    assert "AFTERCALL_OPERATOR_WEBHOOK_URL is not set" in aftercall.ok("notices", "list")


def test_half_of_the_settings_or_a_wrong_one_is_named_without_its_value(
    aftercall: Command,
) -> None:
    url = {"AFTERCALL_OPERATOR_WEBHOOK_URL": "https://hooks.example.com/a-key"}
    assert_one_line(aftercall("notices", "list", **url), "AFTERCALL_OPERATOR_WEBHOOK_SECRET")
    wrong = aftercall(
        "notices", "list", **url, AFTERCALL_OPERATOR_WEBHOOK_SECRET="whsec_too-short-a-secret"
    )
    assert_one_line(wrong, "AFTERCALL_OPERATOR_WEBHOOK_SECRET", "24 to 64 bytes")
    no_url = aftercall(
        "notices",
        "list",
        AFTERCALL_OPERATOR_WEBHOOK_URL="hooks.example.com/a-key",
        AFTERCALL_OPERATOR_WEBHOOK_SECRET=SECRET,
    )
    assert_one_line(no_url, "AFTERCALL_OPERATOR_WEBHOOK_URL")
    assert "a-key" not in no_url.said + wrong.said
    assert "too-short-a-secret" not in wrong.said
