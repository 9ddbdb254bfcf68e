"""The opposite side, for tests, the demo and `aftercall simulate`: a fake Twenty2 and a fake CRM.

```python
with Simulator(seed=7) as simulator:
    hook = simulator.crm.add_hook("leads", secret)
    call_ids = simulator.twentytwo.make_calls(200)
    hook.fail_next(Fault.RESET, PlannedFault(Fault.SLOW, seconds=2))
    simulator.send_webhooks(call_ids, url=webhook_url, per_second=50, duplicate_rate=0.1)
    missing = simulator.crm.wait_for_calls(call_ids, hook="leads", timeout_seconds=30)
    simulator.report()
```

Standard library, requests and standardwebhooks only.
"""

from aftercall.simulator.calls import SimulatedCall
from aftercall.simulator.crm import FakeCrm, Hook
from aftercall.simulator.faults import CRM_FAULTS, TWENTYTWO_FAULTS, Fault, PlannedFault
from aftercall.simulator.payloads import other_id
from aftercall.simulator.receipts import Receipt, SeenRequest
from aftercall.simulator.report import Report
from aftercall.simulator.simulator import DEFAULT_WORKSPACE, Simulator
from aftercall.simulator.twentytwo import FakeTwentyTwo, SimulatedWorkspace
from aftercall.simulator.webhooks import SentWebhook, WebhookSender

__all__ = [
    "CRM_FAULTS",
    "DEFAULT_WORKSPACE",
    "TWENTYTWO_FAULTS",
    "FakeCrm",
    "FakeTwentyTwo",
    "Fault",
    "Hook",
    "PlannedFault",
    "Receipt",
    "Report",
    "SeenRequest",
    "SentWebhook",
    "SimulatedCall",
    "SimulatedWorkspace",
    "Simulator",
    "WebhookSender",
    "other_id",
]
