"""What requests are made of, so that the OpenAPI document says what is taken and no more."""

from datetime import datetime
from typing import Annotated

from pydantic import BeforeValidator, Field


def _check_moment(value: object) -> object:
    # pydantic would read a number, and even its digits, as seconds since 1970.
    if value is not None and not (isinstance(value, str) and "-" in value[1:]):
        raise ValueError("It is not a time like 2024-12-25T10:00:00Z")
    return value


Moment = Annotated[datetime, BeforeValidator(_check_moment)]
#: PostgreSQL stores no NUL: nothing is ever found by one.
Text = Annotated[str, Field(pattern=r"^[^\x00]*$")]
