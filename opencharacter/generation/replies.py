"""Reads replies of a model: JSON, and answers in character."""

import json
import re
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, NamedTuple

from opencharacter.engines.thoughts import cut_thoughts
from opencharacter.generation.control_tokens import end_at_control_token
from opencharacter.generation.errors import Unusable
from opencharacter.generation.refusals import is_refusal
from opencharacter.generation.sentences import whole_sentences
from opencharacter.texts import text_fault

_WORD = re.compile(r"\w+")
_ECHO_WORDS = 8


class PromptEcho:
    """Finds the wording of a prompt in an answer: eight words in a row. What fills its macros may be quoted."""

    def __init__(self, *texts: str, words: int = _ECHO_WORDS) -> None:
        self._words = words
        self._grams = {gram for text in texts for gram in _grams(text, words)}
        self._vocabulary = {word for gram in self._grams for word in gram}

    def __contains__(self, answer: str) -> bool:
        words = _words(answer)
        known = 0
        for end, word in enumerate(words, 1):
            known = known + 1 if word in self._vocabulary else 0
            if known >= self._words and tuple(words[end - self._words : end]) in self._grams:
                return True
        return False


class CheckedAnswer(NamedTuple):
    """An answer that can be used; `cut` says whether it was trimmed to whole sentences."""

    text: str
    cut: bool


def check_answer(answer: str, *, cut_off: bool, echo: PromptEcho, question: str) -> CheckedAnswer:
    """An in-character answer, stripped, and trimmed to whole sentences where it was cut off. Raises `Unusable`."""
    spoken = cut_thoughts(answer.strip())  # the texts of a JSON object may hold some as well
    if spoken.cut and not spoken.text.strip():
        raise Unusable("truncated" if cut_off and spoken.ends_in_thoughts else "only_reasoning")
    answer = spoken.text
    ended = end_at_control_token(answer.strip())
    # What the model ended itself is complete, even if it went on after that.
    cut_off = cut_off and ended == answer.strip()
    if fault := text_fault(ended):
        raise Unusable("empty", f"the answer {fault}")
    if is_refusal(ended):
        raise Unusable("refusal")
    if ended in echo or ended == question.strip():
        raise Unusable("echo")
    text = whole_sentences(ended) if cut_off else ended
    return CheckedAnswer(text, text != ended)


def read_object(text: str) -> dict[str, Any]:
    """The JSON object of an answer, repaired where it is malformed or cut off. Raises `Unusable`."""
    from json_repair import repair_json

    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        # Text around the object (a greeting, a code fence) is passed over; of several objects the first counts.
        start = text.find("{")
        value = _first_object(text)
        if value is None and start >= 0:
            with suppress(ValueError, RecursionError):
                value = repair_json(text[start:], return_objects=True)
    if isinstance(value, list):
        value = next((item for item in value if isinstance(item, dict)), None)
    if isinstance(value, dict) and value:
        return value
    raise Unusable("refusal" if is_refusal(text) else "invalid_json", "it is not a JSON object")


def ends_early(text: str, *, cut_off: bool) -> bool:
    """Whether the object that `read_object` reads has no end, so that its last text may be half a sentence.

    Some servers do not say that a reply was cut off; and a reply may be cut off after its object.
    """
    if _first_object(text) is not None:
        return False
    return cut_off or text.rfind("}") <= text.rfind('"')


def _first_object(text: str) -> Any:
    """The valid JSON that starts at the first brace; what follows it, such as a control token, is passed over."""
    try:
        return json.JSONDecoder().raw_decode(text, text.index("{"))[0]
    except (ValueError, RecursionError):
        return None


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _grams(text: str, length: int) -> Iterable[tuple[str, ...]]:
    words = _words(text)
    return zip(*(words[start:] for start in range(length)), strict=False)
