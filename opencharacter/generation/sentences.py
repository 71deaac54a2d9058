"""Where sentences end, in any script: what is left of a text that was cut off."""

import functools
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from opencharacter.generation.errors import Unusable

_EMOJI = r"[\p{Extended_Pictographic}\p{Emoji_Modifier}\u200D\uFE0F]*+"
_CLOSING = r"[\p{Pe}\p{Pf}\"'*_~`“‘«]*+(?:[ \u00A0\u202F]»(?=\s|\Z))?" + _EMOJI
"""What belongs to the sentence before it: quotes (German and Danish close with “ and «), brackets, emphasis, emoji."""
_UNSPACED = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}]"
_AMBIGUOUS = r".!?‼⁇⁈⁉․﹒﹖﹗．"
_ENDS = rf"""(?x)
    # Marks that numbers, names and ellipses hold as well end a sentence where white space follows,
    (?: (?<![{_AMBIGUOUS}…⋯])[{_AMBIGUOUS}…⋯]++ | (?<=\p{{Greek}})[;\u037E] ) {_CLOSING} (?=\s|\Z)
    # or between letters of a script that puts no space there.
  | (?<={_UNSPACED}) [.!?．]++ [\p{{Pe}}\p{{Pf}}]* (?={_UNSPACED})
    # Unicode's other sentence marks end one wherever they stand, but for a Burmese mark that is a comma today.
  | [[\p{{Sentence_Terminal}}]--[{_AMBIGUOUS}\u104A]]+ [\p{{Pe}}\p{{Pf}}]*
    # An Ethiopic full stop is often typed as two word spaces.
  | \u1361\u1361
"""
_PAUSES = r"(?<=[\p{Thai}\p{Lao}][\p{Pe}\p{Pf}\"']*)(?=\s+(?!ๆ)[\p{Thai}\p{Lao}\"“(])"
"""Thai and Lao have no full stop. They put a space after a sentence or clause, and none between words."""
_ABBREVIATION = re.compile(
    "mr|mrs|ms|mx|dr|drs|prof|st|mt|rev|hon|capt|cpt|col|gen|lt|sgt|maj|cmdr|gov|sen|rep|messrs|mme|mlle|sr|sra|dra|hr|fr"
    r"|vs|cf|e\.g|i\.e|viz|approx|ca|bzw|z\.b|d\.h"
)
_BEFORE_A_NUMBER = re.compile("nos?|nr|fig|vol|ch|pp?")


def whole_sentences(text: str) -> str:
    """A text that was cut off, up to its last complete sentence. Raises `Unusable("truncated")` if there is none."""
    whole = text[: max(_sentence_ends(text), default=0)].rstrip()
    if not any(map(str.isalnum, whole)):
        raise Unusable("truncated")
    return whole


def count_sentences(text: str) -> int:
    """How many sentences a text has; words after the last mark are one."""
    ends = [0, *sorted(set(_sentence_ends(text))), len(text)]
    pieces = [text[start:end] for start, end in pairwise(ends)]
    return sum(any(map(str.isalnum, piece)) for piece in pieces)


def _sentence_ends(text: str) -> Iterator[int]:
    for mark in _compiled(_ENDS).finditer(text):
        if mark.group()[0] not in ".․．" or not _abbreviates(text, mark.start(), mark.end()):
            yield mark.end() + _closes_quote(text, mark.end())
    without_stops = len(_compiled(r"[[\p{Thai}\p{Lao}]&&\p{L}]").findall(text))
    if without_stops and 2 * without_stops > len(_compiled(r"\p{L}").findall(text)):
        yield from (pause.end() for pause in _compiled(_PAUSES).finditer(text))


def _abbreviates(text: str, stop: int, end: int) -> bool:
    """Whether the full stop at `stop` belongs to an abbreviation, an initial or the number of a list's item."""
    line = text[text.rfind("\n", 0, stop) + 1 : stop]
    word = line.rsplit(None, 1)[-1].lstrip("([{\"'“‘«*_").casefold() if line.strip() else ""
    if word.isdigit() and len(word) <= 3:
        return not line.strip(" \t>*_#-+(" + word)
    if _BEFORE_A_NUMBER.fullmatch(word):
        return text[end : end + 2].strip()[:1].isdigit()
    is_initial = len(word) == 1 and word != "i" and word.upper() != word
    return is_initial or _ABBREVIATION.fullmatch(word) is not None


def _closes_quote(text: str, end: int) -> int:
    """1 where a straight quote that is open closes right there: Chinese puts no space after it."""
    return int(text.startswith('"', end) and text.count('"', 0, end) % 2)


@functools.cache
def _compiled(pattern: str) -> Any:
    # The standard library's `re` knows neither scripts nor Unicode's sentence marks.
    import regex

    return regex.compile(pattern, regex.VERSION1)
