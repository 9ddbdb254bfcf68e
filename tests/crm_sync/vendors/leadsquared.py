"""LeadSquared's fake, for the laws. Of several with one number it ever tells the newest only."""

from datetime import UTC, datetime
from typing import Any

from aftercall.simulator.crms.leadsquared import FakeLeadSquared
from tests.crm_sync.vendors.vendor import LoggedCall, LoggedTask, Vendor


class LeadSquared(Vendor):
    fake: FakeLeadSquared
    kind = "leadsquared"
    interested = "mx_Interested"
    notes = "mx_Agent_Notes"
    city = "mx_City"
    yes = "1"
    finds_one = True

    def __init__(self) -> None:
        self.fake = FakeLeadSquared()
        self.fake.add_field(self.interested, type_="Boolean")
        self.fake.add_field(self.notes)
        self.fake.add_field(self.city)
        self.options = {
            "activity_event": str(self.fake.activity_event),
            "task_type": "AI follow-up",
            "task_owner": "owner@example.com",
            "duration_field": "mx_Custom_1",
        }

    @property
    def credentials(self) -> dict[str, str]:
        return self.fake.credentials

    def add_person(self, phone: str, **fields: str) -> str:
        return self.fake.add_lead(phone, **fields)

    def people(self) -> dict[str, dict[str, Any]]:
        return {
            id_: {**lead, "phone": lead["Phone"].replace("-", "")}
            for id_, lead in self.fake.leads.items()
        }

    def calls(self) -> list[LoggedCall]:
        return [
            LoggedCall(
                one["RelatedProspectId"],
                next(int(f["Value"]) for f in one["Fields"] if f["SchemaName"] == "mx_Custom_1"),
                one["ActivityNote"],
            )
            for one in self.fake.activities.values()
        ]

    def tasks(self) -> list[LoggedTask]:
        return [
            LoggedTask(
                one["RelatedEntityId"],
                datetime.fromisoformat(one["DueDate"]).replace(tzinfo=UTC)
                if "DueDate" in one
                else None,
                f"{one['Name']} {one['Description']}",
            )
            for one in self.fake.tasks.values()
        ]

    def remove_person(self, id_: str) -> None:
        del self.fake.leads[id_]

    def settle(self) -> None:
        self.fake.settle()

    def expire(self) -> None:
        self.fake.keys["secret_key"] = "the-next-secret-made-up"

    def renew(self) -> dict[str, str]:
        return self.fake.credentials
