"""Following a TrainJob until it ends: what its nodes say, how they are restarted, what holds it up."""

import logging
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from typing import Any

from opencharacter.errors import OpenCharacterError, UserError
from opencharacter.training.job import Event
from opencharacter.training.launch import EventReader
from opencharacter.training.trainjob.api import ClusterApi
from opencharacter.training.trainjob.kept_logs import KeptLogs
from opencharacter.training.trainjob.pod_logs import LogReaders
from opencharacter.training.trainjob.settings import TrainJobSettings
from opencharacter.training.trainjob.status import (
    End,
    Job,
    Pod,
    Run,
    bad_ends,
    begun_runs,
    condition,
    holdup,
    is_suspended,
    last_run,
    lost_fields,
    queue_of,
)

_log = logging.getLogger(__name__)

POLL_S = 5.0
"""Between two looks at a job that says nothing."""
_LAST_WORDS_S = 10.0
_PATIENT_LOOKS = 6
"""A job that has no pods after so many looks is asked for its events."""


def follow(
    api: ClusterApi, manifest: Job, settings: TrainJobSettings, kept: KeptLogs, pause: Callable[[float], None]
) -> None:
    """Show the job's progress until it ends well.

    Raises `UserError` for a mistake that a worker names, for memory that runs out twice at the same step, and where
    the cluster drops a part of the job, each time after deleting it; `OpenCharacterError` if it fails, or is deleted.
    """
    with EventReader() as shown, closing(_Following(api, manifest, settings, kept, shown)) as following:
        while not following.look():
            if not following.listen():
                pause(POLL_S)


