"""Every process restarted under load, one after the other, as an upgrade does it."""

import os
import random
import signal
import threading
import time
from collections import Counter

import pytest

from tests.chaos.audit import audit
from tests.chaos.run import HOOKS, WORKSPACES, Say, everything, is_ready, plan_of, wait_until_quiet
from tests.chaos.sender import Stream


@pytest.mark.timeout(400)
def test_a_rolling_restart_loses_nothing_and_refuses_no_webhook() -> None:
    plan, say = plan_of(minutes=1, calls=2_000, seed=5), Say()
    with everything(plan) as (target, service, urls):
        origins = [url.partition("/webhooks/")[0] for url in urls]
        call_ids = [
            call_id
            for workspace in WORKSPACES
            for call_id in target.simulator.twentytwo.make_calls(250, workspace_id=workspace.id)
        ]
        random.Random(5).shuffle(call_ids)
        stream = Stream(target.simulator, urls, per_second=40)
        sending = threading.Thread(target=stream.run, args=(call_ids,))
        sending.start()
        for name in ("api1", "worker1", "api2", "worker2", "beat"):
            before = target.supervisor.pids()[name]
            os.kill(before, signal.SIGTERM)
            deadline = time.monotonic() + 60
            while target.supervisor.pids().get(name) in (None, before):
                assert time.monotonic() < deadline, f"{name} did not come back"
                target.supervisor.check()
                time.sleep(0.1)
            # As an upgrade does it: the next one only when all apis answer again.
            while not all(is_ready(origin) for origin in origins):
                assert time.monotonic() < deadline, f"{name} does not answer"
                time.sleep(0.2)
            time.sleep(3)
        sending.join()
        quiet_after = wait_until_quiet(service, target, plan, stream, say)
        found = audit(
            service,
            target.simulator,
            accepted=stream.accepted,
            hooks=HOOKS,
            refused=stream.refused,
            slowest=stream.slowest,
            quiet_after=quiet_after,
            seed=5,
            disturbances=Counter(),
        )
    assert not found.breaches, str(found)
    assert (found.refused, found.accepted, found.delivered) == (0, 2_000, 2_000), str(found)
    assert found.more_than_once == 0, str(found)
