"""The messages of a request, and how they are merged into the form that the model was trained on.

Training rows have one system message, then turns of user and assistant by turns. Front ends send several system
messages, some of them in or after the history, and several messages of one role. System texts before the first turn
join the system message; later ones become part of the user's turn where they stand, so that what was said before stays
as it was (and in the model server's prefix cache).
"""

import re
from collections import Counter
from typing import Any, NamedTuple

from opencharacter.serving.endpoint.api_errors import ApiError, invalid
from opencharacter.serving.endpoint.contract.fields import MESSAGE_FIELDS, Fields, shown

MAX_MESSAGES = 2_000
SEPARATOR = "\n\n"
"""Between the texts that are merged into one message."""

_MAX_NAME = 128
_MAX_MESSAGE_KEYS = 32
_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
_EXAMPLES = ("example_user", "example_assistant")
_TEXT_PARTS = {"text": "text", "input_text": "text", "output_text": "text", "refusal": "refusal"}
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class Message(NamedTuple):
    """One message as it came, checked."""

    role: str
    """`system`, `user` or `assistant`."""
    content: str
    name: str | None = None


class Speakers(NamedTuple):
    """What the two speakers of an example dialogue are called."""

    user: str
    character: str


class Turns(NamedTuple):
    """Messages in the form of a training row."""

    opening: list[str]
    """System texts before the first turn."""
    turns: list[tuple[str, list[str]]]
    """Roles with the texts of one message; the roles alternate."""


def read_messages(value: Any, fields: Fields, *, strict: bool, with_character: bool) -> list[Message]:
    """Check the field `messages`; keys that are left out are noted in `fields`.

    Raises `ApiError` (422) with the position of the message at fault.
    """
    if not isinstance(value, list):
        raise invalid("messages", "is missing" if value is None else "is not a list of messages")
    if not 1 <= len(value) <= MAX_MESSAGES:
        raise invalid("messages", f"holds {len(value)} messages; 1 to {MAX_MESSAGES} are allowed")
    messages = [_read(message, f"messages[{position}]", fields, strict) for position, message in enumerate(value)]
    if strict:
        _check_order(messages, with_character)
    return messages


def merge_messages(messages: list[Message], speakers: Speakers, *, strict: bool) -> Turns:
    """The messages in the form of a training row; empty texts of system and assistant are left out.

    The strict reading has refused what needs merging, and leaves messages as they are.
    """
    merged = Turns([], [])
    named = _roles_with_several_names(messages)
    for role, content, name in messages:
        if not content and role != "user" and not strict:
            continue
        if role == "system":
            if name in _EXAMPLES:
                content = _spoken(speakers[_EXAMPLES.index(name)], content)
            if not merged.turns:
                merged.opening.append(content)
                continue
            role = "user"
        elif name and role in named:
            content = _spoken(name, content)
        if merged.turns and merged.turns[-1][0] == role and not strict:
            merged.turns[-1][1].append(content)
        else:
            merged.turns.append((role, [content]))
    if not merged.turns and merged.opening:
        # A quiet prompt: the instruction comes as a system message, and nobody has said anything.
        merged.turns.append(("user", [merged.opening.pop()]))
    if not merged.turns:
        raise invalid("messages", "hold no text to answer")
    return merged


def check_line(text: str, path: str, limit: int = _MAX_NAME) -> str:
    """A text of one line. Raises `ApiError` (422) for a line break or another control character, or beyond `limit`."""
    if len(text) > limit:
        raise invalid(path, f"has {len(text)} characters; at most {limit} are allowed")
    if _CONTROL.search(text):
        raise invalid(path, "holds a line break or another control character; it is one line")
    return text


def _read(message: Any, path: str, fields: Fields, strict: bool) -> Message:
    if not isinstance(message, dict):
        raise invalid(path, "is not an object with 'role' and 'content'")
    role = _read_role(message.get("role"), path)
    content = message.get("content")
    if not isinstance(content, str):
        content = _read_content(content, role, path)
    if len(message) == 2:
        return Message(role, content)
    return Message(role, content, _read_other_keys(message, path, fields, strict))


def _read_role(role: Any, path: str) -> str:
    known = _ROLES.get(role) if isinstance(role, str) else None
    if known is None:
        if role in ("tool", "function"):
            raise invalid(f"{path}.role", f"is '{role}'; the models are not trained to call tools")
        raise invalid(f"{path}.role", "is missing" if role is None else "is not system, developer, user or assistant")
    return known


def _read_content(content: Any, role: str, path: str) -> str:
    """OpenAI's list of text parts as one text, joined as vLLM joins it; an answer without a text has none."""
    if content is None and role == "assistant":
        return ""
    if not isinstance(content, list):
        raise invalid(f"{path}.content", "is missing" if content is None else "is neither a text nor a list of parts")
    return "\n".join(_read_part(part, f"{path}.content[{position}]") for position, part in enumerate(content))


def _read_part(part: Any, path: str) -> str:
    if isinstance(part, str):
        return part
    kind = part.get("type") if isinstance(part, dict) else None
    key = _TEXT_PARTS.get(kind) if isinstance(kind, str) else None
    if key is None or not isinstance(part.get(key), str):
        what = f"is a part of the type '{shown(kind)}'" if isinstance(kind, str) else "is not a part with a type"
        raise invalid(path, f"{what}; the models read text only: {{'type': 'text', 'text': ...}}")
    return str(part[key])


def _read_other_keys(message: dict[str, Any], path: str, fields: Fields, strict: bool) -> str | None:
    if len(message) > _MAX_MESSAGE_KEYS:
        raise invalid(path, f"has {len(message)} keys; at most {_MAX_MESSAGE_KEYS} are allowed")
    for key, value in message.items():
        rule = MESSAGE_FIELDS.get(key)
        if not value or (rule and rule.use == "taken"):
            continue
        if strict:
            raise invalid(f"{path}.{key}", "is not accepted; a message has a role and a text")
        if rule and rule.use == "refused" and value not in rule.idle:
            raise invalid(f"{path}.{key}", f"is not accepted: {rule.note}", code="unsupported_parameter")
        if key != "name":
            fields.drop(f"messages[].{key}")
    name = message.get("name")
    if not name:
        return None
    if not isinstance(name, str):
        raise invalid(f"{path}.name", "is not a text")
    return check_line(name, f"{path}.name")


def _check_order(messages: list[Message], with_character: bool) -> None:
    for position, message in enumerate(messages):
        if message.role == "system" and with_character:
            raise _wrong_role(position, "is 'system'; with a character, the profile is the system message")
        if message.role == "system" and position:
            raise _wrong_role(position, "a system message must be the first message")
    if messages[-1].role != "user":
        raise _wrong_role(len(messages) - 1, "the last message must be the user's")


def _wrong_role(position: int, message: str) -> ApiError:
    return invalid(f"messages[{position}].role", message)


def _roles_with_several_names(messages: list[Message]) -> set[str]:
    pairs = {(message.role, message.name) for message in messages if message.name and message.role != "system"}
    return {role for role, names in Counter(role for role, _ in pairs).items() if names > 1}


def _spoken(name: str, content: str) -> str:
    return content if content.startswith(f"{name}:") else f"{name}: {content}"
