"""What counts as a text: a reader sees something of it, and every program can hold it."""

import re

# Space, control characters, Unicode's default-ignorable code points (zero-width, bidirectional marks, variation
# selectors, fillers, tags), the blank Braille pattern and the musical null notehead.
_INVISIBLE = re.compile(
    r"[\s\x00-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
    r"\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d159"
    r"\U0001d173-\U0001d17a\U000e0000-\U000e0fff]*"
)


def is_blank(text: str) -> bool:
    """Whether a reader sees nothing of the text."""
    return _INVISIBLE.fullmatch(text) is not None


def text_fault(text: str) -> str | None:
    """Why this cannot be somebody's text: `is empty`, `holds a NUL character`; none if it can."""
    if is_blank(text):
        return "is empty"
    return "holds a NUL character" if "\0" in text else None
