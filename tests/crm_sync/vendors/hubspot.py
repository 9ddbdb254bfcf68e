"""HubSpot's fake, for the laws."""

from datetime import UTC, datetime
from typing import Any

from aftercall.simulator.crms.hubspot import FakeHubSpot
from tests.crm_sync.vendors.vendor import LoggedCall, LoggedTask, Vendor


class HubSpot(Vendor):
    kind = "hubspot"
    interested = "is_interested"
    notes = "agent_notes"
    city = "home_town"
    yes = "true"

    def __init__(self) -> None:
        self.fake = FakeHubSpot()
        self.fake.add_property(self.interested, type_="bool")
        self.fake.add_property(self.notes)
        self.fake.add_property(self.city)

    @property
    def credentials(self) -> dict[str, str]:
        return self.fake.credentials

    def add_person(self, phone: str, **fields: str) -> str:
        number = len(self.fake.objects["contacts"])
        return self.fake.add_person(
            phone, lastname="Known", notes_last_updated=f"2024-01-{number + 1:02}", **fields
        )

    def people(self) -> dict[str, dict[str, Any]]:
        return self.fake.objects["contacts"]

    def calls(self) -> list[LoggedCall]:
        return [
            LoggedCall(
                self.fake.associations[id_],
                int(properties["hs_call_duration"]) // 1000,
                properties["hs_call_body"],
            )
            for id_, properties in self.fake.objects["calls"].items()
        ]

    def tasks(self) -> list[LoggedTask]:
        return [
            LoggedTask(
                self.fake.associations[id_],
                None
                if "find out when" in properties["hs_task_subject"]
                else datetime.fromisoformat(properties["hs_timestamp"]).astimezone(UTC),
                f"{properties['hs_task_subject']} {properties['hs_task_body']}",
            )
            for id_, properties in self.fake.objects["tasks"].items()
        ]

    def remove_person(self, id_: str) -> None:
        del self.fake.objects["contacts"][id_]

    def settle(self) -> None:
        self.fake.settle()

    def expire(self) -> None:
        self.fake.token = "pat-the-next-one"

    def renew(self) -> dict[str, str]:
        return {"token": self.fake.token}
