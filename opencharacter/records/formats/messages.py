"""OpenAI's chat messages."""

from typing import Any

from opencharacter.records.formats.fields import first_of, list_of, text_of
from opencharacter.records.formats.unread import refuse_unread_turn
from opencharacter.records.models import Role, Turn
from opencharacter.records.rows import InvalidRow

FORM = '{"messages": [{"role": "user", "content": …}, {"role": "assistant", "content": …}]}'

# Some data sets have the same list under ShareGPT's key.
_KEYS = ("messages", "conversations")
_ROLES: dict[str, Role] = {"user": "user", "assistant": "assistant", "system": "system", "developer": "system"}


def matches(row: dict[str, Any]) -> bool:
    """Whether a row looks like this format."""
    firsts = [first_of(row, key) for key in _KEYS]
    return any(isinstance(first, dict) and {"role", "content"} <= first.keys() for first in firsts)


def parse(row: dict[str, Any]) -> list[list[Turn]]:
    """The row's conversation. Raises `InvalidRow`."""
    key = next((key for key in _KEYS if row.get(key) is not None), _KEYS[0])
    messages = list_of(row, key)
    if not all(isinstance(message, dict) for message in messages):
        raise InvalidRow(f"'{key}' is not a list of 'role' and 'content'")
    return [[_turn(message) for message in messages]]


def _turn(message: dict[str, Any]) -> Turn:
    role = _role(text_of(message, "role"))
    refuse_unread_turn(message, is_answer=role == "assistant")
    return Turn(role=role, content=_content(message))


def _role(name: str) -> Role:
    role = _ROLES.get(name)
    if role is None:
        raise InvalidRow(f"a message has the role {name[:40]!r}; only user, assistant and system are understood")
    return role


def _content(message: dict[str, Any]) -> str:
    """The text of a message; its content may be a list of text parts."""
    parts = message.get("content")
    if not isinstance(parts, list):
        return text_of(message, "content")
    if not all(isinstance(part, dict) and part.get("type") == "text" for part in parts):
        raise InvalidRow("'content' holds parts that are not text")
    return "\n".join(text_of(part, "text") for part in parts)