class _Following:
    def __init__(
        self, api: ClusterApi, manifest: Job, settings: TrainJobSettings, kept: KeptLogs, shown: EventReader
    ) -> None:
        self._api = api
        self._manifest = manifest
        self._settings = settings
        self._kept = kept
        self._shown = shown
        """The first node's progress."""
        self._name: str = manifest["metadata"]["name"]
        self._readers = LogReaders(api)
        self._heard: dict[tuple[str, int], EventReader] = {}
        """What each run has said."""
        self._runs: dict[int, Run] = {}
        """Each node's newest run."""
        self._listed: dict[str, Run] = {}
        """By uid: the pods of the last look."""
        self._ends: dict[tuple[str, int], End] = {}
        self._step = 0
        """The furthest that training has come."""
        self._starved: dict[int, tuple[tuple[str, int], int]] = {}
        """By node: the run whose memory ran out, and the step."""
        self._reported_state: str | None = None
        self._looks_without_pods = 0

    @property
    def _title(self) -> str:
        return f"TrainJob {self._api.namespace}/{self._name}"

    def close(self) -> None:
        """Stop reading."""
        self._readers.close()

    def look(self) -> bool:
        """Look at the job and its pods. Says whether it has ended well."""
        job = self._api.get(self._name)
        if job is None:
            raise OpenCharacterError(
                f"{self._title} was deleted while it ran",
                hint="run the step again: training goes on from the last stored checkpoint",
            )
        complete, failed = condition(job, "Complete"), condition(job, "Failed")
        pods = self._api.pods(self._name)
        for end in bad_ends(pods):
            self._note_end(end)
        for run in begun_runs(pods):
            self._note_run(run)
        if complete or failed:
            self._readers.read_to_the_end(self._take, _LAST_WORDS_S)
        if failed:
            raise self._failure(failed)
        if complete:
            return True
        self._note_absent(pods, suspended=is_suspended(job))
        self._refuse_losses(job)
        self._report_holdup(job, pods)
        return False

    def listen(self) -> bool:
        """Hear what the nodes say. Says whether to look again at once."""
        again = self._readers.read(self._take, POLL_S)
        self._kept.save()
        return again

    def _take(self, run: Run, line: str) -> None:
        self._kept.add(run.node, line)
        self._heard[run.key].feed(line)
        if run.node == 0:
            self._shown.feed(line)
        event = Event.parse(line)
        if event is None:
            return
        if event.kind == "progress":
            self._step = max(self._step, event.step)
        elif event.kind == "warning" and run.node:
            _log.warning("node %d: %s", run.node, event.message)
        elif event.kind == "failure":
            _log.warning("%s failed: %s", run.name, event.message)
            if event.exit_code == UserError.exit_code:
                # It would fail in the same way as often as the runtime's back-off limit allows.
                raise self._give_up(event.as_error())
            if event.out_of_memory:
                self._note_starved(run, event.message, event.hint)

    def _note_run(self, run: Run) -> None:
        if run.key in self._heard:
            return
        if run.node in self._runs:
            self._report(run, f"runs again (restart {run.restarts})" if run.restarts else "runs in its place")
        else:
            self._kept.mark(run.node, f"{run.name} runs")
        self._heard[run.key] = EventReader(show=False)
        self._runs[run.node] = run
        self._readers.follow(run)

    def _note_end(self, end: End) -> None:
        if end.run.key in self._ends:
            return
        self._ends[end.run.key] = end
        self._report(end.run, f"ended: {end.reason}")
        if end.out_of_memory:
            limit = f", and its memory limit is {self._settings.memory}" if self._settings.memory else ""
            self._note_starved(end.run, f"{end.reason}{limit}", None)

    def _note_absent(self, pods: list[Pod], *, suspended: bool) -> None:
        """A pod that is gone has been deleted, or its machine was lost; report it where nothing else does."""
        runs = {pod["metadata"]["uid"]: last_run(pod) for pod in pods}
        for uid, run in self._listed.items():
            if uid not in runs and not suspended and run.key not in self._ends:
                end = End(run, "its pod is gone: deleted, or its machine was lost", out_of_memory=False)
                self._ends[run.key] = end
                self._report(run, f"ended: {end.reason}")
        self._listed = runs

    def _report(self, run: Run, words: str) -> None:
        _log.warning("%s %s", run.name, words)
        self._kept.mark(run.node, f"{run.name} {words}")

    def _note_starved(self, run: Run, reason: str, hint: str | None) -> None:
        """Memory has run out on a node: once may be bad luck, twice at the same step is what the settings lead to."""
        key, step = self._starved.get(run.node, (None, -1))
        if key == run.key:
            return
        if step == self._step:
            raise self._give_up(
                UserError(
                    f"{self._title}: memory of {run.name} ran out again at step {step}, as in the run before: {reason}",
                    hint=hint or self._memory_hint(),
                )
            )
        self._starved[run.node] = run.key, self._step

    def _refuse_losses(self, job: Job) -> None:
        """JobSet starts no pods of a job that was changed since, and others would not be what was asked for."""
        if not is_suspended(job) and (lost := lost_fields(self._manifest, job)):
            raise self._give_up(
                UserError(
                    f"{self._title}: another controller has dropped {', '.join(lost)}, so its pods can't run as asked"
                    " for",
                    hint="Kueue writes TrainJobs with the Trainer API that it was built with: install Kueue 0.17 or"
                    " later, or train without a queue (steps.sft.queue null)",
                )
            )

    def _report_holdup(self, job: Job, pods: list[Pod]) -> None:
        """Say what the job waits for, once."""
        state = self._waits_for(job, pods)
        if state and state != self._reported_state:
            _log.warning("%s: %s", self._title, state)
        self._reported_state = state

    def _waits_for(self, job: Job, pods: list[Pod]) -> str | None:
        if is_suspended(job):
            self._looks_without_pods = 0
            return f"waits in queue {queue}" if (queue := queue_of(job)) else "is suspended"
        if pods:
            self._looks_without_pods = 0
            held = holdup(pods)
            begun = any(run.node == 0 for run in begun_runs(pods))
            return held or (None if begun else "waits for its pods")
        self._looks_without_pods += 1
        if self._looks_without_pods >= _PATIENT_LOOKS and (reason := self._api.warning(self._name)):
            return f"has no pods: {reason}"
        return "waits for its pods"

    def _failure(self, failed: dict[str, Any]) -> OpenCharacterError:
        """The failed job in the best words there are: a worker's own, what ended its pods, the end of a log."""
        heard = {node: self._heard[run.key] for node, run in sorted(self._runs.items())}
        failures = {node: each.failure for node, each in heard.items() if each.failure}
        counted = Counter(f"{end.run.name}: {end.reason}" for end in self._ends.values())
        ends = "".join(f"\n  {words}" + (f", {times} times" if times > 1 else "") for words, times in counted.items())
        if starved := any(end.out_of_memory for end in self._ends.values()):
            # The other nodes complain of broken connections only.
            ends += "".join(f"\n  node {node} said: {failure.message}" for node, failure in failures.items())
        elif failures:
            # A mistake of the user's explains the broken connections that the other nodes complain of.
            error = max(failures.values(), key=lambda failure: failure.exit_code).as_error()
            return self._with_place(type(error)(f"{error}{ends}", hint=error.hint))
        cause = ": ".join(filter(None, [failed.get("reason"), failed.get("message")]))
        ended = [end.run.node for end in self._ends.values()]
        tails = [(node, heard[node].tail.rstrip()) for node in [*reversed(ended), *heard] if node in heard]
        node, tail = next(((node, tail) for node, tail in tails if tail), (0, "(nothing)"))
        return self._with_place(
            OpenCharacterError(
                f"{self._title} failed: {cause}{ends}\nthe end of node {node}'s log:\n{tail}",
                hint=self._memory_hint() if starved else "run again: training goes on from the last stored checkpoint",
            )
        )

    def _give_up(self, error: OpenCharacterError) -> OpenCharacterError:
        """Delete the job: what is wrong would go wrong again. Gives the error to raise."""
        self._api.delete(self._name)
        return self._with_place(error)

    def _with_place(self, error: OpenCharacterError) -> OpenCharacterError:
        if not self._runs:
            return error
        return type(error)(f"{error}\nthe logs of all nodes: {self._kept.place}", hint=error.hint)

    def _memory_hint(self) -> str:
        needed = self._settings.memory_needed
        about = f", to {needed} or more by our estimate," if needed else ""
        return f"raise steps.sft.memory of the cluster file{about} or lower sft.max_length or sft.per_device_batch_size"
