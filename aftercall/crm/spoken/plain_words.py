"""What somebody said, in few and plain words: lower case, digits, English, one spelling.

Pure and total. "कल सुबह ११ बजे", "kal subah 11 baje" and "Tomorrow morning, 11 o'clock"
all become "tomorrow morning 11 oclock". A word that is not known stays.
"""

import re
import unicodedata

from aftercall.crm.spoken.hindi import in_english

_WORDS = {
    "tmrw": "tomorrow", "tmr": "tomorrow", "tmrow": "tomorrow", "tomorow": "tomorrow",
    "tommorow": "tomorrow", "tommorrow": "tomorrow", "2moro": "tomorrow",
    "overmorrow": "overmorrow", "hr": "hours", "hrs": "hours", "hour": "hours",
    "min": "minutes", "mins": "minutes", "minute": "minutes", "week": "weeks",
    "one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7",
    "eight": "8", "nine": "9", "ten": "10", "eleven": "11", "twelve": "12",
    "fifteen": "15", "twenty": "20", "thirty": "30", "forty": "40",
    "til": "until", "till": "until", "upcoming": "coming",
}  # fmt: skip

#: Once the words are plain: several that mean one thing.
_PHRASES: tuple[tuple[str, str], ...] = (
    (r"\bo clock\b", "oclock"),
    (r"\b([ap]) m\b", r"\1m"),
    (r"\b40 5\b", "45"),
    (r"\bi (?:am|will be) (free|available)\b", r"\1"),
    (r"\b(ok|free|available) hai\b", r"\1"),
    (r"\btonight\b", "today night"),
    (r"\b(?:12 )?noon\b|\bmid day\b|\bmidday\b", "12:00 pm"),
    (r"\b(?:12 )?midnight\b", "12:00 am"),
    (r"\bthis (morning|afternoon|evening)\b", r"today \1"),
    (r"\bhalf (?:an )?hours\b", "30 minutes"),
    (r"\b(?:an|1) hours and (?:a )?half\b", "90 minutes"),
    (r"\b1 and (?:a )?half hours\b", "90 minutes"),
    (r"\b2 and (?:a )?half hours\b", "150 minutes"),
    (r"\ban hours\b", "1 hours"),
    (r"\ba weeks\b", "1 weeks"),
    (r"\b1:30 hours\b", "90 minutes"),
    (r"\b2:30 hours\b", "150 minutes"),
    (r"\bhalf past (\d{1,2})\b(?! ?[:.])", r"\1:30"),
    (r"\bquarter past (\d{1,2})\b(?! ?[:.])", r"\1:15"),
    (r"\bhalf-past (\d{1,2})\b(?! ?[:.])", r"\1:30"),
    (r"\bquarter-past (\d{1,2})\b(?! ?[:.])", r"\1:15"),
)
_TO_QUARTER = re.compile(r"\bquarter(?:-| )to (\d{1,2})\b(?! ?[:.])")


def plain_words(said: str) -> str:
    """Never fails. What is not a word, a number or a sign of time stays, to be stumbled over."""
    text = unicodedata.normalize("NFKC", said).casefold()
    text = "".join(_plain_character(character) for character in text)
    text = re.sub(r"\b([ap])\.\s?m\b\.?", r"\1m", text)
    text = re.sub(r"\.(?=\s|$)|(?<=[^\d\s])\.", " ", text)
    # 11am, 27th, kal5
    text = re.sub(r"(?<=\d)(?!(?:st|nd|rd|th)\b)(?=[^\W\d_])", " ", text)
    text = re.sub(r"(?<=[^\W\d_])(?=\d)", " ", text)
    text = re.sub(r"\s*-\s*", _hyphen, text)
    words = [_WORDS.get(word, word) for word in text.split()]
    text = " ".join(in_english(words))
    for pattern, plain in _PHRASES:
        text = re.sub(pattern, plain, text)
    return _TO_QUARTER.sub(_quarter_to, text)


def _plain_character(character: str) -> str:
    if unicodedata.category(character) in {"Cf", "Zs"}:
        # Zero-width joiners shape Devanagari; they are no part of a word.
        return " " if character.isspace() else ""
    digit = unicodedata.digit(character, None)
    if digit is not None:
        return str(digit)
    return _CHARACTERS.get(character, character)


_CHARACTERS = {
    "–": "-", "—": "-", "‑": "-", "−": "-", ",": " ", ";": " ", "!": " ", "।": " ", "(": " ",
    ")": " ", '"': " ", "“": " ", "”": " ", "'": "", "’": "", "@": " at ", "&": " and ",
    "\t": " ", "\n": " ", "\r": " ",
}  # fmt: skip


def _hyphen(found: re.Match[str]) -> str:
    """A "to" between times, part of a date between digits, nothing elsewhere."""
    before, after = found.string[: found.start()], found.string[found.end() :]
    if not after[:1].isdigit() or not re.search(r"(?:\d|\b[ap]m|\bbaje|\boclock)$", before):
        return " "
    return "-" if found[0] == "-" and before[-1].isdigit() else " - "


def _quarter_to(found: re.Match[str]) -> str:
    hour = int(found[1])
    return f"{12 if hour == 1 else hour - 1}:45"
