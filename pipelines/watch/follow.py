"""Looking at a run again and again until it has ended."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from opencharacter.pipelines.watch.lines import last_progress
from opencharacter.pipelines.watch.pods import Pods
from opencharacter.pipelines.watch.server import RunServer, Unanswered
from opencharacter.pipelines.watch.steps import FINAL, Step, steps_of

_LONGEST_WAIT_S = 60
_LOOKED_INTO = 16
"""The most pods that are read at one look."""


@dataclass(frozen=True)
class Look:
    """A run as it is at one moment."""

    run: dict[str, Any]
    steps: list[Step]
    progress: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The last progress event of running steps, by label."""
    trouble: dict[str, str] = field(default_factory=dict)
    """Why the pods of waiting steps do not run, by label."""

    @property
    def state(self) -> str:
        """The run's `RuntimeState`."""
        return str(self.run.get("state") or "PENDING")


def follow(server: RunServer, pods: Pods, *, every: float, first: dict[str, Any]) -> Iterator[Look | str]:
    """Yield what the run is, every so many seconds, from the `first` answer to the one in which it has ended.

    Between them come notices, in words: that the server is away, and that it is back. Raises as `RunServer.run` does.
    """
    yield Look(first, steps_of(first))  # before any pod is read: a cluster out of reach takes its time
    run, away = first, 0
    while run.get("state") not in FINAL:
        if not away:
            yield _look(run, pods)
        time.sleep(min(every * 2 ** max(away - 1, 0), max(every, _LONGEST_WAIT_S)))
        try:
            run = server.run()
        except Unanswered as error:
            if not away:
                yield f"{server.host} does not answer ({error}): waiting for it; the run goes on"
            away += 1
        else:
            if away:
                yield f"{server.host} answers again"
            away = 0
    if run is not first:
        yield Look(run, steps_of(run))


def _look(run: dict[str, Any], pods: Pods) -> Look:
    steps = steps_of(run)
    look = Look(run, steps)
    for step in [step for step in steps if step.pod and step.state in ("running", "waiting")][:_LOOKED_INTO]:
        assert step.pod is not None
        if step.state == "waiting":
            if trouble := pods.trouble(step.pod):
                look.trouble[step.label] = trouble
        elif event := last_progress(pods.tail(step.pod)):
            look.progress[step.label] = event
    return look
