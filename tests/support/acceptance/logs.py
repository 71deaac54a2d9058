"""Reading what our steps print in a pod."""

import json
from collections.abc import Iterator
from typing import Any


def progress_of(log: str, stage: str) -> Iterator[dict[str, Any]]:
    """Our progress lines of a stage."""
    for line in log.splitlines():
        try:
            told = json.loads(line)
        except ValueError:
            continue
        if isinstance(told, dict) and told.get("stage") == stage:
            yield told
