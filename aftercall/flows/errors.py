"""What an operator's request can get wrong. The API answers 404, 409, 422; the CLI prints a line.

OperatorError
├── NotFound   there is no such thing
├── Conflict   it cannot be done as things stand
└── Invalid    the request is malformed, and where
"""

import re
from collections.abc import Sequence

from pydantic import ValidationError


class OperatorError(Exception):
    """The message says what happened, to which thing, and what to do."""


class NotFound(OperatorError):
    pass


class Conflict(OperatorError):
    pass


class Invalid(OperatorError):
    """`errors`: place and message, one pair for each fault."""

    def __init__(self, errors: Sequence[tuple[str, str]]) -> None:
        self.errors = list(errors)
        super().__init__("; ".join(f"{at}: {message}" if at else message for at, message in errors))


def invalid_from(error: ValidationError) -> Invalid:
    """pydantic's faults, without the values: they may be secrets."""
    return Invalid(
        [
            placed(
                ".".join(str(part) for part in fault["loc"]),
                str(fault["msg"]).removeprefix("Value error, "),
            )
            for fault in error.errors(include_input=False, include_url=False)
        ]
    )


def placed(at: str, message: str) -> tuple[str, str]:
    """What is wrong with fields together says in its message which one it is about."""
    place = re.match(r"([a-z_.]+): (.+)", message, re.DOTALL) if at in {"", "body"} else None
    if place is None:
        return at, message
    return ".".join(part for part in (at, place[1]) if part), place[2]
