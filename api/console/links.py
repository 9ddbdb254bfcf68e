"""Where pages are, for those that lead there."""

from urllib.parse import quote, urlencode

#: Stands in a URL for the reason of those that have none.
NO_REASON = "(none)"


def call_path(call_id: str, workspace_id: str | None = None) -> str:
    """A call's page. Ids hold slashes and dots, which a browser would take for folders."""
    query = {} if workspace_id is None else {"workspace_id": workspace_id}
    if call_id in (".", ".."):
        return f"/calls/?{urlencode({'id': call_id, **query})}"
    path = f"/calls/{quote(call_id, safe='')}"
    return f"{path}?{urlencode(query)}" if query else path
