"""Where an expression is wrong, as a form shows it: the words around the place."""

from dataclasses import dataclass

from aftercall.flows.views import ExpressionFaultView

#: Of the line with a fault, so much before it and after it is shown.
_AROUND = 60


@dataclass(frozen=True, slots=True)
class Place:
    """Where an expression is wrong: the words around it."""

    message: str
    line: int | None
    column: int | None
    before: str = ""
    at: str = ""
    after: str = ""


def place_of(fault: ExpressionFaultView, text: str) -> Place:
    """`text`: the expression as it was typed."""
    if fault.offset is None:
        return Place(fault.message, None, None)
    begins = text.rfind("\n", 0, fault.offset) + 1
    ends = text.find("\n", fault.offset)
    line = text[begins : ends if ends >= 0 else len(text)]
    at = fault.offset - begins
    before, after = line[max(at - _AROUND, 0) : at], line[at + 1 : at + 1 + _AROUND]
    return Place(
        fault.message,
        fault.line,
        fault.column,
        before=("…" if at > _AROUND else "") + before,
        # At the very end there is nothing to mark: the space behind it is.
        at=line[at : at + 1] or " ",
        after=after + ("…" if len(line) > at + 1 + _AROUND else ""),
    )
