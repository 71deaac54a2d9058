"""One JSON line for each request, on standard output."""

import json
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

_LONGEST_TEXT = 16 << 10


def write(fields: dict[str, Any]) -> None:
    """A line; fields that are None are left out. A log that nobody takes does not harm the request."""
    line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": "request"}
    line |= {name: value for name, value in fields.items() if value is not None}
    with suppress(OSError):
        print(json.dumps(line), flush=True)


def excerpt(body: bytes) -> str:
    """The text of a request, no longer than a line of a log should be."""
    return body[:_LONGEST_TEXT].decode("utf-8", "replace")
