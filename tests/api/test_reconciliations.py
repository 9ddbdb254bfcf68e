"""/api/v1/reconciliations, and beginning one at its workspace."""

import uuid

from aftercall.flows.reconciliations import start_reconciliation
from aftercall.flows.service import Service
from tests.api.server import Api, assert_problem
from tests.conftest import WORKSPACE

AT = f"/workspaces/{WORKSPACE.id}/reconciliations"


def test_one_is_begun_shown_listed_and_canceled(api: Api, service: Service) -> None:
    answer = api.call("POST", AT, json={"since": "2026-11-01T00:00:00+05:30"})
    assert answer.status_code == 202
    begun = answer.json()
    assert (begun["state"], begun["kind"], begun["since"]) == (
        "running",
        "by_hand",
        "2026-10-31T18:30:00Z",
    )
    assert api.get(f"/reconciliations/{begun['id']}")["workspace_id"] == WORKSPACE.id
    assert_problem(api.call("POST", AT), 409, "being read already")
    canceled = api.post(f"/reconciliations/{begun['id']}/cancel")
    assert (canceled["state"], canceled["due_at"]) == ("canceled", None)
    assert_problem(api.call("POST", f"/reconciliations/{begun['id']}/cancel"), 409, "canceled")
    actions = [entry["action"] for entry in api.get("/audit")["items"]]
    assert actions == ["reconciliation.canceled", "reconciliation.started"]


def test_pages_of_the_list_lead_on(api: Api, service: Service) -> None:
    made = []
    for _ in range(3):
        view = start_reconciliation(service, WORKSPACE.id)
        api.post(f"/reconciliations/{view.id}/cancel")
        made.append(str(view.id))
    first = api.get("/reconciliations?limit=2")
    rest = api.get(f"/reconciliations?limit=2&cursor={first['next_cursor']}")
    assert [one["id"] for one in first["items"] + rest["items"]] == made[::-1]
    assert rest["next_cursor"] is None
    assert api.get("/reconciliations?workspace_id=other")["items"] == []
    assert_problem(api.call("GET", "/reconciliations?cursor=x"), 422)


def test_what_cannot_be_is_told(api: Api, service: Service) -> None:
    assert_problem(api.call("POST", "/workspaces/nobody/reconciliations"), 404, "nobody")
    assert_problem(api.call("GET", f"/reconciliations/{uuid.uuid4()}"), 404)
    for wrong in ({"since": 5}, {"since": "yesterday"}, {"other": 1}, []):
        assert_problem(api.call("POST", AT, json=wrong), 422)
    times = {"since": "2026-02-01T00:00:00Z", "until": "2026-01-01T00:00:00Z"}
    assert_problem(api.call("POST", AT, json=times), 422, "later than since")
    api.put("/workspaces/other", {})
    assert_problem(api.call("POST", "/workspaces/other/reconciliations"), 409, "credentials")
