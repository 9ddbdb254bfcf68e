"""The list of calls: search, filters, pages both ways, arrivals as they come, CSV; adding by id.

What is not the list itself lies beside `/calls`, not below it: there each path is a call's id.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import Response, StreamingResponse

from aftercall.domain.states import CallState, Priority
from aftercall.flows.accept_events import NoWorkspace, enqueue_calls
from aftercall.flows.call_pages import CallRowsView, CallRowView, list_rows
from aftercall.flows.errors import NotFound
from aftercall.flows.export_calls import export_calls
from aftercall.flows.look import show_workspace, show_workspaces
from aftercall.flows.service import Service
from aftercall.flows.views import CallView
from aftercall.twentytwo.inbound import MAX_IDS, NoCallId, check_call_id
from api.access import ServiceOf
from api.console.call_filter import TIMES, FilterOf
from api.console.gate import ConsoleRoute, ViewerOf
from api.console.links import call_path
from api.console.live import Event, live_response, prepend, replace
from api.console.pages import redirect, render, render_text
from api.console.words import as_text
from api.routes.parameters import Text

router = APIRouter(route_class=ConsoleRoute, include_in_schema=False)

_ROWS = "calls-rows"
_MOST_FAULTS = 5
_MOST_HIGHLIGHTS = 3
_MOST_NAME = 24
_MOST_VALUE = 52


@router.get("/calls")
def calls(
    request: Request,
    service: ServiceOf,
    conditions: FilterOf,
    cursor: Text = "",
    phones: Annotated[Text, Query()] = "",
) -> Response:
    page = list_rows(service, conditions.query(service.clock()), cursor=cursor or None)
    return render(
        request,
        "calls.html",
        status=422 if conditions.faults else 200,
        page=page,
        conditions=conditions,
        cursor=cursor,
        states=list(CallState),
        times=TIMES,
        **_workspaces(service),
        **_row_words(shown=phones == "shown"),
    )


@router.get("/calls.live")
async def live(
    request: Request,
    service: ServiceOf,
    conditions: FilterOf,
    phones: Annotated[Text, Query()] = "",
) -> Response:
    words = _row_words(shown=phones == "shown")

    def read() -> CallRowsView:
        return list_rows(service, conditions.query(service.clock()))

    def show(page: CallRowsView) -> Sequence[Event]:
        rows = render_text(request, "calls_rows.html", page=page, **words)
        # Those that are there already may have got further.
        return [replace(rows), prepend(rows, into=_ROWS)]

    return live_response(request, conditions.href("calls"), read=read, show=show)


@router.get("/calls.csv")
def export(
    service: ServiceOf, conditions: FilterOf, phones: Annotated[Text, Query()] = "masked"
) -> Response:
    """All that match, as they are found. Phone numbers are masked unless they are asked for."""
    query = conditions.query(service.clock())
    return StreamingResponse(
        export_calls(service, query, clear_phones=phones == "clear"),
        media_type="text/csv",
        headers={"Content-Disposition": 'attachment; filename="calls.csv"'},
    )


@router.get("/calls.add")
def adding(request: Request, service: ServiceOf) -> Response:
    return _adding(request, service)


@router.post("/calls.add")
def add(
    request: Request,
    service: ServiceOf,
    viewer: ViewerOf,
    call_ids: Annotated[str, Form()] = "",
    workspace_id: Annotated[str, Form()] = "",
) -> Response:
    ids, fault = _read_ids(call_ids)
    given = {"call_ids": call_ids, "workspace_id": workspace_id}
    if fault:
        return _adding(request, service, **given, ids_fault=fault)
    try:
        if workspace_id:
            show_workspace(service, workspace_id)
        accepted = enqueue_calls(
            service,
            ids,
            workspace_id=workspace_id or None,
            priority=Priority.FRESH,
            body=json.dumps({"call_ids": ids, "workspace_id": workspace_id or None}).encode(),
            by=viewer.actor,
        )
    except (NoWorkspace, NotFound):
        fault = "Choose the workspace that these calls belong to"
        return _adding(request, service, **given, workspace_fault=fault)
    known = sum(one.is_duplicate for one in accepted)
    says = _added(len(accepted) - known, known)
    if len(ids) == 1:
        return redirect(request, call_path(ids[0], workspace_id or None), says=says)
    return redirect(request, "/calls", says=says)


def _adding(
    request: Request,
    service: Service,
    *,
    call_ids: str = "",
    workspace_id: str = "",
    ids_fault: str | None = None,
    workspace_fault: str | None = None,
) -> Response:
    return render(
        request,
        "calls_add.html",
        status=422 if ids_fault or workspace_fault else 200,
        call_ids=call_ids,
        workspace_id=workspace_id,
        ids_fault=ids_fault,
        workspace_fault=workspace_fault,
        **_workspaces(service),
    )


def _read_ids(text: str) -> tuple[list[str], str | None]:
    """The ids, each once, in their order; and what is wrong with the first few that are none."""
    lines = [line.strip().strip(",;").strip() for line in text.splitlines()]
    given = list(dict.fromkeys(line for line in lines if line))
    if not given:
        return [], "Paste at least one call id"
    if len(given) > MAX_IDS:
        return [], f"These are {len(given):,} ids: add at most {MAX_IDS:,} at once"
    faults = []
    for number, line in enumerate(given, start=1):
        try:
            check_call_id(line, at=f"Id {number}")
        except NoCallId as error:
            faults.append(str(error))
    more = f"; and {len(faults) - _MOST_FAULTS} more" if len(faults) > _MOST_FAULTS else ""
    return given, "; ".join(faults[:_MOST_FAULTS]) + more if faults else None


def _added(new: int, known: int) -> str:
    were = f"{new:,} call was added" if new == 1 else f"{new:,} calls were added"
    if not known:
        return f"{were}: the detail is fetched from Twenty2 now."
    if new:
        return f"{were}; {known:,} {'is' if known == 1 else 'are'} known already."
    return "It is known already." if known == 1 else f"All {known:,} are known already."


def _workspaces(service: Service) -> dict[str, Any]:
    ids = [one.workspace_id for one in show_workspaces(service)]
    return {"workspaces": ids, "workspace_options": [(one, one) for one in ids]}


# ---- words -------------------------------------------------------------------


def length(seconds: int) -> str:
    """Of a call: 45 s; 1 min 34 s; 1 h 2 min."""
    if seconds < 60:
        return f"{seconds} s"
    minutes, rest = divmod(seconds, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


def who_of(call: CallView) -> str | None:
    """The customer's number, not the agent's."""
    if call.direction == "inbound":
        return call.caller_phone or call.callee_phone
    return call.callee_phone or call.caller_phone


def highlights(parameters: dict[str, Any]) -> list[tuple[str, str]]:
    """A few of the output parameters, shortened; those that read well in a line come first."""
    plain = [one for one in parameters.items() if not isinstance(one[1], (dict, list))]
    nested = [one for one in parameters.items() if isinstance(one[1], (dict, list))]
    chosen = [*plain, *nested][:_MOST_HIGHLIGHTS]
    return [
        (shortened(name, _MOST_NAME), shortened(as_text(value), _MOST_VALUE))
        for name, value in chosen
    ]


def shortened(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…"


def row_id(call: CallView) -> str:
    """An id of HTML: what is in a call's id may not be in one."""
    named = f"{call.workspace_id}/{call.call_id}".encode()
    return f"call-{hashlib.blake2b(named, digest_size=9).hexdigest()}"


def summary_of(row: CallRowView) -> tuple[str, str] | None:
    """Did it reach the CRM: a state, and what to call it. None when nothing was to be sent."""
    states = [one.state for one in row.deliveries]
    if not states:
        return None
    sent = states.count("delivered")
    of = f"{sent} of {len(states) - states.count('skipped')} delivered"
    if "dead" in states:
        return "dead", of if sent else "Not delivered"
    if "held" in states:
        return "held", of if sent else "Held"
    if "queued" in states or "sending" in states:
        return "queued", of if sent else "Waits"
    if sent:
        return "delivered", "Delivered" if sent == 1 else f"Delivered to {sent}"
    return "skipped", "Skipped"


def _row_words(*, shown: bool) -> dict[str, Any]:
    return {
        "shown": shown,
        "highlights": highlights,
        "length": length,
        "row_id": row_id,
        "summary_of": summary_of,
        "who_of": who_of,
    }
