"""Making the rows of one shard: what profiles, R and G have in common."""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel

from opencharacter.engines import ChatEngine, EngineConfig, Sampling, open_engine, run_bounded
from opencharacter.errors import OpenCharacterError
from opencharacter.generation.calls import RowCalls
from opencharacter.generation.replies import Unusable
from opencharacter.progress import progress
from opencharacter.records.models import Usage
from opencharacter.storage.rowfiles import RowFiles
from opencharacter.storage.rowstore import IsFinal, RowStore, open_rows

_ENOUGH_TO_JUDGE = 100
OK = "ok"
"""The label of a good row; a rejected one is labelled `reason:attempts`."""


class Outcome(BaseModel):
    """A finished row as the store keeps it."""

    status: Literal["ok", "rejected"]
    reason: str | None = None
    usage: Usage
    content: dict[str, Any] = {}


@dataclass(frozen=True)
class Job:
    """A row to be made, if it is not there: `make` asks for it and returns its content, or raises `Unusable`."""

    row_id: str
    engine: str
    sampling: Sampling
    make: Callable[[RowCalls], Awaitable[dict[str, Any]]]


@dataclass
class ShardReport:
    """What a shard holds after a run, and what the run did."""

    outcomes: Counter[str] = field(default_factory=Counter)
    """Rows by `ok` or reason of rejection."""
    made: Usage = field(default_factory=Usage)
    reused_calls: int = 0
    unanswered: int = 0
    last_error: str = ""
    wall_s: float = 0.0

    @property
    def counts(self) -> dict[str, int]:
        """Rows by status."""
        return {OK: self.outcomes[OK], "rejected": self.outcomes.total() - self.outcomes[OK]}

    @property
    def stats(self) -> dict[str, Any]:
        """Figures for the manifest."""
        return {
            "wall_s": round(self.wall_s, 3),
            "usage": self.made.model_dump(),
            "tokens_per_s": round(self.made.completion_tokens / self.wall_s, 1) if self.wall_s else 0.0,
            "calls_made": self.made.calls,
            "calls_reused": self.reused_calls,
            "rejected_by_reason": rejections(self.outcomes),
        }


def final_after(attempts: int) -> IsFinal:
    """Rejected rows are made again when more attempts are allowed than they had."""
    return lambda label: label == OK or int(label.rpartition(":")[2]) >= attempts


def rejections(outcomes: Counter[str]) -> dict[str, int]:
    """Rejected rows by reason, most frequent first."""
    return {reason: count for reason, count in outcomes.most_common() if reason != OK}


def refuse_bad_yield(what: str, outcomes: Counter[str], max_share: float) -> None:
    """Raise `OpenCharacterError` if more than `max_share` of the rows were rejected, or all of them."""
    rejected = outcomes.total() - outcomes[OK]
    if rejected > max_share * outcomes.total() or (rejected and not outcomes[OK]):
        reasons = ", ".join(f"{reason} {count}" for reason, count in rejections(outcomes).items())
        raise OpenCharacterError(
            f"{rejected} of {outcomes.total()} {what} were rejected: {reasons}",
            hint="try another teacher, prompt or sampling; with more `attempts` rejected rows are asked for again",
        )


def make_rows(
    place: RowFiles,
    jobs: Iterable[Job],
    engines: dict[str, EngineConfig],
    *,
    what: str,
    shard: int,
    shards: int,
    seed: int,
    attempts: int,
    max_rejected_share: float,
) -> ShardReport:
    """Make those of `jobs` that the shard owns and the store lacks; engines without a job are not opened.

    Raises `OpenCharacterError` if a server is down, answers are missing or nearly all rows are rejected; what was
    finished is kept, so the same call continues.
    """
    maker = _RowMaker(what, seed, attempts, max_rejected_share)

    async def run() -> None:
        async with open_rows(place, shard=shard, shards=shards, is_final=final_after(attempts)) as store:
            for name, todo in maker.plan(store, jobs).items():
                async with open_engine(engines[name]) as engine:
                    await maker.make_all(store, engine, todo)

    started = time.monotonic()
    asyncio.run(run())
    report = maker.report
    report.wall_s = time.monotonic() - started
    if report.unanswered:
        raise OpenCharacterError(
            f"{report.unanswered} {what} got no answer; the last error: {report.last_error}",
            hint="the rest is kept: run the same command again to ask for these",
        )
    return report


class _RowMaker:
    def __init__(self, what: str, seed: int, attempts: int, max_rejected_share: float) -> None:
        self.report = ShardReport()
        self._what = what
        self._seed = seed
        self._attempts = attempts
        self._max_rejected_share = max_rejected_share

    def plan(self, store: RowStore, jobs: Iterable[Job]) -> dict[str, list[Job]]:
        """The jobs that are left to do, by engine."""
        seen: set[str] = set()
        todo: defaultdict[str, list[Job]] = defaultdict(list)
        for job in jobs:
            if not store.owns(job.row_id) or job.row_id in seen:
                continue
            seen.add(job.row_id)
            if store.finished(job.row_id):
                self.report.outcomes[_reason_of(store.label(job.row_id))] += 1
            else:
                todo[job.engine].append(job)
        return todo

    async def make_all(self, store: RowStore, engine: ChatEngine, todo: list[Job]) -> None:
        done = self.report.outcomes.total()
        with progress(self._what, total=done + len(todo), done=done) as bar:
            tally = await run_bounded(
                lambda job: self._make(store, engine, job), todo, limit=engine.config.concurrency, bar=bar
            )
        self.report.unanswered += tally.failed
        if tally.last_error:
            self.report.last_error = str(tally.last_error)

    async def _make(self, store: RowStore, engine: ChatEngine, job: Job) -> Usage:
        calls = RowCalls(store, engine, job.row_id, job.sampling, self._seed)
        try:
            content = await job.make(calls)
            outcome = Outcome(status="ok", usage=calls.usage, content=content)
        except Unusable as error:
            outcome = Outcome(status="rejected", reason=error.reason, usage=calls.usage)
        label = OK if outcome.reason is None else f"{outcome.reason}:{self._attempts}"
        await store.finish(job.row_id, outcome.model_dump(), label=label)
        self.report.made += calls.made
        self.report.reused_calls += calls.reused
        self.report.outcomes[_reason_of(label)] += 1
        if self.report.outcomes.total() >= _ENOUGH_TO_JUDGE:
            refuse_bad_yield(self._what, self.report.outcomes, self._max_rejected_share)
        return calls.made


def _reason_of(label: str | None) -> str:
    """`ok`, or why a row was rejected, from the label that the store keeps."""
    return (label or "").partition(":")[0]


async def first_usable(attempts: int, attempt: Callable[[int], Awaitable[Any]]) -> Any:
    """The result of the first of `attempts` tries that is usable. Raises the last one's `Unusable`."""
    for number in range(1, attempts):
        try:
            return await attempt(number)
        except Unusable as error:
            if error.reason == "refused_by_server":
                raise
    return await attempt(attempts)
