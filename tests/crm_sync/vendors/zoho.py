"""Zoho CRM's fake, for the laws. Who is there already is a contact; who is new becomes a lead."""

from datetime import UTC, datetime
from typing import Any

from aftercall.simulator.crms.zoho import FakeZoho
from tests.crm_sync.vendors.vendor import LoggedCall, LoggedTask, Vendor


class Zoho(Vendor):
    kind = "zoho"
    interested = "Is_Interested"
    notes = "Agent_Notes"
    city = "Home_Town"
    has_oauth = True

    def __init__(self) -> None:
        self.fake: FakeZoho = FakeZoho()
        for module in ("Leads", "Contacts"):
            self.fake.add_field(module, self.interested, type_="boolean")
            self.fake.add_field(module, self.notes, type_="textarea")
            self.fake.add_field(module, self.city)

    @property
    def credentials(self) -> dict[str, str]:
        return self.fake.credentials

    def add_person(self, phone: str, **fields: str) -> str:
        number = len(self.fake.records["Contacts"])
        return self.fake.add(
            "Contacts",
            Phone=phone,
            Last_Name="Known",
            Last_Activity_Time=f"2024-01-{number + 1:02}T10:00:00+05:30",
            **fields,
        )

    def people(self) -> dict[str, dict[str, Any]]:
        records = {**self.fake.records["Contacts"], **self.fake.records["Leads"]}
        return {id_: {**record, "phone": record["Phone"]} for id_, record in records.items()}

    def calls(self) -> list[LoggedCall]:
        return [
            LoggedCall(_person_of(call), _seconds(call["Call_Duration"]), call["Description"])
            for call in self.fake.records["Calls"].values()
        ]

    def tasks(self) -> list[LoggedTask]:
        return [
            LoggedTask(_person_of(task), _due(task), f"{task['Subject']} {task['Description']}")
            for task in self.fake.records["Tasks"].values()
        ]

    def remove_person(self, id_: str) -> None:
        for module in ("Leads", "Contacts"):
            self.fake.records[module].pop(id_, None)

    def settle(self) -> None:
        self.fake.settle()

    def expire(self) -> None:
        self.fake.expire()


def _person_of(activity: dict[str, Any]) -> str:
    return str((activity.get("What_Id") or activity.get("Who_Id"))["id"])


def _seconds(duration: str) -> int:
    minutes, seconds = duration.split(":")
    return int(minutes) * 60 + int(seconds)


def _due(task: dict[str, Any]) -> datetime | None:
    if "Remind_At" not in task:
        return None
    return datetime.fromisoformat(task["Remind_At"]["ALARM"].partition("DATE-TIME:")[2]).astimezone(
        UTC
    )
