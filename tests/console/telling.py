"""Calls with a past, for the pages that show them: told by the simulator, worked off by us."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aftercall.flows.service import Service
from aftercall.simulator import Fault, SimulatedCall, Simulator
from tests.api.server import Api, Json
from tests.api.working import work_off
from tests.conftest import WORKSPACE, Clock

HOSTILE = '<script>alert("no")</script><img src=x onerror=alert(1)>'


@dataclass(frozen=True, slots=True)
class Teller:
    """`tell` makes a call known and lets Twenty2 say that it has ended; `work` does the rest."""

    console: Api
    simulator: Simulator
    service: Service
    clock: Clock

    def tell(self, call_id: str, *, is_worked: bool = True, **facts: Any) -> str:
        """With these facts of a SimulatedCall."""
        known = {"workspace_id": WORKSPACE.id, "callee_phone": "+919876543210", **facts}
        self.simulator.twentytwo.add_call(SimulatedCall(call_id=call_id, **known))
        answer = self.console.webhook({"call_id": call_id, "event": "call.completed"})
        assert answer.ok, answer.text
        if is_worked:
            self.work()
        return call_id

    def work(self) -> None:
        """Fetches and delivers all that is due."""
        work_off(self.service, self.clock)

    def destination(self, name: str = "leads", *, hook: str = "", **fields: Any) -> Json:
        """One whose hook the simulator answers; `hook`: its name there, when it is another."""
        hook = hook or name
        url = self.simulator.crm.hook_url(hook)
        made = self.console.post("/destinations", {"name": name, "url": url, **fields}, status=201)
        self.simulator.crm.add_hook(hook, made["secret"])
        return made

    def refuse(self, name: str = "leads", *faults: Fault) -> None:
        """What the hook answers to the next deliveries."""
        self.simulator.crm.hook(name).fail_next(*faults)


def learned(**more: Any) -> Mapping[str, Any]:
    """Output parameters as an agent brings them home."""
    return {
        "interested": "yes",
        "budget": 4_500_000,
        "callback_time": "Tomorrow 11am",
        "note": "Wants a 2 BHK near the metro; will discuss with family.",
        "visits": [{"site": "Whitefield", "at": "Sunday"}, {"site": "Hebbal", "at": None}],
        **more,
    }
