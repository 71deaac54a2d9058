"""The nodes of a run, as Kubeflow Pipelines reports them from Argo's workflow.

A step is three of them (KFP's compiler, `argocompiler/container.go`): `NAME-driver`, a pod; `NAME`; and below that
`executor`, the step's own pod, or `executor(0)`, `executor(1)`, … where it may be tried again. A cached step's executor
is skipped. A loop's bodies lie below `iteration-iterations(0:0)`, `(1:1)`, ….
"""

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

_ATTEMPT = re.compile(r"executor(?:\((\d+)\))?")
_ITERATION = re.compile(r"iteration-iterations\((\d+)\b.*\)")
_RANKS = {"PENDING": 1, "RUNNING": 2, "PAUSED": 2, "CANCELING": 3, "SUCCEEDED": 4, "SKIPPED": 4, "FAILED": 4}
_RANKS["CANCELED"] = 4


@dataclass(frozen=True)
class Node:
    """One entry of a run's `task_details`; `state` is a `RuntimeState` of the API."""

    name: str
    state: str
    pod: str
    started: datetime | None
    ended: datetime | None
    children: tuple[str, ...]

    @property
    def key(self) -> str:
        """What the node's id and its pod's name end with."""
        return _key(self.pod)


class Nodes:
    """All nodes of a run, by how they hang together."""

    def __init__(self, run: dict[str, Any]) -> None:
        self._nodes: dict[str, Node] = {}
        for entry in (run.get("run_details") or {}).get("task_details") or []:
            # The cache's own entries have no name. Reports that cross leave two entries of one node.
            if entry.get("display_name") and entry.get("pod_name"):
                node = _node(entry)
                known = self._nodes.get(node.key)
                if known is None or _age(node) >= _age(known):
                    self._nodes[node.key] = node
        self._parents: dict[str, list[str]] = {}
        for node in self._nodes.values():
            for child in node.children:
                self._parents.setdefault(child, []).append(node.key)

    def __iter__(self) -> Iterator[Node]:
        return iter(self._nodes.values())

    def named(self, name: str) -> list[Node]:
        """The nodes of a name; more than one in a loop."""
        return [node for node in self if node.name == name]

    def child(self, node: Node, name: str) -> Node | None:
        """The child of a name."""
        return next((found for found in self._children(node) if found.name == name), None)

    def attempts(self, step: Node) -> list[Node]:
        """The step's own pods, oldest first: one, or as many as were tried."""
        found, waiting = {}, deque(self._children(step))
        while waiting:
            node = waiting.popleft()
            if node.key not in found and _ATTEMPT.fullmatch(node.name):
                found[node.key] = node
                waiting.extend(self._children(node))
        numbered = [(match[1], node) for node in found.values() if (match := _ATTEMPT.fullmatch(node.name))]
        tried = sorted((int(number), node.key) for number, node in numbered if number)
        return [found[key] for _, key in tried] or [node for _, node in numbered]

    def iteration(self, node: Node) -> int | None:
        """Which of its loop's iterations a node belongs to."""
        seen, waiting = {node.key}, deque([node])
        while waiting:
            here = waiting.popleft()
            if found := _ITERATION.fullmatch(here.name):
                return int(found[1])
            above = [key for key in self._parents.get(here.key, ()) if key not in seen]
            seen.update(above)
            waiting.extend(self._nodes[key] for key in above)
        return None

    def _children(self, node: Node) -> list[Node]:
        return [self._nodes[key] for key in node.children if key in self._nodes]


def _node(entry: dict[str, Any]) -> Node:
    children = (str(child.get("pod_name") or "") for child in entry.get("child_tasks") or [])
    return Node(
        name=entry["display_name"],
        state=entry.get("state") or "RUNTIME_STATE_UNSPECIFIED",
        pod=entry["pod_name"],
        started=_time(entry.get("start_time")),
        ended=_time(entry.get("end_time")),
        children=tuple(_key(child) for child in children),
    )


def _key(name: str) -> str:
    return name.rpartition("-")[2]


def _age(node: Node) -> tuple[datetime, int]:
    """How new an entry is: a later attempt of the whole run starts over; otherwise a node only goes forward."""
    return node.started or datetime.min.replace(tzinfo=UTC), _RANKS.get(node.state, 0)


def _time(text: str | None) -> datetime | None:
    """Argo's unset times arrive as the years 1 and 1970."""
    try:
        found = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return found if found.year > 1970 else None
