"""Reading the logs of all nodes: each line once, however often a stream breaks."""

import queue
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any, NamedTuple

from opencharacter.training.trainjob.api import ClusterApi
from opencharacter.training.trainjob.status import Run

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


class _Said(NamedTuple):
    run: Run
    line: str | None
    """None: the stream has ended."""
    error: Exception | None = None


class LogReaders:
    """The logs of a job's runs. Each is followed until it is over, and then read to its end once more."""

    def __init__(self, api: ClusterApi) -> None:
        self._api = api
        self._said: queue.SimpleQueue[_Said] = queue.SimpleQueue()
        self._readers: dict[tuple[str, int], _Reader] = {}

    def follow(self, run: Run) -> None:
        """Begin to read a run; the node's runs before are over."""
        for reader in self._readers.values():
            if reader.run.node == run.node:
                reader.is_over(restarted=reader.run.uid == run.uid)
        self._readers[run.key] = _Reader(run, self._api, self._said)

    def read(self, take: Callable[[Run, str], None], seconds: float) -> bool:
        """Give `take` each new line, until every stream has ended or the time is over.

        Says whether it is worth reading on at once: whether there were lines, or the time was over. Raises what `take`
        raises, and what is wrong with a log other than a broken stream.
        """
        until = time.monotonic() + seconds
        for reader in self._readers.values():
            reader.read_on()
        any_lines = False
        while any(not reader.idle for reader in self._readers.values()):
            try:
                said = self._said.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                return True
            if said.error is not None:
                raise said.error
            if said.line is not None:
                any_lines = True
                take(said.run, said.line)
            elif self._readers[said.run.key].has_ended():
                del self._readers[said.run.key]
        return any_lines

    def read_to_the_end(self, take: Callable[[Run, str], None], seconds: float) -> None:
        """What is left of all logs, now that the job has ended; given up after so long."""
        until = time.monotonic() + seconds
        for reader in self._readers.values():
            reader.is_over(restarted=False)
        while self._readers and time.monotonic() < until:
            self.read(take, until - time.monotonic())

    def close(self) -> None:
        """Let the threads end."""
        for reader in self._readers.values():
            reader.close()


class _Reader:
    """A thread that reads one run's log, each time that it is asked to read on. `idle` belongs to the asking thread."""

    def __init__(self, run: Run, api: ClusterApi, said: "queue.SimpleQueue[_Said]") -> None:
        self.run = run
        self.idle = True
        self._api = api
        self._said = said
        self._log = PodLog(self._open)
        self._over = self._restarted = self._last_time = self._closed = False
        self._wanted = threading.Event()
        # A daemon: a stream that says nothing holds its thread for a while.
        threading.Thread(target=self._work, name=f"log of node {run.node}", daemon=True).start()

    def read_on(self) -> None:
        if self.idle:
            self.idle, self._last_time = False, self._over
            self._wanted.set()

    def is_over(self, *, restarted: bool) -> None:
        """Nothing more will be printed. `restarted`: the same pod has begun another run since."""
        if not self._over:
            self._over, self._restarted = True, restarted

    def has_ended(self) -> bool:
        """The stream has ended. Says whether that was the last time."""
        self.idle = True
        if self._last_time:
            self.close()
        return self._last_time

    def close(self) -> None:
        self._closed = True
        self._wanted.set()

    def _open(self, since_s: int | None) -> Iterator[bytes]:
        over = self._last_time
        return self._api.log(self.run.pod, follow=not over, previous=over and self._restarted, since_s=since_s)

    def _work(self) -> None:
        while self._wanted.wait() and not self._closed:
            self._wanted.clear()
            try:
                for line in self._log.read():
                    self._said.put(_Said(self.run, line))
                    # A stream that was opened in the moment of the restart is the next run's.
                    if self._restarted and not self._last_time:
                        break
            except Exception as error:
                self._said.put(_Said(self.run, None, error))
            else:
                self._said.put(_Said(self.run, None))
