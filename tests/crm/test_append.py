"""A line is appended once, however the CRM gives back what stands there."""

import pytest

from aftercall.crm.facts import FieldValue
from aftercall.crm.sync import values_to_write


@pytest.mark.parametrize(
    ("there", "said", "written"),
    [
        (None, "a", "a"),
        ("", "a", "a"),
        ("a", "b", "a\nb"),
        ("a\nb", "b", None),
        ("a\r\nb\r\n", "b", None),
        ("a\r\nb", "c", "a\nb\nc"),
        ("a\nb\nc", "b\nc", None),
        ("ab", "b", "ab\nb"),
    ],
)
def test_a_line_stands_there_once(there: str | None, said: str, written: str | None) -> None:
    values = values_to_write((FieldValue("notes", "append", said),), {"notes": there})
    assert values.get("notes") == written


@pytest.mark.parametrize("mode", ["append", "when_empty"])
def test_what_is_not_known_is_not_written_over(mode: str) -> None:
    assert values_to_write((FieldValue("notes", mode, "a"),), None) == {}
    assert values_to_write((FieldValue("notes", "overwrite", "a"),), None) == {"notes": "a"}
