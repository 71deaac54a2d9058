"""What a step's log says: how far it is, and why it has failed."""

import json
import re
from collections.abc import Sequence
from typing import Any

_ERROR = "error: "
_LAUNCHER = re.compile(r"[IWEF]\d{4} \d\d:\d\d:\d\d")
"""How the lines of KFP's own programs begin."""
_SHOWN = 5


def last_progress(log: Sequence[str]) -> dict[str, Any] | None:
    """The last progress event of a step's log (see `opencharacter.progress`)."""
    return next((event for line in reversed(log) if (event := _event(line)).get("event") == "progress"), None)


def last_error(log: Sequence[str]) -> str | None:
    """The message that a failed step ended with, its hint below it; else the last lines that say anything."""
    starts = [number for number, line in enumerate(log) if line.startswith(_ERROR)]
    if starts:
        message, *rest = log[starts[-1] :]
        hint = next((number for number, line in enumerate(rest) if not line.startswith("  ")), len(rest))
        return "\n".join([message.removeprefix(_ERROR), *rest[:hint]])
    said = [line for line in log if line.strip() and not _event(line)]
    ours = [line for line in said if not _LAUNCHER.match(line)]
    return "\n".join((ours or said)[-_SHOWN:]) or None


def _event(line: str) -> dict[str, Any]:
    if not line.startswith("{"):
        return {}
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) and "event" in found else {}
