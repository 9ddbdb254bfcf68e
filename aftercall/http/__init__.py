"""Guarded HTTP to the outside: whatever happens on the wire comes back as an `Exchange`.

Bounds an exchange in time (one deadline over lookup, connect, TLS, send and every read) and memory
(a cap on the decoded body), and goes only where the guard permits. No redirects, repeats, cookies
or proxies; what an answer means is not decided here. Why `requests` prepares and libcurl carries:
docs/decisions/0011.
"""

from aftercall.http.client import HttpClient
from aftercall.http.guard import AddressGuard, refused_addresses
from aftercall.http.request import Limits, Request
from aftercall.http.secrets import without_secrets

__all__ = [
    "AddressGuard",
    "HttpClient",
    "Limits",
    "Request",
    "refused_addresses",
    "without_secrets",
]
