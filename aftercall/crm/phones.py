"""Telephone numbers as people and CRMs write them: one number out of any spelling, and back.

Pure, on libphonenumber's metadata. What cannot be a number is none; a number written
with its plus is believed when its length fits, as new ranges come before new metadata.
The region says how a number without a country is read.
"""

import re
import unicodedata
from dataclasses import dataclass

import phonenumbers
from phonenumbers import NumberParseException, PhoneNumber, PhoneNumberFormat, ValidationResult

#: The longest spelling of fifteen digits with an extension is far below it.
_MAX_LENGTH = 64


@dataclass(frozen=True, slots=True)
class Number:
    """ "+919871532305", "9871532305", "IN"."""

    e164: str
    national: str
    region: str


def read_number(raw: str | None, *, region: str) -> Number | None:
    """The number, without its extension; None when there is none, or it is not possible."""
    for spelling in _readings(raw):
        try:
            parsed = phonenumbers.parse(spelling, region)
        except NumberParseException:
            continue
        if phonenumbers.is_valid_number(parsed):
            return _number(parsed)
        length = phonenumbers.is_possible_number_with_reason(parsed)
        if "+" in str(raw) and length == ValidationResult.IS_POSSIBLE:
            return _number(parsed)
    return None


def spellings(number: Number) -> tuple[str, ...]:
    """All that a CRM may have stored for it, the most likely first."""
    parsed = phonenumbers.parse(number.e164, None)
    code = str(parsed.country_code)
    national = number.national
    prefix = phonenumbers.ndd_prefix_for_region(number.region, True) or ""
    international = _format(parsed, PhoneNumberFormat.INTERNATIONAL)
    grouped = international.removeprefix(f"+{code}").strip(" -")
    dashed = re.sub(r"\D+", "-", grouped)
    local = _format(parsed, PhoneNumberFormat.NATIONAL)
    found = (
        number.e164,
        national,
        f"{code}{national}",
        f"{prefix}{national}",
        f"00{code}{national}",
        international,
        f"+{code}-{national}",
        f"+{code} {national}",
        f"+{code}-{dashed}",
        local,
        f"{code} {national}",
        f"{code}-{national}",
        f"{code} {grouped}",
        grouped,
        dashed,
        f"{prefix}{dashed}",
        f"00{code} {national}",
        f"(+{code}) {national}",
        f"(+{code}){national}",
    ) + ((f"+{code}(0){national}",) if prefix == "0" else ())
    return tuple(dict.fromkeys(found))


def cores(number: Number) -> tuple[str, ...]:
    """What stands in every spelling, without country and prefix: for searches for a part."""
    parsed = phonenumbers.parse(number.e164, None)
    international = _format(parsed, PhoneNumberFormat.INTERNATIONAL)
    grouped = international.removeprefix(f"+{parsed.country_code}").strip(" -")
    local = _format(parsed, PhoneNumberFormat.NATIONAL)
    found = [number.national, grouped, re.sub(r"\D+", "-", grouped)]
    return tuple(dict.fromkeys(found if grouped in local else [*found, local]))


def is_same(number: Number, other: str | None, *, region: str) -> bool:
    """Whether the other spelling, read in the region, is this number."""
    read = read_number(other, region=region)
    return read is not None and read.e164 == number.e164


def _number(parsed: PhoneNumber) -> Number:
    return Number(
        e164=_format(parsed, PhoneNumberFormat.E164),
        national=phonenumbers.national_significant_number(parsed),
        region=phonenumbers.region_code_for_number(parsed) or "001",
    )


def _format(parsed: PhoneNumber, how: int) -> str:
    bare = PhoneNumber(
        country_code=parsed.country_code,
        national_number=parsed.national_number,
        italian_leading_zero=parsed.italian_leading_zero,
        number_of_leading_zeros=parsed.number_of_leading_zeros,
    )
    return phonenumbers.format_number(bare, how)


def _readings(raw: str | None) -> tuple[str, ...]:
    """What it can be read as: as written, and with a plus for 00 or for nothing."""
    if raw is None or len(raw) > _MAX_LENGTH:
        return ()
    text = "".join(_ascii_digit(character) for character in unicodedata.normalize("NFKC", raw))
    text = _BEFORE.sub("", _EXTENSION.sub("", text.strip()))
    text = text.replace("(0)", "")
    # Letters are words here, not the keys of a telephone.
    if not re.search(r"\d", text) or re.search(r"[^\W\d_]", text):
        return ()
    if text.startswith("+"):
        return (text,)
    return (f"+{text[2:]}", text) if text.startswith("00") else (text, f"+{text}")


_EXTENSION = re.compile(r"[\s,;]*(?:ext(?:ension|n)?|x|#)[.:=\s]*\d{1,7}$", re.IGNORECASE)
_BEFORE = re.compile(r"^[^\d+(]+")


def _ascii_digit(character: str) -> str:
    digit = unicodedata.digit(character, None)
    return str(digit) if digit is not None else character
