"""A CRM's settings in sentences for people who sell: choices, modes, types, the mapping's table."""

from typing import Any

from aftercall.crm.description import Description, descriptions
from aftercall.crm.sync_settings import SyncSettings
from aftercall.domain.work import WEBHOOK

TYPES = (
    ("text", "Text"),
    ("number", "Number"),
    ("yes_no", "Yes or no"),
    ("choice", "Choice"),
    ("date", "Date"),
    ("date_time", "Date and time"),
    ("money", "Money"),
)
MODES = (
    ("overwrite", "Overwrite what is there"),
    ("when_empty", "Only when it is empty"),
    ("append", "Add a line below"),
)
WHEN_NONE = (
    ("create", "Make a new person", "With the name, the number and the fields below."),
    ("skip", "Write nothing", "The call is skipped. It stays here, and can be sent later."),
)
WHEN_MANY = (
    ("newest", "The one with the newest activity gets it", ""),
    (
        "all",
        "All of them get the fields",
        "The call and the task go to the one with the newest activity.",
    ),
    (
        "review",
        "Nobody gets it until a person has decided",
        "It stands among the dead deliveries: merge them in the CRM, then send it again.",
    ),
)


def kind_name(kind: str) -> str:
    """Hook, HubSpot; what this version does not know is called as it is."""
    if kind == WEBHOOK:
        return "Hook"
    crm = descriptions().get(kind)
    return crm.name if crm else kind


def crm_of(kind: str) -> Description | None:
    return descriptions().get(kind)


def rules_of(sync: dict[str, Any] | None) -> list[tuple[str, str]]:
    """What is done besides the fields: name and sentence."""
    settings = SyncSettings.model_validate(sync or {})
    found = [
        ("When nobody has the number", _label(WHEN_NONE, settings.when_none)),
        ("When several people have it", _label(WHEN_MANY, settings.when_many)),
        ("The call", "Is logged on the timeline" if settings.log_call else "Is not logged"),
    ]
    follow_up = settings.follow_up
    if follow_up is None:
        return [*found, ("Follow-up", "No task is made")]
    wanted = f", only when {follow_up.wanted} says yes" if follow_up.wanted else ""
    task = f"A task “{follow_up.subject}” at the time in {follow_up.time}{wanted}"
    return [*found, ("Follow-up", task)]


def _label(choices: tuple[tuple[str, str, str], ...], key: str) -> str:
    return next((label for value, label, _ in choices if value == key), key)
