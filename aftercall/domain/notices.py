"""What the operator is told: which notices there are, when something is news, and the words.

Pure. A notice names workspaces, destinations, counts and reasons in words of ours: nothing of a
call, nothing of a person, no secret. docs/alerts.md shows each.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any
from urllib.parse import quote, urlencode


class NoticeType(StrEnum):
    WORKSPACE_BLOCKED = "workspace.blocked"
    WORKSPACE_RELEASED = "workspace.released"
    DESTINATION_DISABLED = "destination.disabled"
    DESTINATION_ENABLED = "destination.enabled"
    DEAD_LETTERS_GREW = "dead_letters.grew"
    TEST = "test"


class NoticeState(StrEnum):
    QUEUED = "queued"
    """Waits for `due_at`."""
    SENDING = "sending"
    """A worker holds the lease and is posting it."""
    SENT = "sent"
    """The operator's webhook took it."""
    DEAD = "dead"
    """Given up, with the reason in `last_error`."""


#: Bad news about the same subject comes no more often than that; good news at once.
QUIET = timedelta(minutes=15)
#: A block by 429 that is over by then is nobody's business.
SHORT_BLOCK = timedelta(minutes=5)
#: Notices that came to their end are kept for so long.
KEPT = timedelta(days=90)
#: Of a notice: the most frequent reasons, each with its count.
SHOWN_REASONS = 5
#: Of a subject, between two notices: so many reasons are told apart.
KNOWN_REASONS = 50
OTHER_REASONS = "other reasons"

