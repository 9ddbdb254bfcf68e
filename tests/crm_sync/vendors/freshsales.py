"""Freshsales' fake, for the laws. Its calls have no duration of their own: their note says it."""

import re
from datetime import UTC, datetime
from typing import Any

from aftercall.simulator.crms.freshsales import FakeFreshsales
from tests.crm_sync.vendors.vendor import LoggedCall, LoggedTask, Vendor


class Freshsales(Vendor):
    kind = "freshsales"
    interested = "cf_interested"
    notes = "cf_agent_notes"
    city = "city"
    changes_calls = False

    def __init__(self) -> None:
        self.fake = FakeFreshsales()
        self.fake.add_field(self.interested, type_="checkbox")
        self.fake.add_field(self.notes, type_="textarea")
        self.options = {"owner_id": str(self.fake.owner_id)}

    @property
    def credentials(self) -> dict[str, str]:
        return self.fake.credentials

    def add_person(self, phone: str, **fields: str) -> str:
        day = len(self.fake.contacts) + 1
        return self.fake.add_contact(
            last_name="Known",
            mobile_number=phone,
            last_contacted=f"2024-01-{day:02}T10:00:00Z",
            **fields,
        )

    def people(self) -> dict[str, dict[str, Any]]:
        return {
            id_: {**one, **one["custom_field"], "phone": one.get("mobile_number")}
            for id_, one in self.fake.contacts.items()
        }

    def calls(self) -> list[LoggedCall]:
        return [
            LoggedCall(one["targetable_id"], _seconds(text), text)
            for one in self.fake.phone_calls.values()
            for text in [one["note"]["description"]]
        ]

    def tasks(self) -> list[LoggedTask]:
        return [
            LoggedTask(
                str(task["targetable_id"]),
                None
                if "find out when" in task["title"]
                else datetime.fromisoformat(task["due_date"]).astimezone(UTC),
                f"{task['title']} {task['description']}",
            )
            for task in self.fake.tasks.values()
        ]

    def remove_person(self, id_: str) -> None:
        del self.fake.contacts[id_]

    def settle(self) -> None:
        self.fake.settle()

    def expire(self) -> None:
        self.fake.api_key = "key-the-next-one"

    def renew(self) -> dict[str, str]:
        return self.fake.credentials


def _seconds(text: str) -> int:
    minutes, seconds = re.search(r"(?:(\d+) min )?(\d+) s\b", text).groups()  # type: ignore[union-attr]
    return int(minutes or 0) * 60 + int(seconds)
