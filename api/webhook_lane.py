"""The webhook's own way in, past the framework's routing, which costs twice what receiving does.

FastAPI has the route as well, for its document; a request gets there only under
another name. Limits and answers are those of the route (docs/benchmarks.md).
"""

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from api.paths import is_webhook
from api.problems import Problem, problem_response
from api.webhooks import receive_webhook


class WebhookLane:
    """ASGI middleware: answers the webhook, hands on everything else."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not is_webhook(scope):
            await self._app(scope, receive, send)
            return
        try:
            answer: Response = await receive_webhook(Request(scope, receive))
        except Problem as problem:
            headers = dict(problem.headers or {})
            answer = problem_response(problem.status_code, problem.detail, headers, **problem.more)
        await answer(scope, receive, send)
