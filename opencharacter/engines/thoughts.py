"""Cuts a reasoning model's thoughts out of its text, where the server left them there."""

import json
import re
from typing import Literal, NamedTuple

_NAME = r"(?:[a-z]{1,8}[:|])?(?:think(?:ing|_fast(?:er)?)?|thoughts?|reason(?:ing)?|reflection|scratchpad|antthinking)"
_DIALECTS = (
    # DeepSeek, Qwen and most others; with a prefix Seed, MiniMax and IFM; with a suffix Hunyuan.
    (
        rf"(?:<|&lt;)\s*{_NAME}(?::\w+)?(?:\s[^<>]{{0,80}})?(?:>|&gt;)",
        rf"(?:<|&lt;)\s*/\s*{_NAME}(?::\w+)?\s*(?:>|&gt;)",
    ),
    (r"(?-i:\[THINK\])", r"(?-i:\[/THINK\])"),  # Mistral
    ("◁think▷", "◁/think▷"),  # Kimi
    (r"<\|open\|>think<\|sep\|>", r"<\|close\|>think<\|sep\|>"),
    (r"<\|begin_of_thought\|>", r"<\|end_of_thought\|>"),
    (r"<\|START_THINKING\|>", r"<\|END_THINKING\|>"),  # Cohere
    (r"<\|plamo:begin_think:plamo\|>", r"<\|plamo:end_think:plamo\|>"),
    (r"<\|channel>thought\b", r"<channel\|>"),  # Gemma
    (r"<unused94>(?:thought\b)?", "<unused95>"),
    # gpt-oss, also without its control tokens
    (
        r"(?:<\|start\|>assistant)?<\|channel\|>(?:analysis|commentary)[^<]{0,80}<\|message\|>",
        r"<\|end\|>|(?=<\|start\|>assistant<\|channel\|>final)",
    ),
    (r"(?-i:\Aanalysis(?=\S.{0,100000}?assistantfinal))", r"(?-i:assistantfinal)"),
)
_ENDS_ANY_MESSAGE = f"{len(_DIALECTS) - 2}"
"""The dialect whose closing mark ends each message, so that alone it closes no thoughts."""
_ALL_MARKS = "|".join(f"(?P<open{i}>{left})|(?P<close{i}>{right})" for i, (left, right) in enumerate(_DIALECTS))
_MARK = re.compile(
    rf"(?=[<&\[◁a])(?:{_ALL_MARKS})",
    re.IGNORECASE | re.DOTALL,
)
_WRAPPED = re.compile(
    r"\s*(?:<\|start\|>assistant)?(?:<\|channel\|>final[^<]{0,80}<\|message\|>|<\|open\|>response<\|sep\|>"
    r"|<(answer|response|output)>|<\|begin_of_solution\|>|<\|START_RESPONSE\|>)(?P<answer>.*?)"
    r"(?:</(?:answer|response|output)>|<\|end_of_solution\|>|<\|END_RESPONSE\|>|<\|close\|>response<\|sep\|>"
    r"|<\|(?:return|end)\|>)?\s*\Z",
    re.IGNORECASE | re.DOTALL,
)
_QUOTES = "`'\"“”‘’«»*"
_SENTENCE_END = re.compile(r"[.!?…。！？:)\]\"”’*]\s*\Z")


class Answer(NamedTuple):
    """What is left of a text."""

    text: str
    cut: bool
    """Whether anything was cut away."""
    ends_in_thoughts: bool
    """Whether the last block of thoughts was never closed."""
    unopened: bool = False
    """Whether thoughts were closed that the text does not open: their opening mark is part of the prompt."""


def cut_thoughts(text: str) -> Answer:
    """The text without blocks of thoughts, also where the opening mark is missing.

    A mark that prose, a quotation or code speaks of stays, and so does everything in a JSON value.
    """
    answer = Answer(text, cut=False, ends_in_thoughts=False)
    if not any(first in text for first in ("<", "&lt;", "[", "◁")) and not text.startswith("analysis"):
        return answer
    while not _is_json(answer.text):
        shorter, block = _cut_once(answer.text, again=answer.cut)
        if shorter == answer.text and answer.cut and (wrapped := _WRAPPED.fullmatch(shorter)):
            shorter = wrapped["answer"].strip()
        if shorter == answer.text:
            break
        answer = Answer(
            shorter,
            cut=True,
            ends_in_thoughts=answer.ends_in_thoughts or block == "unclosed",
            unopened=answer.unopened or (block == "unopened" and not answer.cut),
        )
    return answer


