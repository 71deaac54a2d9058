"""The ends of all nodes' logs, kept in the workspace: Kubernetes deletes a failed job's pods, and so their logs."""

import logging
import time
from collections import deque

from opencharacter.errors import OpenCharacterError
from opencharacter.storage.workspace import Workspace
from opencharacter.training.job import Event

_log = logging.getLogger(__name__)

MOST_CHARACTERS = 200_000
"""Of each node's log."""
_EVERY_S = 30.0


class KeptLogs:
    """One file for each node, `logs/NAME/node-RANK.log`. An earlier attempt's end comes first in it."""

    def __init__(self, workspace: Workspace, name: str) -> None:
        """`name` is the job's."""
        self.place = f"{workspace.uri.rstrip('/')}/logs/{name}/"
        self._workspace = workspace
        self._name = name
        self._ends: dict[int, _End] = {}
        self._warned = False

    def add(self, node: int, line: str) -> None:
        """Take a line of a node's log, line feed included; of progress, the points of the loss curve only."""
        event = Event.parse(line)
        if event is None:
            self._end(node).add(line)
        elif event.kind != "progress":
            self._end(node).add(f"{event.kind}: {event.message}\n")
        elif event.loss is not None:
            self._end(node).add(f"step {event.step} of {event.total_steps}: loss {event.loss:.4f}\n")

    def mark(self, node: int, words: str) -> None:
        """Note what happened to the node, and store its log soon."""
        end = self._end(node)
        end.add(f"--- {words}\n")
        end.stored_at = None

    def save(self, *, all_of_it: bool = False) -> None:
        """Store what is new: every half minute, or at once. A store that is away causes one warning only."""
        due = [(node, end) for node, end in self._ends.items() if end.is_due(all_of_it)]
        try:
            for node, end in due:
                self._workspace.write_log(self._file(node), end.text)
                end.fresh = False
        except OpenCharacterError as error:
            self._warn(error)
        for _, end in due:
            end.stored_at = time.monotonic()

    def _end(self, node: int) -> "_End":
        if node not in self._ends:
            self._ends[node] = _End()
            try:
                self._ends[node].add(self._workspace.read_log(self._file(node)))
            except OpenCharacterError as error:
                self._warn(error)
        return self._ends[node]

    def _file(self, node: int) -> str:
        return f"{self._name}/node-{node}.log"

    def _warn(self, error: OpenCharacterError) -> None:
        if not self._warned:
            _log.warning("the nodes' logs can't be kept, and the training goes on: %s", error)
        self._warned = True


class _End:
    """The end of a text."""

    def __init__(self) -> None:
        self.stored_at: float | None = None
        self.fresh = False
        self._lines: deque[str] = deque()
        self._size = 0

    @property
    def text(self) -> str:
        return "".join(self._lines)

    def add(self, text: str) -> None:
        """Add whole lines; the oldest go when they are too many."""
        for line in text.splitlines(keepends=True):
            line = line[-MOST_CHARACTERS:]
            self._lines.append(line)
            self._size += len(line)
        while self._size > MOST_CHARACTERS:
            self._size -= len(self._lines.popleft())
        self.fresh = True

    def is_due(self, at_once: bool) -> bool:
        return self.fresh and (at_once or self.stored_at is None or time.monotonic() - self.stored_at > _EVERY_S)
