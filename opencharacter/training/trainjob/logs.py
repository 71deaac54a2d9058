"""The log of a node, line by line, each once, however often its stream breaks."""

import re
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any

_STAMP = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)")
_OVERLAP_S = 60

Stamp = tuple[float, str]


class PodLog:
    """Follows the log of one run of a container. `read` may be called again after it has ended for any reason."""

    def __init__(self, open_log: Callable[[int | None], Iterable[bytes]]) -> None:
        """`open_log` starts a stream: the last so many seconds of the log (none: all of it), and what follows."""
        self._open = open_log
        self._last: Stamp | None = None
        self._at_last = 0
        self._read_at = time.monotonic()

    def read(self) -> Iterator[str]:
        """Lines not read before, until the stream ends. A break ends it too: the next `read` goes on from there."""
        since = None if self._last is None else int(time.monotonic() - self._read_at) + _OVERLAP_S
        repeated = self._at_last
        try:
            for line in _lines(self._open(since)):
                found = _STAMP.match(line)
                if not found:
                    continue
                stamp = _stamp(found)
                if self._last is not None and stamp < self._last:
                    continue
                if stamp == self._last and repeated:
                    repeated -= 1
                    continue
                self._at_last = self._at_last + 1 if stamp == self._last else 1
                self._last = stamp
                self._read_at = time.monotonic()
                yield line[found.end() :].removeprefix(" ")
        except Exception as error:
            if not _is_break(error):
                raise


def _lines(pieces: Iterable[bytes]) -> Iterator[str]:
    """Whole lines; a last half one is left out, since it is read again."""
    rest = b""
    for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            yield line.decode(errors="replace") + "\n"


def _stamp(found: "re.Match[str]") -> Stamp:
    """Seconds, and the fraction as nine digits: a float has too few."""
    seconds, fraction, zone = found.groups()
    return datetime.fromisoformat(seconds + zone).timestamp(), (fraction or "").ljust(9, "0")


def _is_break(error: Any) -> bool:
    from kubernetes.client import ApiException
    from urllib3.exceptions import HTTPError

    return isinstance(error, (ApiException, HTTPError, OSError))