class _Mark(NamedTuple):
    start: int
    end: int
    opens: bool
    dialect: str
    spoken_of: bool


def _marks(text: str) -> list[_Mark]:
    return [
        _Mark(
            match.start(),
            match.end(),
            (match.lastgroup or "").startswith("open"),
            (match.lastgroup or "").removeprefix("open").removeprefix("close"),
            _is_spoken_of(text, match.start(), match.end()),
        )
        for match in _MARK.finditer(text)
    ]


def _cut_once(text: str, *, again: bool) -> tuple[str, Literal["whole", "unclosed", "unopened"]]:
    """The text without its first block, and what is missing of that; `again`: after another block."""
    marks = _marks(text) if _MARK.search(text) else []
    for position, mark in enumerate(marks):
        if mark.opens:
            closing = _closing(mark, marks[position + 1 :])
            if _is_in_code(text, mark.start) or _is_in_prose(text, mark, closing):
                continue
            if closing is None:
                return text[: mark.start].rstrip(), "unclosed"
            return _joined(text[: mark.start], text[closing.end :]), "whole"
        if mark.dialect == _ENDS_ANY_MESSAGE or mark.spoken_of or _is_in_code(text, mark.start):
            continue
        if _follows_spoken_opening(text, marks[:position], mark):
            continue
        # The opening mark is part of the prompt of many models: what comes first is thoughts. A mark that the model
        # repeats at its end closes nothing.
        before, after = text[: mark.start].rstrip(), text[mark.end :].strip()
        return (before if again and not after else after), "unopened"
    return text, "whole"


def _closing(opening: _Mark, later: list[_Mark]) -> _Mark | None:
    """The mark that closes a block: of the same depth, or the last one if the depth never returns to zero."""
    own = [mark for mark in later if mark.dialect == opening.dialect]
    # Thoughts that speak of the marks count only if there are no others.
    own = [mark for mark in own if not mark.spoken_of] or own
    depth = 1
    for mark in own:
        depth += 1 if mark.opens else -1
        if depth == 0:
            return mark
    return next((mark for mark in reversed(own) if not mark.opens), None)


def _is_spoken_of(text: str, start: int, end: int) -> bool:
    """Whether prose or a quotation names the mark: `so </think> ends it`."""
    before, after = text[:start], text[end:]
    if before[-1:] in _QUOTES and before and after[:1] in _QUOTES and after:
        return True
    line, rest = before.rpartition("\n")[2], after.partition("\n")[0]
    if not line.strip() or _SENTENCE_END.search(line):
        return False
    if not line[-1].isspace():
        return False
    return rest[:1] in {",", ".", ";", ":", "!", "?", ")"} or (rest[:1].isspace() and rest.strip()[:1].islower())


def _is_in_prose(text: str, opening: _Mark, closing: _Mark | None) -> bool:
    """Whether an opening mark stands in the middle of a sentence, and what it opens is no block of thoughts."""
    line = text[: opening.start].rpartition("\n")[2]
    if not line.strip() or (_SENTENCE_END.search(line) and not opening.spoken_of):
        return False
    if closing is None or opening.spoken_of:
        return True
    block = text[opening.end : closing.start]
    return len(re.findall(r"\w+", block)) < 2 or closing.spoken_of


def _follows_spoken_opening(text: str, earlier: list[_Mark], closing: _Mark) -> bool:
    """Whether the mark that this one closes was left in place, on the same line."""
    return any(
        mark.opens and mark.dialect == closing.dialect and "\n" not in text[mark.end : closing.start]
        for mark in earlier
    )


def _is_in_code(text: str, start: int) -> bool:
    return text.count("```", 0, start) % 2 == 1


def _joined(before: str, after: str) -> str:
    left, right = before.rstrip(), after.lstrip()
    if not left or not right:
        return left or right
    gap = before[len(left) :] + after[: len(after) - len(right)]
    return left + ("\n\n" if "\n\n" in gap else "\n" if "\n" in gap else " " if gap else "") + right


def _is_json(text: str) -> bool:
    if text.lstrip()[:1] not in {"{", "["}:
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
