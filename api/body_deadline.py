"""Refuses bodies that take too long to come, and forgets requests whose sender has gone."""

import asyncio

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import Problem

#: From the head to the body's last byte. Twenty2 itself wants its answer after five.
BODY_SECONDS = 10.0
_DETAIL = f"The body was not here after {BODY_SECONDS:.0f} seconds"


class BodyDeadline:
    """ASGI middleware: 408 once a body has taken `BODY_SECONDS`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        deadline = asyncio.get_running_loop().time() + BODY_SECONDS
        is_read = False

        async def in_time() -> Message:
            nonlocal is_read
            if is_read:
                # What is waited for now is that the client goes.
                return await receive()
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                raise Problem(408, _DETAIL, {"Connection": "close"}) from None
            is_read = not message.get("more_body", False)
            return message

        try:
            await self._app(scope, in_time, send)
        except ClientDisconnect:
            pass  # nobody is left to answer, and it is no fault of ours
