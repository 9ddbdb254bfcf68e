"""Numbers and amounts of money as people say them in India and as JSON has them, exactly.

Pure. Decimal throughout: 0.1 is 0.1, and 1.5 lakh is 150000. A comma is read where
the Indian or the English grouping puts it, and nowhere else; "$" alone is no currency.
"""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

_MAX_LENGTH = 60
#: No CRM has a field for it, and written out it would be a page of digits.
_TOO_LARGE = Decimal(10) ** 25


@dataclass(frozen=True, slots=True)
class Money:
    """15.67, "INR"; the currency in ISO 4217, or None when it was not said."""

    amount: Decimal
    currency: str | None


def read_amount(raw: object) -> Decimal | None:
    """None when it is no number, or one that no CRM could hold."""
    found: Decimal | None = None
    match raw:
        case bool():
            pass
        case int():
            found = Decimal(raw)
        case float():
            # Its repr is the shortest that means it: no binary noise.
            found = Decimal(repr(raw))
        case Decimal():
            found = raw
        case str():
            found = _spoken(_plain(raw))
        case _:
            pass
    if found is None or not found.is_finite() or abs(found) >= _TOO_LARGE:
        return None
    return _whole(found) if isinstance(raw, float) else found


def read_money(raw: object) -> Money | None:
    """ "Rs 1,50,000", "15.67 INR", 15.67, {"amount": "15.67", "currency": "INR"}."""
    match raw:
        case dict():
            return _money_of_parts(raw)
        case str():
            return _spoken_money(_plain(raw))
        case _:
            amount = read_amount(raw)
            return None if amount is None else Money(amount, None)


def _money_of_parts(raw: Mapping[object, object]) -> Money | None:
    """How a call's cost reads."""
    currency = raw.get("currency")
    amount = read_amount(raw.get("amount"))
    if amount is None or not isinstance(currency, str | None):
        return None
    code = (currency or "").strip().upper()
    if code and not re.fullmatch(r"[A-Z]{3}", code):
        return None
    return Money(amount, code or None)


def _spoken_money(text: str) -> Money | None:
    currencies: set[str] = set()
    for sign, currency in _CURRENCIES.items():
        rest = _without(text, sign)
        if rest is not None:
            text = rest
            currencies.add(currency)
    amount = read_amount(text)
    if amount is None or len(currencies) > 1:
        return None
    return Money(amount, next(iter(currencies), None))


def _without(text: str, sign: str) -> str | None:
    """The text without the sign at its start or end; None when it is not there by itself."""
    before, behind = text[: -len(sign)], text[len(sign) :]
    is_word = sign[0].isalpha()
    if text.startswith(sign) and not (is_word and behind[:1].isalpha()):
        return behind.strip()
    if text.endswith(sign) and not (is_word and before[-1:].isalpha()):
        return before.strip()
    return None


_NUMBER = re.compile(
    # 1,50,000 and 150,000; a comma elsewhere may be a decimal one.
    r"([+-]?)(\d+|\d{1,2}(?:,\d{2})*,\d{3}|\d{1,3}(?:,\d{3})+)(\.\d+)?"
    r" ?([^\W\d_][\w\u0900-\u097f]*)?"
)


def _spoken(text: str) -> Decimal | None:
    found = _NUMBER.fullmatch(text) if len(text) <= _MAX_LENGTH else None
    if found is None:
        return None
    sign, whole, fraction, word = found.groups()
    if word is not None and word not in _TIMES:
        return None
    number = Decimal(f"{sign}{whole.replace(',', '')}{fraction or ''}")
    return _whole(number * _TIMES[word]) if word else number


def _whole(number: Decimal) -> Decimal:
    """150000, not 1.5E+5 or 150000.0."""
    return Decimal(int(number)) if number == number.to_integral_value() else number.normalize()


def _plain(said: str) -> str:
    text = unicodedata.normalize("NFKC", said).casefold()
    text = "".join(_ascii_digit(character) for character in text)
    return " ".join(text.replace("−", "-").split())


def _ascii_digit(character: str) -> str:
    digit = unicodedata.digit(character, None)
    return character if digit is None else str(digit)


def _by_word(meanings: Mapping[str, str]) -> dict[str, str]:
    """Every spelling with its meaning, the longest first: "rs." before "rs"."""
    found = {
        unicodedata.normalize("NFKC", word): meaning
        for meaning, words in meanings.items()
        for word in words.split()
    }
    return dict(sorted(found.items(), key=lambda item: -len(item[0])))


_TIMES = {
    word: Decimal(times)
    for word, times in _by_word(
        {
            "1000": "k thousand hazaar hazar हज़ार हजार",
            "100000": "lakh lakhs lac lacs lakhon लाख",
            "10000000": "crore crores cr karod करोड़ करोड",
        }
    ).items()
}

_CURRENCIES = _by_word(
    {
        "INR": "₹ rs. rs inr rupees rupee rupaye रुपये /-",
        "USD": "us$ usd",
        "EUR": "€ eur euro euros",
        "GBP": "£ gbp",
        "AED": "aed dirham dirhams",
        "SGD": "sgd",
    }
)
