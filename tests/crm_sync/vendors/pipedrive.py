"""Pipedrive's fake, for the laws. What is made in its call log is an activity, too."""

from datetime import UTC, datetime
from typing import Any

from aftercall.simulator.crms.pipedrive import FakePipedrive
from tests.crm_sync.vendors.vendor import LoggedCall, LoggedTask, Vendor


class Pipedrive(Vendor):
    fake: FakePipedrive
    kind = "pipedrive"
    yes = "Yes"

    def __init__(self) -> None:
        self.fake = FakePipedrive()
        self.interested = self.fake.add_field("Interested")
        self.notes = self.fake.add_field("Agent's notes", type_="text")
        self.city = self.fake.add_field("Home town")

    @property
    def credentials(self) -> dict[str, str]:
        return self.fake.credentials

    def add_person(self, phone: str, **fields: str) -> str:
        return self.fake.add_person(phone, **fields)

    def people(self) -> dict[str, dict[str, Any]]:
        return {
            id_: {"phone": one["phones"][0]["value"], **one["custom_fields"]}
            for id_, one in self.fake.persons.items()
        }

    def calls(self) -> list[LoggedCall]:
        return [
            LoggedCall(
                str(one["person_id"]),
                int(one["duration"]),
                self.fake.activities[str(one["activity_id"])]["note"],
            )
            for one in self.fake.calls.values()
        ]

    def tasks(self) -> list[LoggedTask]:
        return [
            LoggedTask(
                str(one["person_id"]),
                datetime.fromisoformat(f"{one['due_date']}T{one['due_time']}:00").replace(
                    tzinfo=UTC
                )
                if "due_time" in one
                else None,
                f"{one['subject']} {one['note']}",
            )
            for one in self.fake.activities.values()
            if not one["done"]
        ]

    def remove_person(self, id_: str) -> None:
        del self.fake.persons[id_]

    def settle(self) -> None:
        self.fake.settle()

    def expire(self) -> None:
        self.fake.token = "token-the-next-one"

    def renew(self) -> dict[str, str]:
        return self.fake.credentials
