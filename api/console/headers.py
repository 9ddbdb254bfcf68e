"""What goes with every page of the console: what the browser may load, and from where.

No script, style or image comes from elsewhere, and none stands in the page itself.
The referrer goes to nobody else. To ourselves it does: with `no-referrer` browsers
send `Origin: null` with a form, and a form from elsewhere could not be told apart.
"""

from starlette.responses import Response

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; media-src 'self'; form-action 'self'; frame-ancestors 'none'; "
    "base-uri 'none'"
)
PAGE_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def secured(response: Response) -> Response:
    """The same answer with the headers; one that it has already stays."""
    for name, value in PAGE_HEADERS.items():
        response.headers.setdefault(name, value)
    return response
