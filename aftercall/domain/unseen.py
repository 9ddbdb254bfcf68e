"""Characters that nobody sees: not in an id or a name, and not as they are in a line of a log."""

#: For a class of a regular expression: ASCII's controls.
CONTROLS = r"\x00-\x1f\x7f"
#: The other controls, line ends, and marks that turn text around.
UNSEEN = r"\x80-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
