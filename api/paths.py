"""Where the webhook comes in: known to the middlewares around its route, and to the route."""

from starlette.types import Scope

WEBHOOK = "/webhooks/twentytwo"


def is_webhook(scope: Scope) -> bool:
    """Whether this HTTP request is one; a slash at the end is no reason for a redirect."""
    return scope["path"] in (WEBHOOK, f"{WEBHOOK}/") and scope["method"] == "POST"
