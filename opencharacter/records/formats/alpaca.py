"""Alpaca: one instruction, its input, its answer, and the exchanges before it."""

from typing import Any

from opencharacter.records.formats.fields import has_text, list_of, optional_text_of, text_of
from opencharacter.records.models import Turn
from opencharacter.records.rows import InvalidRow
from opencharacter.texts import is_blank

FORM = '{"instruction": …, "input": …, "output": …}, also with "history": [["question", "answer"], …]'


def matches(row: dict[str, Any]) -> bool:
    """Whether a row looks like this format."""
    return has_text(row, "instruction") and "output" in row


def parse(row: dict[str, Any]) -> list[list[Turn]]:
    """The row's conversation. Raises `InvalidRow`."""
    last = question_and_answer(text_of(row, "instruction"), optional_text_of(row, "input"), text_of(row, "output"))
    return [[*_history(row), *last]]


def question_and_answer(instruction: str, extra: str, answer: str) -> list[Turn]:
    """One exchange. An empty answer, as in some rows of Alpaca, is left out."""
    question = "\n\n".join(part.strip() for part in (instruction, extra) if not is_blank(part))
    turns = [Turn(role="user", content=question), Turn(role="assistant", content=answer)]
    return turns[:1] if is_blank(answer) else turns


def _history(row: dict[str, Any]) -> list[Turn]:
    """The exchanges before the row's own, oldest first."""
    pairs = [] if row.get("history") in (None, "") else list_of(row, "history")
    if not all(
        isinstance(pair, list) and len(pair) == 2 and all(isinstance(text, str) for text in pair) for pair in pairs
    ):
        raise InvalidRow("'history' is not a list of pairs of question and answer")
    return [
        turn
        for question, answer in pairs
        for turn in (Turn(role="user", content=question.strip()), Turn(role="assistant", content=answer))
    ]
