"""The newest migration, with calls in the database and webhooks flowing; the code that was there
before it is taken from the history. `make upgrade-test` is the large one."""

import pytest

from aftercall.db.migrating import LOCK_TIMEOUT
from tests.chaos.run import Say
from tests.upgrade.releases import HistoryMissing, Release, newest, releases
from tests.upgrade.run import LONGEST_ANSWER, Plan, upgrade


@pytest.fixture(scope="module")
def history() -> list[Release]:
    try:
        return releases()
    except HistoryMissing as error:
        # Not skipped: nobody would notice that upgrades are tried nowhere.
        pytest.fail(str(error))


@pytest.mark.timeout(600)
def test_the_newest_migration_costs_no_call_while_the_code_before_it_runs(
    history: list[Release],
) -> None:
    plan = Plan(calls=20_000, per_second=20, calm_seconds=3, reader_seconds=2)
    (step,) = upgrade(history[-2:], plan, say=Say())
    assert not step.breaches, (step.breaches, step.old_errors, step.said)
    assert step.accepted == step.delivered > 100


def test_every_release_has_another_schema_and_the_last_is_this_tree(
    history: list[Release],
) -> None:
    schemas = [release.schema for release in history]
    assert schemas == sorted(set(schemas))
    assert [release.commit for release in history].index(None) == len(history) - 1


def test_the_newest_of_files_is_found_by_its_number() -> None:
    assert newest(["20261124_0007_crm_sync.py", "20261124_0010_x.py", "notes.py"]) == "0010"


def test_a_lock_is_let_go_long_before_the_provider_stops_waiting() -> None:
    assert 2 * LOCK_TIMEOUT < LONGEST_ANSWER
