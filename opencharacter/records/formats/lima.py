"""LIMA: a list of texts that alternate between user and answer."""

from typing import Any

from opencharacter.records.formats.fields import first_of, list_of
from opencharacter.records.models import Turn
from opencharacter.records.rows import InvalidRow

FORM = '{"conversations": ["user\'s text", "answer", …]}'


def matches(row: dict[str, Any]) -> bool:
    """Whether a row looks like this format."""
    return isinstance(first_of(row, "conversations"), str)


def parse(row: dict[str, Any]) -> list[list[Turn]]:
    """The row's conversation; its last text may be a question. Raises `InvalidRow`."""
    texts = list_of(row, "conversations")
    if not all(isinstance(text, str) for text in texts):
        raise InvalidRow("'conversations' is not a list of texts")
    return [[Turn(role="assistant" if place % 2 else "user", content=text) for place, text in enumerate(texts)]]
