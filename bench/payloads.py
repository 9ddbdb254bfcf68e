"""What the stub upstream says of a call: one completed call, as Twenty2's page shows it.

About 2.5 KB, of which the customer's own words are the most. The same for
every contestant; only the id is the one that was asked for.
"""

import json
import random
from typing import Any, Final

_MARK: Final = "@call_id@"

_SUMMARY_HI: Final = (
    "ग्राहक को रविवार को साइट देखनी है। परिवार के साथ आएँगे, बजट लगभग पचहत्तर लाख है। "
    "मेट्रो के पास दो बेडरूम चाहिए, पार्किंग ज़रूरी है। कृपया सुबह ग्यारह बजे के बाद फ़ोन करें।"
)
_SUMMARY_EN: Final = (
    "The customer wants to see the site on Sunday and will come with the family. The budget is "
    "about 75 lakh; a loan has been approved in principle by their bank. They ask for a 2 BHK near "
    "the metro with covered parking, on the fourth floor or above, and want to know about the "
    "maintenance charges, the date of possession and whether the clubhouse is finished. They have "
    "seen two other projects in the area and found the carpet area too small. "
)


def detail(call_id: str) -> dict[str, Any]:
    """The answer of GET /call/detail."""
    return {
        "success": True,
        "call": {
            "call_id": call_id,
            "agent_id": "69de483c68b23495c853b43a",
            "status": "completed",
            "direction": "outbound",
            "callee_phone": "9876543210",
            "caller_phone": "8045678901",
            "duration_seconds": 94,
            "billed_duration_seconds": 94,
            "cost": "15.67 INR",
            "started_at": "2026-11-20T10:00:00Z",
            "ended_at": "2026-11-20T10:01:34Z",
        },
        "input_parameters": {
            "agentName": "Rohit",
            "customerName": "Lakshmi Kulkarni",
            "project": "Green Meadows, Phase 2",
            "source": "July site visits",
            "leadId": "LD-2026-118842",
        },
        "output_parameters": {
            "interested": "yes",
            "callback_requested": "yes",
            "callback_time": "Tomorrow 11am",
            "budget": "75 lakh",
            "site_visit": "Sunday",
            "language": "hi-IN",
            "objections": ["carpet area", "date of possession", "maintenance charges"],
            "summary": _SUMMARY_EN,
            "summary_in_customers_language": _SUMMARY_HI,
        },
        "recording": {
            "url": f"https://storage.twentytwo.in/recordings/{call_id}.mp3",
            "expires_at": "2026-12-20T10:01:34Z",
        },
        "transcript": {
            "url": f"https://storage.twentytwo.in/transcripts/{call_id}.txt",
            "expires_at": "2026-12-20T10:01:34Z",
        },
    }


def detail_pieces() -> list[bytes]:
    """The answer's bytes around the places where the id stands: `call_id.join(pieces)`."""
    return json.dumps(detail(_MARK), ensure_ascii=False).encode().split(_MARK.encode())


def webhook(call_id: str, workspace_id: str) -> dict[str, Any]:
    """What Twenty2 posts when the call has ended."""
    told = detail(call_id)
    return {
        "event": "call.completed",
        "event_id": f"evt_{call_id}",
        "timestamp": "2026-11-20T10:01:36Z",
        "workspace_id": workspace_id,
        "assistant_id": told["call"]["agent_id"],
        "assistant_name": "Site visit follow-up",
        "call": {
            "call_id": call_id,
            "direction": "outbound",
            "status": "completed",
            "from_number": told["call"]["caller_phone"],
            "to_number": told["call"]["callee_phone"],
            "started_at": told["call"]["started_at"],
            "ended_at": told["call"]["ended_at"],
            "duration_seconds": 94,
            "billed_duration_seconds": 94,
            "call_cost_inr": 15.67,
            "disconnection_reason": "user_hangup",
        },
        "campaign": {"campaign_id": "66a1", "campaign_name": "July site visits"},
        "contact": {
            "phone_number": told["call"]["callee_phone"],
            "input_variables": told["input_parameters"],
        },
        "output_variables": {"interested": "yes", "callback_requested": "yes"},
        "recording": {"available": True, "url": told["recording"]["url"]},
        "transcript": {"available": True},
    }


def make_call_ids(count: int, *, seed: int) -> list[str]:
    """Distinct ids in Twenty2's form of 24 hex digits, in no order that an index would like."""
    rng = random.Random(seed)
    return [f"{rng.getrandbits(64):016x}{number:08x}" for number in range(count)]