_LONGEST_REASON = 160
#: A date, with its time of day or without, which stays; else what may be a phone number.
_NUMBER = re.compile(
    r"((?<![\d+-])20\d\d-[01]\d-[0-3]\d(?:[ T][0-2]\d:[0-5]\d)?(?![ -]?\d))"
    r"|\+?\d(?:[ -]?\d){6,}"
)
_ADDRESS = re.compile(r"\S+@\S+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """`subject`: what it is about. `body`: what is posted, but for the time."""

    type: NoticeType
    subject: str
    text: str
    data: Mapping[str, Any]

    def body(self, *, at: datetime) -> dict[str, Any]:
        """Not `type`: Mattermost takes that word for its own and refuses what it does not know."""
        return {
            "notice": self.type.value,
            "timestamp": at.astimezone(UTC).isoformat(timespec="milliseconds"),
            "text": self.text,
            "data": {name: value for name, value in self.data.items() if value is not None},
        }


@dataclass(frozen=True, slots=True)
class Links:
    """Into the console; none without the address under which it is reached."""

    public_url: str | None

    def workspace(self, workspace_id: str) -> str | None:
        return self._to(f"/workspaces/{quote(workspace_id, safe='')}")

    def destination(self, destination_id: str) -> str | None:
        return self._to(f"/destinations/{destination_id}")

    def dead_calls(self, workspace_id: str) -> str | None:
        return self._to(f"/calls?{urlencode({'state': 'dead', 'workspace_id': workspace_id})}")

    def dead_deliveries(self, destination_id: str) -> str | None:
        asked = {"state": "dead", "destination_id": destination_id}
        return self._to(f"/deliveries?{urlencode(asked)}")

    def _to(self, path: str) -> str | None:
        return None if self.public_url is None else f"{self.public_url}{path}"


# ---- what is news ------------------------------------------------------------


def is_news(
    trouble: str | None, *, told: str | None, told_at: datetime | None, now: datetime
) -> bool:
    """Whether to tell that a subject has this trouble now (None: it is well again).

    `told`: the trouble that the operator knows of; `told_at`: when one was told last. What comes
    and goes is told once in `QUIET`, so that it fills nobody's day.
    """
    if trouble == told:
        return False
    if trouble is None or told is not None:
        return True
    return told_at is None or now - told_at >= QUIET


def plain_reason(reason: str | None) -> str:
    """A row's last error without what the other side said, which may name people."""
    first, _, rest = " ".join((reason or "").split()).partition(": ")
    if first.startswith("gave up") and rest:
        first = f"{first}: {rest.partition(': ')[0]}"
    said = _ADDRESS.sub("***", _NUMBER.sub(lambda found: found[1] or "***", first))
    return said[:_LONGEST_REASON] or "no reason was written down"


def add_reasons(known: Mapping[str, int], new: Mapping[str, int]) -> dict[str, int]:
    """Both counts together; from `KNOWN_REASONS` on, further ones are one."""
    total = Counter(known)
    for reason, count in new.items():
        is_room = reason in total or len(total) < KNOWN_REASONS
        total[reason if is_room else OTHER_REASONS] += count
    return dict(total)


# ---- the words ---------------------------------------------------------------


def workspace_subject(workspace_id: str) -> str:
    return f"workspace:{workspace_id}"


def destination_subject(destination_id: str) -> str:
    return f"destination:{destination_id}"


def workspace_blocked(
    workspace_id: str, *, kind: str, reason: str | None, until: datetime | None, links: Links
) -> Notice:
    why = plain_reason(reason)
    url = links.workspace(workspace_id)
    goes_on = (
        "Correct its API key and secret."
        if kind == "credentials"
        else f"It ends by itself{f' at {until:%H:%M} UTC' if until else ''}."
    )
    return Notice(
        type=NoticeType.WORKSPACE_BLOCKED,
        subject=workspace_subject(workspace_id),
        text=_line(
            f"workspace {_shown(workspace_id)} is blocked: {_shown(why)}. "
            f"Its calls wait, none is lost. {goes_on}",
            url,
        ),
        data={
            "workspace_id": workspace_id,
            "kind": kind,
            "reason": why,
            "blocked_until": None if until is None else until.astimezone(UTC).isoformat(),
            "url": url,
            "runbook": "docs/runbook/workspace-blocked.md",
        },
    )


def workspace_released(workspace_id: str, *, links: Links) -> Notice:
    url = links.workspace(workspace_id)
    return Notice(
        type=NoticeType.WORKSPACE_RELEASED,
        subject=workspace_subject(workspace_id),
        text=_line(f"workspace {_shown(workspace_id)} is not blocked any more.", url),
        data={"workspace_id": workspace_id, "url": url},
    )


def destination_disabled(
    destination_id: str, *, name: str, reason: str | None, links: Links
) -> Notice:
    why = plain_reason(reason)
    url = links.destination(destination_id)
    return Notice(
        type=NoticeType.DESTINATION_DISABLED,
        subject=destination_subject(destination_id),
        text=_line(
            f"destination {_shown(name)} is disabled: {_shown(why)}. "
            "Its deliveries are held, none is lost. Mend it, then enable it.",
            url,
        ),
        data={
            "destination_id": destination_id,
            "destination": name,
            "reason": why,
            "url": url,
            "runbook": "docs/runbook/destination-disabled.md",
        },
    )


def destination_enabled(destination_id: str, *, name: str, links: Links) -> Notice:
    url = links.destination(destination_id)
    return Notice(
        type=NoticeType.DESTINATION_ENABLED,
        subject=destination_subject(destination_id),
        text=_line(f"destination {_shown(name)} is enabled again. What was held goes now.", url),
        data={"destination_id": destination_id, "destination": name, "url": url},
    )


def dead_calls_grew(
    workspace_id: str, *, subject: str, reasons: Mapping[str, int], since: datetime, links: Links
) -> Notice:
    count = sum(reasons.values())
    calls = "1 call" if count == 1 else f"{count} calls"
    return _dead_letters(
        f"{calls} of workspace {_shown(workspace_id)} could not be fetched and "
        f"{'was' if count == 1 else 'were'} given up",
        "Mend the reason, then refetch.",
        {"kind": "call", "workspace_id": workspace_id},
        subject=subject,
        reasons=reasons,
        since=since,
        url=links.dead_calls(workspace_id),
    )


def dead_deliveries_grew(
    destination_id: str,
    *,
    name: str,
    subject: str,
    reasons: Mapping[str, int],
    since: datetime,
    links: Links,
) -> Notice:
    count = sum(reasons.values())
    deliveries = "1 delivery" if count == 1 else f"{count} deliveries"
    return _dead_letters(
        f"{deliveries} to {_shown(name)} {'was' if count == 1 else 'were'} given up",
        "Mend the reason, then replay.",
        {"kind": "delivery", "destination_id": destination_id, "destination": name},
        subject=subject,
        reasons=reasons,
        since=since,
        url=links.dead_deliveries(destination_id),
    )


def test_notice() -> Notice:
    return Notice(
        type=NoticeType.TEST,
        subject="test",
        text="aftercall: a test of the operator's webhook. Nothing is wrong.",
        data={},
    )


def _dead_letters(
    what: str,
    advice: str,
    data: dict[str, Any],
    *,
    subject: str,
    reasons: Mapping[str, int],
    since: datetime,
    url: str | None,
) -> Notice:
    most = Counter(reasons).most_common(SHOWN_REASONS)
    shown = "; ".join(f"{count} × {_shown(reason)}" for reason, count in most)
    more = "; and more" if len(reasons) > SHOWN_REASONS else ""
    return Notice(
        type=NoticeType.DEAD_LETTERS_GREW,
        subject=subject,
        text=_line(f"{what}: {shown}{more}. {advice}", url),
        data={
            **data,
            "count": sum(reasons.values()),
            "since": since.astimezone(UTC).isoformat(timespec="milliseconds"),
            "reasons": [{"reason": reason, "count": count} for reason, count in most],
            "url": url,
            "runbook": "docs/runbook/dead-letters.md",
        },
    )


def _line(sentence: str, url: str | None) -> str:
    return f"aftercall: {sentence}" if url is None else f"aftercall: {sentence} {url}"


def _shown(text: str) -> str:
    """As chats read it: a name cannot call everybody (<!channel>) nor be a link."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
