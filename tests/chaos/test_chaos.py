"""A short chaos for every run of the suite; `make chaos` is the long one."""

import pytest

from tests.chaos.run import Say, plan_of, run


@pytest.mark.timeout(420)
def test_what_was_answered_200_reaches_every_hook_whatever_is_killed_meanwhile() -> None:
    found = run(plan_of(minutes=0.7, calls=1_000, seed=2026), say=Say())
    assert not found.breaches, str(found)
    assert found.accepted > 500, str(found)
    assert found.delivered + found.dead >= found.accepted, str(found)
