"""After chaos: what was promised, against what the database says and what the CRM saw."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import text

from aftercall.flows.service import Service
from aftercall.simulator import Simulator


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """The numbers; `breaches` are those that must be nothing."""

    seed: int
    accepted: int
    refused: int
    slowest_answer: float
    saved: int
    delivered: int
    dead: int
    lost: tuple[str, ...]
    more_than_once: int
    ids_that_disagree: int
    bad_signatures: int
    rows_stuck: int
    quiet_after: float | None
    disturbances: Counter[str]
    dead_reasons: Counter[str]

    @property
    def breaches(self) -> list[str]:
        found = {
            "lost": len(self.lost),
            "ids that disagree": self.ids_that_disagree,
            "bad signatures": self.bad_signatures,
            "rows stuck": self.rows_stuck,
            "never quiet": int(self.quiet_after is None),
        }
        return [f"{name}: {count}" for name, count in found.items() if count]

    def __str__(self) -> str:
        quiet = "never" if self.quiet_after is None else f"{self.quiet_after:.0f} s"
        what = ", ".join(f"{name} {count}" for name, count in sorted(self.disturbances.items()))
        lines = {
            "disturbances": what,
            "accepted (answered 200)": self.accepted,
            "not answered 200": self.refused,
            "slowest answer": f"{self.slowest_answer:.1f} s",
            "lost": len(self.lost),
            "saved": self.saved,
            "delivered": self.delivered,
            "dead, to be seen and replayed": self.dead,
            "delivered more than once, under one id": self.more_than_once,
            "ids that disagree": self.ids_that_disagree,
            "bad signatures": self.bad_signatures,
            "rows stuck": self.rows_stuck,
            "quiet after": quiet,
            "seed": self.seed,
        }
        text_ = "\n".join(f"  {name}: {value}" for name, value in lines.items())
        for reason, count in self.dead_reasons.most_common(5):
            text_ += f"\n    dead {count}: {reason}"
        for call_id in self.lost[:10]:
            text_ += f"\n    lost: {call_id}"
        return text_


def audit(
    service: Service,
    simulator: Simulator,
    *,
    accepted: set[str],
    hooks: Sequence[str],
    refused: int,
    slowest: float,
    quiet_after: float | None,
    seed: int,
    disturbances: Counter[str],
) -> Audit:
    """A call is lost when it was accepted, and is neither at every hook nor seen to be dead."""
    with service.database.transaction() as session:
        calls = {
            row.call_id: row.state
            for row in session.execute(text("SELECT call_id, state FROM calls"))
        }
        dead_deliveries = {
            (row.call_id, row.name)
            for row in session.execute(
                text(
                    "SELECT c.call_id, t.name FROM deliveries d"
                    " JOIN calls c ON c.id = d.call_row_id"
                    " JOIN destinations t ON t.id = d.destination_id WHERE d.state = 'dead'"
                )
            )
        }
        reasons = Counter(
            str(row.last_error)
            for row in session.execute(
                text(
                    "SELECT last_error FROM calls WHERE state = 'dead'"
                    " UNION ALL SELECT last_error FROM deliveries WHERE state = 'dead'"
                )
            )
        )
        stuck = session.execute(
            text(
                "SELECT (SELECT count(*) FROM calls WHERE state IN ('queued', 'fetching'))"
                " + (SELECT count(*) FROM deliveries"
                " WHERE state IN ('queued', 'sending', 'held'))"
            )
        ).scalar_one()
    at_hook = {name: simulator.crm.accepted_call_ids(name) for name in hooks}
    lost = [
        call_id
        for call_id in sorted(accepted)
        if calls.get(call_id) != "dead"
        and any(
            call_id not in at_hook[name] and (call_id, name) not in dead_deliveries
            for name in hooks
        )
    ]
    report = simulator.report()
    return Audit(
        seed=seed,
        accepted=len(accepted),
        refused=refused,
        slowest_answer=slowest,
        saved=sum(state == "fetched" for state in calls.values()),
        delivered=len(set.intersection(*at_hook.values())),
        dead=sum(state == "dead" for state in calls.values()) + len(dead_deliveries),
        lost=tuple(lost),
        more_than_once=report.crm_duplicates,
        ids_that_disagree=report.ids_that_disagree,
        bad_signatures=report.bad_signatures,
        rows_stuck=int(stuck),
        quiet_after=quiet_after,
        disturbances=disturbances,
        dead_reasons=reasons,
    )
