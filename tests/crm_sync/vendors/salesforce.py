"""Salesforce's fake, for the laws. Who is there already is a contact; who is new becomes a lead."""

from datetime import UTC, datetime
from typing import Any

from aftercall.simulator.crms.salesforce import FakeSalesforce
from tests.crm_sync.vendors.vendor import LoggedCall, LoggedTask, Vendor


class Salesforce(Vendor):
    kind = "salesforce"
    interested = "Is_Interested__c"
    notes = "Agent_Notes__c"
    city = "Home_Town__c"
    has_oauth = True

    def __init__(self) -> None:
        self.fake: FakeSalesforce = FakeSalesforce()
        for name in ("Lead", "Contact"):
            self.fake.add_field(name, self.interested, type_="boolean")
            self.fake.add_field(name, self.notes, type_="textarea")
            self.fake.add_field(name, self.city)

    @property
    def credentials(self) -> dict[str, str]:
        return self.fake.credentials

    def add_person(self, phone: str, **fields: str) -> str:
        number = len(self.fake.records["Contact"])
        return self.fake.add(
            "Contact",
            Phone=phone,
            LastName="Known",
            LastActivityDate=f"2024-01-{number + 1:02}",
            **fields,
        )

    def people(self) -> dict[str, dict[str, Any]]:
        records = {**self.fake.records["Contact"], **self.fake.records["Lead"]}
        return {id_: {**record, "phone": record["Phone"]} for id_, record in records.items()}

    def calls(self) -> list[LoggedCall]:
        return [
            LoggedCall(task["WhoId"], task["CallDurationInSeconds"], task["Description"])
            for task in self._tasks("Call")
        ]

    def tasks(self) -> list[LoggedTask]:
        return [
            LoggedTask(
                task["WhoId"],
                datetime.fromisoformat(task["ReminderDateTime"]).astimezone(UTC)
                if task["IsReminderSet"]
                else None,
                f"{task['Subject']} {task['Description']}",
            )
            for task in self._tasks("Task")
        ]

    def _tasks(self, subtype: str) -> list[dict[str, Any]]:
        return [
            task for task in self.fake.records["Task"].values() if task["TaskSubtype"] == subtype
        ]

    def remove_person(self, id_: str) -> None:
        for name in ("Lead", "Contact"):
            self.fake.records[name].pop(id_, None)

    def expire(self) -> None:
        self.fake.expire()
