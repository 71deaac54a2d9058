"""ShareGPT: a list of turns with `from` and `value`; answers may carry the name of their model."""

from typing import Any

from opencharacter.records.formats.fields import first_of, list_of, text_of
from opencharacter.records.formats.unread import refuse_unread_turn
from opencharacter.records.models import Role, Turn
from opencharacter.records.rows import InvalidRow

FORM = '{"conversations": [{"from": "human", "value": …}, {"from": "gpt", "value": …}]}'

_ROLES: dict[str, Role] = {
    "human": "user",
    "user": "user",
    "system": "system",
    "assistant": "assistant",
    "bard": "assistant",
    "bing": "assistant",
    "chatbot": "assistant",
    "chatgpt": "assistant",
    "claude": "assistant",
    "gpt": "assistant",
    "model": "assistant",
}


def matches(row: dict[str, Any]) -> bool:
    """Whether a row looks like this format."""
    first = first_of(row, "conversations")
    return isinstance(first, dict) and {"from", "value"} <= first.keys()


def parse(row: dict[str, Any]) -> list[list[Turn]]:
    """The row's conversation. Raises `InvalidRow`."""
    turns = list_of(row, "conversations")
    if not all(isinstance(turn, dict) for turn in turns):
        raise InvalidRow("'conversations' is not a list of 'from' and 'value'")
    return [[_turn(turn) for turn in turns]]


def _turn(turn: dict[str, Any]) -> Turn:
    role = _role(text_of(turn, "from"))
    refuse_unread_turn(turn, is_answer=role == "assistant")
    return Turn(role=role, content=text_of(turn, "value"))


def _role(name: str) -> Role:
    role = _ROLES.get(name.lower())
    if role is None:
        raise InvalidRow(f"unknown speaker {name[:40]!r}")
    return role
