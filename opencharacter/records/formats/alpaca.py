"""Alpaca: one instruction, its input, its answer."""

from typing import Any

from opencharacter.records.formats.fields import optional_text_of, text_of
from opencharacter.records.models import Turn

FORM = '{"instruction": …, "input": …, "output": …}'


def matches(row: dict[str, Any]) -> bool:
    """Whether a row looks like this format."""
    return {"instruction", "output"} <= row.keys()


def parse(row: dict[str, Any]) -> list[list[Turn]]:
    """The row's conversation. Raises `InvalidRow`."""
    return [question_and_answer(text_of(row, "instruction"), optional_text_of(row, "input"), text_of(row, "output"))]


def question_and_answer(instruction: str, extra: str, answer: str) -> list[Turn]:
    """One exchange. An empty answer, as in some rows of Alpaca, is left out."""
    question = "\n\n".join(part.strip() for part in (instruction, extra) if part.strip())
    turns = [Turn(role="user", content=question), Turn(role="assistant", content=answer)]
    return turns if answer.strip() else turns[:1]
