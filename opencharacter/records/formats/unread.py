"""What rows of other data sets are known to hold, and is not read: such a row is set aside, never read in part."""

from typing import Any

from opencharacter.records.rows import InvalidRow

_OTHER_MEDIA = ("image", "images", "video", "videos", "audio", "audios")
_TOOLS = ("tools", "functions")
_CALLS = ("tool_calls", "function_call")
_NOTHING = ("", "[]", "{}", "null", "none")


def is_preference(row: dict[str, Any]) -> bool:
    """Whether a row compares two answers, as data sets for DPO do."""
    return row.get("chosen") is not None and row.get("rejected") is not None


def refuse_unread(row: dict[str, Any]) -> None:
    """Raise `InvalidRow` for a row of which a part would be lost."""
    if is_preference(row):
        raise InvalidRow("a preference row ('chosen' and 'rejected'), which is not read")
    if row.get("kto_tag") is False:
        raise InvalidRow("'kto_tag' marks the answer as a bad one")
    for key in (*_OTHER_MEDIA, *_TOOLS):
        if _says_something(row.get(key)):
            raise InvalidRow(f"the row has '{key}', which are not read")


def refuse_unread_turn(turn: dict[str, Any], *, is_answer: bool) -> None:
    """Raise `InvalidRow` for an answer that is not to be trained on, and for one that calls tools."""
    for key in _CALLS:
        if _says_something(turn.get(key)):
            raise InvalidRow(f"a turn has '{key}', which are not read")
    if not is_answer:
        return
    if turn.get("train") is False or turn.get("training") is False:
        raise InvalidRow("an answer is marked as not to be trained on")
    weight = turn.get("weight")
    if weight is not None and weight not in (0, 1, "0", "1"):
        raise InvalidRow(f"an answer has the weight {str(weight)[:20]}; only 0 and 1 are understood")
    if weight is not None and int(weight) == 0:
        raise InvalidRow("an answer has weight 0: it is not to be trained on")


def system_prompt_of(row: dict[str, Any]) -> str:
    """The system prompt that a row has in a column of its own; empty if it has none."""
    texts = (row.get("system"), row.get("system_prompt"))
    return next((text for text in texts if isinstance(text, str) and text.strip()), "")


def _says_something(value: Any) -> bool:
    if isinstance(value, str):
        return value.strip().lower() not in _NOTHING
    if isinstance(value, dict):
        return any(_says_something(item) for item in value.values())
    if isinstance(value, list):
        return any(_says_something(item) for item in value)
    return value is not None and value is not False
