"""What the laws need to know of a fake CRM, in words that all CRMs share."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from aftercall.simulator.crms.fake import FakeCrmApi


@dataclass(frozen=True, slots=True)
class LoggedCall:
    """A call on somebody's timeline."""

    person_id: str
    seconds: int
    text: str


@dataclass(frozen=True, slots=True)
class LoggedTask:
    """A follow-up. `due` None: it has no time, or the text says that it is not certain."""

    person_id: str
    due: datetime | None
    text: str


class Vendor(ABC):
    """One fake, with three fields of people that are mapped."""

    kind: str
    fake: FakeCrmApi
    #: The CRM's names of a yes/no field, a text field, and another text field.
    interested: str
    notes: str
    city: str
    #: As it keeps yes in the yes/no field.
    yes: Any = True
    #: Whether a refused token is replaced by itself.
    has_oauth: bool = False
    #: Whether a call that has news is told them.
    changes_calls: bool = True
    #: Whether its search never finds more than one, so that rules for several are refused.
    finds_one: bool = False
    options: dict[str, str] = {}  # noqa: RUF012 - read only

    @property
    @abstractmethod
    def credentials(self) -> dict[str, str]: ...

    @abstractmethod
    def add_person(self, phone: str, **fields: str) -> str:
        """Somebody who is there already. The later, the newer is their activity."""

    @abstractmethod
    def people(self) -> dict[str, dict[str, Any]]:
        """By id: `phone`, and the fields by the CRM's names."""

    @abstractmethod
    def calls(self) -> list[LoggedCall]: ...

    @abstractmethod
    def tasks(self) -> list[LoggedTask]: ...

    @abstractmethod
    def remove_person(self, id_: str) -> None:
        """As somebody does it there by hand."""

    def settle(self) -> None:
        """Its search shows all that is there."""
        return

    def expire(self) -> None:
        """The token that it gave us, or that we hold, is not valid any more."""
        raise NotImplementedError

    def renew(self) -> dict[str, str]:
        """After `expire`, what an administrator sets anew."""
        raise NotImplementedError
