"""Somebody with a browser, without the browser: follows no redirect that nobody asked for."""

import re
from html import unescape
from types import TracebackType
from typing import Any, Self

import requests

from tests.conftest import ADMIN_TOKEN

READONLY_TOKEN = "the read-only token of the tests"
_CSRF = re.compile(r'<meta name="csrf-token" content="([^"]+)">')


class Visitor:
    """One cookie jar. Paths are those of the console."""

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.headers["Accept"] = "text/html"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.session.close()

    def get(self, path: str, **more: Any) -> requests.Response:
        return self._ask("GET", path, **more)

    def post(self, path: str, fields: dict[str, str], **more: Any) -> requests.Response:
        """With nothing but these fields."""
        return self._ask("POST", path, data=fields, **more)

    def sign_in(self, token: str = ADMIN_TOKEN, *, onward: str = "/") -> requests.Response:
        return self.post("/sign-in", {"token": token, "next": onward})

    def csrf_token(self) -> str:
        found = _CSRF.search(self.get("/audit").text)
        assert found, "there is no CSRF token on the page: nobody is signed in"
        return unescape(found[1])

    def submit(self, path: str, fields: dict[str, str] | None = None) -> requests.Response:
        """As a form of ours does."""
        return self.post(path, {"csrf_token": self.csrf_token(), **(fields or {})})

    def is_in(self) -> bool:
        return self.get("/audit").status_code == 200

    def _ask(self, method: str, path: str, **more: Any) -> requests.Response:
        given = {"timeout": 20, "allow_redirects": False, **more}
        return self.session.request(method, f"{self.origin}{path}", **given)
