"""The overview says whether anybody is told, when they were last, and whether that fails."""

from html import unescape
from pathlib import Path

from aftercall.crm.signing import new_secret
from aftercall.embedded import StoreUrls
from aftercall.flows.tell_operator import send_test_notice
from tests.api.server import Api, running_api
from tests.conftest import Clock, make_service, make_settings
from tests.console.visitor import Visitor
from tests.raw_server import RawServer, always, answer


def said(visitor: Visitor) -> str:
    page = unescape(visitor.get("/").text)
    return page.partition('id="operator-webhook" class="muted">')[2].partition("</p>")[0]


def test_without_a_webhook_the_overview_says_that_nobody_is_told(
    console: Api, admin: Visitor
) -> None:
    console.webhook({"call_id": "call_1"})
    assert "No operator's webhook is set" in said(admin)


def test_with_one_it_says_what_was_told_last_and_what_was_not_taken(
    tmp_path: Path, console: Api, stores: StoreUrls, database: object, clock: Clock
) -> None:
    console.webhook({"call_id": "call_1"})
    with RawServer(always(answer())) as good, RawServer(always(answer(status="404 No"))) as bad:
        secret = {"AFTERCALL_OPERATOR_WEBHOOK_SECRET": new_secret()}
        services = [
            make_service(
                database,  # type: ignore[arg-type]
                stores,
                make_settings(AFTERCALL_OPERATOR_WEBHOOK_URL=server.url("/key"), **secret),
                clock,
            )
            for server in (good, bad)
        ]
        urls = {
            "AFTERCALL_DATABASE_URL": stores.database_url,
            "AFTERCALL_REDIS_URL": stores.redis_url,
            "AFTERCALL_OPERATOR_WEBHOOK_URL": good.url("/key"),
        }
        with (
            running_api(tmp_path, **urls, **secret) as api,
            Visitor(api.origin) as visitor,
        ):
            visitor.sign_in()
            assert "was told nothing yet" in said(visitor)
            send_test_notice(services[0])
            assert "The operator's webhook was told test <time" in said(visitor)
            assert "not taking" not in visitor.get("/").text
            send_test_notice(services[1])
            page = unescape(visitor.get("/").text)
            assert "The operator's webhook is not taking what it is told." in page
            assert "test: the hook answered 404" in page
            assert "/key" not in page
        for service in services:
            service.redis.close()
