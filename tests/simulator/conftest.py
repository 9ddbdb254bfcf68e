"""A simulator that listens, with a hook named `leads`."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from aftercall.simulator import DEFAULT_WORKSPACE, Hook, Simulator

from .raw_client import SECRET


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    """One workspace, whose rate limit is out of the way."""
    workspace = replace(DEFAULT_WORKSPACE, rate_limit=10_000)
    with Simulator(seed=7, workspaces=[workspace]) as simulator:
        simulator.crm.add_hook("leads", SECRET)
        yield simulator


@pytest.fixture
def hook(simulator: Simulator) -> Hook:
    return simulator.crm.hook("leads")
