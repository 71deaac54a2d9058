"""Reading JSON out of an answer, from servers that are held to a schema and from those that are not."""

import json
from typing import Any

from opencharacter.generation.checks import Unusable, is_refusal


def read_object(text: str) -> dict[str, Any]:
    """The JSON object of an answer, mended where it is malformed or cut off. Raises `Unusable`."""
    from json_repair import repair_json

    try:
        value = json.loads(text)
    except ValueError:
        # Text around the object (a greeting, a code fence) is passed over; of several objects the first counts.
        start = text.find("{")
        value = repair_json(text[start:], return_objects=True) if start >= 0 else None
        if isinstance(value, list):
            value = next((item for item in value if isinstance(item, dict)), None)
    if isinstance(value, dict) and value:
        return value
    raise Unusable("refusal" if is_refusal(text) else "invalid_json", "it is not a JSON object")
