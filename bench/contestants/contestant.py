"""What a scenario asks of a contestant."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from bench.processes import BenchError, Children
from bench.stores import Stores
from bench.stub_client import Stub

#: The table of every contestant but ours.
PEER_SCHEMA = """
CREATE TABLE calls (
  call_id text PRIMARY KEY,
  status text NOT NULL,
  direction text,
  callee_phone text,
  duration_seconds integer,
  started_at timestamptz,
  ended_at timestamptz,
  detail jsonb NOT NULL,
  saved_at timestamptz NOT NULL DEFAULT now()
)
"""
WORKSPACE = "699ed3b91ee5bee389dcb6a3"


@dataclass(frozen=True, slots=True)
class Site:
    """Where a contestant runs: fresh stores, the stub, and who starts its processes."""

    stores: Stores
    stub: Stub
    children: Children

    @property
    def directory(self) -> Path:
        """For its own files; removed at the end."""
        return self.stores.directory

    def environment(self) -> dict[str, str]:
        """As every contestant but ours reads it."""
        return {
            **self.stores.environment(),
            "UPSTREAM_URL": f"{self.stub.origin}/call/detail",
            "HOOK_URL": self.stub.hook_url,
            "WORKSPACE_ID": WORKSPACE,
        }


class Contestant(ABC):
    """One run's contestant. The defaults are those of the peers."""

    name: ClassVar[str]
    #: One line for the report.
    what: ClassVar[str]
    has_receiver: ClassVar[bool] = False
    #: Whether a webhook that was answered survives a crash.
    has_durable_receiver: ClassVar[bool] = False
    #: Of a run, where more would only take longer.
    most_calls: ClassVar[int | None] = None
    #: Whether each of its processes does one call at a time.
    waits_for_each_call: ClassVar[bool] = False

    def install(self) -> None:  # noqa: B027 - most need nothing
        """Whatever it needs that is not there; once a bench, before any run."""

    def set_up(self, site: Site) -> None:
        """Its tables."""
        site.stores.execute(PEER_SCHEMA)

    @abstractmethod
    def enqueue(self, site: Site, call_ids: Sequence[str]) -> None:
        """Queue these calls; nobody works yet."""

    @abstractmethod
    def start_workers(self, site: Site, *, processes: int) -> None:
        """Begin to work; so many processes do the job."""

    def start_receiver(self, site: Site) -> str:  # noqa: ARG002 - of those that have one
        """The URL that takes webhooks, once it answers."""
        raise BenchError(f"{self.name} has no receiver here")

    def tune_for_latency(self) -> None:  # noqa: B027 - most need nothing
        """What its user would set when the upstream and the CRM take their time."""

    def received(self, site: Site) -> int:  # noqa: ARG002 - of those with a durable receiver
        """Calls that it has stored, done or not."""
        raise BenchError(f"{self.name} has no durable receiver here")

    def saved(self, site: Site) -> int:
        """Calls that are in its table with their detail."""
        return site.stores.number("SELECT count(*) FROM calls WHERE detail ? 'call'")
