"""One JSON line for each request, on standard output."""

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from queue import SimpleQueue
from typing import Any

_LONGEST_TEXT = 16 << 10
_MOST_WAITING = 10_000
_END_TIMEOUT_S = 2.0


class RequestLog:
    """Writes lines in a thread of its own: a log that nobody takes stalls no answer, and its lines are lost."""

    def __init__(self) -> None:
        self._out = sys.stdout
        self._waiting: SimpleQueue[dict[str, Any] | None] = SimpleQueue()
        self._writer = threading.Thread(target=self._write, name="request-log", daemon=True)
        self._writer.start()

    def add(self, fields: dict[str, Any]) -> None:
        """A line; fields that are None are left out."""
        if self._waiting.qsize() < _MOST_WAITING:
            self._waiting.put({"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **fields})

    def close(self) -> None:
        """Write what waits, and end; at most 2 s."""
        self._waiting.put(None)
        self._writer.join(_END_TIMEOUT_S)

    def _write(self) -> None:
        ended = False
        while not ended:
            lines = list(self._take())
            ended = lines[-1] is None
            with suppress(OSError, ValueError):  # ValueError: it is closed
                self._out.write("".join(_line(fields) for fields in lines if fields is not None))
                self._out.flush()

    def _take(self) -> Iterator[dict[str, Any] | None]:
        """Wait for a line, and take with it those that came meanwhile, up to the end."""
        while (fields := self._waiting.get()) is not None:
            yield fields
            if self._waiting.empty():
                return
        yield None


def excerpt(body: bytes) -> str:
    """The text of a request, no longer than a line of a log should be."""
    return body[:_LONGEST_TEXT].decode("utf-8", "replace")


def _line(fields: dict[str, Any]) -> str:
    return json.dumps({name: value for name, value in fields.items() if value is not None}) + "\n"
