"""The calls that the fake Twenty2 knows: the facts of one, and calls made up from a seed.

Everything is fiction. How a call is written into an answer or a webhook stands in `payloads`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Final

from aftercall.simulator.faults import CONTENT_FAULTS, Fault

Parameters = Mapping[str, Any]

STORAGE: Final = "https://storage.twentytwo.in/"
"""Links into it are replaced by links into the simulator's own storage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedCall:
    """One call as the provider knows it. The defaults are those of the provider's own example."""

    call_id: str
    workspace_id: str
    agent_id: str | None = "69de483c68b23495c853b43a"
    agent_name: str = "Site visit follow-up"
    #: The final status; see `ready_after_seconds`.
    status: str = "completed"
    direction: str | None = "outbound"
    callee_phone: str | None = "9999999999"
    caller_phone: str | None = "9999999999"
    duration_seconds: int | None = 94
    billed_duration_seconds: int | None = 94
    cost: str | None = "15.67 INR"
    started_at: str | None = "2024-12-25T10:00:00Z"
    answered_at: str | None = None
    ended_at: str | None = "2024-12-25T10:01:34Z"
    disconnection_reason: str | None = "user_hangup"
    campaign_name: str | None = None
    input_parameters: Parameters | None = field(default_factory=dict)
    output_parameters: Parameters | None = field(default_factory=dict)
    recording: Parameters | None = None
    transcript: Parameters | None = None
    #: Top-level members that the detail leaves out altogether, such as "recording".
    omitted: frozenset[str] = frozenset()
    #: Under way (`initiated`, then `connected`) until this long after the call was added …
    ready_after_seconds: float = 0.0
    #: … and until its detail has been looked at this often.
    ready_after_looks: int = 0
    #: Recording and transcript are not there yet until the final detail was looked at this often.
    media_after_looks: int = 0
    #: Content faults that every answer about this call has, such as OTHER_ID.
    quirks: tuple[Fault, ...] = ()

    def __post_init__(self) -> None:
        if not CONTENT_FAULTS.issuperset(self.quirks):
            raise ValueError(f"{self.call_id}: a quirk is a content fault, not {self.quirks}")

    @property
    def connected(self) -> bool:
        return self.status == "completed"


_FIRST_NAMES: Final = (
    "Aarav", "Aditi", "Ananya", "Arjun", "Deepak", "Divya", "Farhan", "Gurpreet", "Harini",
    "Imran", "Ishaan", "Jaya", "Karthik", "Kavya", "Lakshmi", "Manish", "Meera", "Neha",
    "Pooja", "Pranav", "Rahul", "Riya", "Rohit", "Sanjay", "Shreya", "Sunita", "Tanvi",
    "Varun", "Vikram", "Zoya",
)  # fmt: skip
_LAST_NAMES: Final = (
    "Agarwal", "Banerjee", "Chauhan", "Desai", "Fernandes", "Gupta", "Iyer", "Joshi", "Khan",
    "Kulkarni", "Mehta", "Menon", "Nair", "Patel", "Pillai", "Rao", "Reddy", "Shah", "Sharma",
    "Singh", "Verma",
)  # fmt: skip
_CALLBACK_TIMES: Final = (
    "Tomorrow 11am", "tomorrow evening", "Monday 10:30 am", "kal subah 10 baje", "after 6 pm",
    "28 July 4:30 PM", "next week", "कल सुबह ग्यारह बजे", "in half an hour",
)  # fmt: skip
_BUDGETS: Final = ("75 lakh", "1.2 crore", "₹85,00,000", "50-60 lakhs", "not specified", 4500000)
_NOTES: Final = (
    "Wants a 2 BHK near the metro; will discuss with family.",
    "Asked for the brochure on WhatsApp.",
    "हाँ, मुझे साइट देखनी है। रविवार को फ़ोन कीजिए।",
    "Price is too high, may call back if there is an offer 🙂",
    "",
)
_STATUSES: Final = ("completed",) * 16 + ("not_connected",) * 3 + ("failed",)
_MISSED: Final = {
    "not_connected": ("no_answer", "user_busy", "call_rejected"),
    "failed": ("provider_error", "invalid_number"),
}


def random_call(
    rng: Random, *, workspace_id: str, ended_at: datetime, status: str | None = None
) -> SimulatedCall:
    """A plausible call. `status` None draws one: four in five are completed."""
    status = rng.choice(_STATUSES) if status is None else status
    call_id = f"{rng.getrandbits(96):024x}"
    customer = f"{rng.choice(_FIRST_NAMES)} {rng.choice(_LAST_NAMES)}"
    ringing = timedelta(seconds=rng.randint(4, 25))
    talking = timedelta(seconds=int(rng.lognormvariate(4.3, 0.7)) + 5)
    connected = status == "completed"
    started_at = ended_at - ringing - (talking if connected else timedelta(0))
    seconds = int(talking.total_seconds()) if connected else 0
    return SimulatedCall(
        call_id=call_id,
        workspace_id=workspace_id,
        agent_id=f"{rng.getrandbits(96):024x}",
        status=status,
        callee_phone=_phone(rng),
        caller_phone=_phone(rng),
        duration_seconds=seconds,
        billed_duration_seconds=seconds,
        cost=f"{seconds / 6:.2f} INR",
        started_at=iso(started_at),
        answered_at=iso(started_at + ringing) if connected else None,
        ended_at=iso(ended_at),
        disconnection_reason=(
            rng.choice(("user_hangup", "agent_hangup"))
            if connected
            else rng.choice(_MISSED.get(status, ("unknown",)))
        ),
        campaign_name=rng.choice((None, "July site visits", "Diwali offer")),
        input_parameters={"agentName": rng.choice(_FIRST_NAMES), "customerName": customer},
        output_parameters=_outputs(rng) if connected else rng.choice(({}, None)),
        recording=_link("recordings", call_id, "mp3", ended_at) if connected else None,
        transcript=_link("transcripts", call_id, "txt", ended_at) if connected else None,
        omitted=frozenset() if connected else rng.choice(_LEFT_OUT_WHEN_MISSED),
    )


_LEFT_OUT_WHEN_MISSED: Final = (
    frozenset[str](),
    frozenset({"recording", "transcript"}),
    frozenset({"recording", "transcript", "output_parameters"}),
)


def iso(moment: datetime) -> str:
    """As the provider writes times: whole seconds, `Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _phone(rng: Random) -> str:
    return f"{rng.choice('6789')}{rng.randrange(10**9):09d}"


def _outputs(rng: Random) -> dict[str, Any]:
    wants_callback = rng.random() < 0.4
    return {
        "interested": rng.choice(("yes", "yes", "no", "maybe")),
        "callback_requested": "yes" if wants_callback else "no",
        "callback_time": rng.choice(_CALLBACK_TIMES) if wants_callback else "",
        "budget": rng.choice(_BUDGETS),
        "notes": rng.choice(_NOTES),
    }


def _link(folder: str, call_id: str, extension: str, ended_at: datetime) -> dict[str, str]:
    return {
        "url": f"{STORAGE}{folder}/{call_id}.{extension}",
        "expires_at": iso(ended_at + timedelta(days=31)),
    }
