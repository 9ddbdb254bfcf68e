"""Where the webhook comes in: known to the middlewares around its route, and to the route."""

from starlette.types import Scope

WEBHOOK = "/webhooks/twentytwo"


def is_webhook(scope: Scope) -> bool:
    """Whether this HTTP request is one."""
    return bool(scope["path"] == WEBHOOK and scope["method"] == "POST")
