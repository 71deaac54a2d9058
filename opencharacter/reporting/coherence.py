"""Whether an answer is fit to be shown: a few plain signs of noise, none of which says that an answer is good."""

import re

MAX_REPEATED = 0.2
"""Share of an answer's four-word sequences that it may have used before."""
MAX_UNREADABLE = 0.1
"""Share of an answer's words that may hold anything but letters, or a number."""

_SEQUENCE = 4
_WORD = re.compile(r"[^\W\d_]+(?:['’.&/-][^\W\d_]+)*|[$€£]?\d[\d.,:/-]*(?:[^\W\d_]{1,2}|%)?")
_PUNCTUATION = ".,;:!?-\"'“”‘’()"
"""What may stand around a word."""
_EMPHASIS = re.compile(r"(\*{1,3}|_{1,2})(\S[^*]*?)\1")


def find_fault(answer: str) -> str | None:
    """Why an answer counts as incoherent; none if nothing was found.

    An answer passes if at most a tenth of its words are unreadable, and at most a fifth of its four-word sequences are
    repetitions. Whether it makes sense, this cannot tell.
    """
    words = [word for word in re.split(r"\s+|—|–|…|\.{3}", _EMPHASIS.sub(r"\2", answer)) if word]
    if not words:
        return "it is empty"
    unreadable = [word for word in words if not _readable(word)]
    if len(unreadable) > MAX_UNREADABLE * len(words):
        return f"{len(unreadable)} of its {len(words)} words are unreadable"
    sequences = list(zip(*(words[start:] for start in range(_SEQUENCE)), strict=False))
    repeated = len(sequences) - len({tuple(map(str.lower, sequence)) for sequence in sequences})
    if repeated > MAX_REPEATED * len(sequences):
        return f"it repeats itself: {repeated} of {len(sequences)} four-word sequences were there before"
    return None


def _readable(word: str) -> bool:
    inside = word.strip(_PUNCTUATION)
    return not inside or _WORD.fullmatch(inside) is not None
