"""Reads replies of a model: JSON, refusals, echoes of the prompt, cut-off texts."""

import json
import re
from collections.abc import Iterable
from typing import Any

from opencharacter.generation.errors import Unusable

_AI = r"(?:ai|artificial intelligence|(?:large |ai )*language model)\b(?! \w*(?:er|or|ist|ian)\b)"
"""Not when a profession follows: an AI researcher may say what she is."""
_UNABLE = r"(?:can(?:not|['’]t)|(?:am|['’]m) (?:not able|unable) to)"
_DECLINED = (
    r"(?:assist|comply|fulfil|help (?:you )?with th"
    r"|(?:judge|rate|score|grade|evaluate|assess) (?:this|that|these|the|any|such)\b"
    r"|(?:give|provide|assign) (?:a|an|any|the) (?:score|rating|grade|judge?ment|evaluation)\b"
    r"|(?:generate|create|write|produce|provide) (?:this|that|such|any) (?:content|text|response|answer|material)\b)"
)
"""What a model declines. A character may say that she cannot swim, or cannot judge a man by his coat."""
_REFUSALS = re.compile(
    rf"\b(?:as|i am|i['’]m) (?:just |only )?an? {_AI}"
    rf"|^\W*(?:i(?: am|['’]m) )?(?:so |very )?sorry,? (?:but )?i ?{_UNABLE}"
    rf"|^\W*i ?(?:{_UNABLE}|won['’]t) {_DECLINED}",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"[.!?…。！？][\"'”’)\]*]*(?=\s|$)")
_WORD = re.compile(r"\w+")
_ECHO_WORDS = 8


class PromptEcho:
    """Finds the wording of a prompt in an answer: eight words in a row. What fills its macros may be quoted."""

    def __init__(self, *texts: str) -> None:
        self._grams = {gram for text in texts for gram in _grams(text)}

    def __contains__(self, answer: str) -> bool:
        return any(gram in self._grams for gram in _grams(answer))


def is_refusal(text: str) -> bool:
    """Whether the model speaks as an AI, or begins by declining."""
    return _REFUSALS.search(text.strip()) is not None


def whole_sentences(text: str) -> str:
    """A text that was cut off, up to its last complete sentence. Raises `Unusable("truncated")` if there is none."""
    ends = [match.end() for match in _SENTENCE_END.finditer(text)]
    if not ends:
        raise Unusable("truncated")
    return text[: ends[-1]].rstrip()


def check_answer(answer: str, *, cut_off: bool, echo: PromptEcho, question: str) -> str:
    """An in-character answer, stripped, and trimmed to whole sentences where it was cut off. Raises `Unusable`."""
    answer = answer.strip()
    if not answer:
        raise Unusable("empty")
    if is_refusal(answer):
        raise Unusable("refusal")
    if answer in echo or answer == question.strip():
        raise Unusable("echo")
    return whole_sentences(answer) if cut_off else answer


def read_object(text: str) -> dict[str, Any]:
    """The JSON object of an answer, repaired where it is malformed or cut off. Raises `Unusable`."""
    from json_repair import repair_json

    try:
        value = json.loads(text)
    except ValueError:
        # Text around the object (a greeting, a code fence) is passed over; of several objects the first counts.
        start = text.find("{")
        value = repair_json(text[start:], return_objects=True) if start >= 0 else None
    if isinstance(value, list):
        value = next((item for item in value if isinstance(item, dict)), None)
    if isinstance(value, dict) and value:
        return value
    raise Unusable("refusal" if is_refusal(text) else "invalid_json", "it is not a JSON object")


def _grams(text: str) -> Iterable[tuple[str, ...]]:
    words = [word.lower() for word in _WORD.findall(text)]
    return zip(*(words[start:] for start in range(_ECHO_WORDS)), strict=False)
