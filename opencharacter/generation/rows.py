"""Makes the rows that take LLM calls, for synthesis and evaluation.

A row has a content address and is kept in the row store with a label. A row that the store holds is never made again,
and a call that the journal holds is never repeated.
"""

import asyncio
import tempfile
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol
from weakref import WeakKeyDictionary

from pydantic import BaseModel, Field

from opencharacter.engines import ChatEngine, ChatFailed, EngineConfig, Sampling, open_engine, run_bounded
from opencharacter.errors import OpenCharacterError
from opencharacter.generation.calls import RowCalls
from opencharacter.generation.errors import Unusable
from opencharacter.progress import progress
from opencharacter.records.models import Usage
from opencharacter.storage.protocols import RowFiles
from opencharacter.storage.rowstore import BUCKETS, RowStore, bucket_of, open_rows
from opencharacter.system.garbage import rare_collections

_ENOUGH_TO_JUDGE = 100
OK = "ok"
"""The label of a good row."""


class StoredRow(NamedTuple):
    """A finished row as the store keeps it."""

    content: dict[str, Any]
    label: str


@dataclass(frozen=True, slots=True)
class RowTask:
    """A row to make unless the store holds it."""

    row_id: str
    engine: str
    """Key of the engine that is asked."""
    sampling: Sampling
    make: Callable[[RowCalls], Awaitable[StoredRow]]
    on_failure: Callable[[ChatFailed], StoredRow] | None = None
    """The row to keep if a call fails for good; none: nothing is kept, a later run makes the row."""
    group: str | None = None
    """A digest that rows share whose prompts begin alike; they are made one after the other."""
    part: str = ""
    """The part of the stage, such as R or G, whose rows are judged together where many are rejected."""

    def task(self) -> "RowTask":
        """See `PlannedRow.task`."""
        return self


class PlannedRow(Protocol):
    """What `make_rows` keeps of each row that is left, perhaps hundreds of thousands, until its turn comes."""

    @property
    def row_id(self) -> str:
        """See `RowTask.row_id`."""

    @property
    def engine(self) -> str:
        """See `RowTask.engine`."""

    @property
    def group(self) -> str | None:
        """See `RowTask.group`."""

    @property
    def part(self) -> str:
        """See `RowTask.part`."""

    def task(self) -> RowTask:
        """The row to make."""


@dataclass
class RowsReport:
    """What was there, and what was made."""

    outcomes: Counter[str] = field(default_factory=Counter)
    """Rows by label, without what follows a colon in it."""
    parts: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """The same by part."""
    made: Usage = field(default_factory=Usage)
    reused_calls: int = 0
    unanswered: int = 0
    last_error: str = ""

    def count(self, task: PlannedRow, label: str | None) -> None:
        """Count a finished row."""
        reason = (label or "").partition(":")[0]
        self.outcomes[reason] += 1
        self.parts[task.part][reason] += 1


class RowOutcome(BaseModel):
    """A synthesised row as the store keeps it."""

    status: Literal["ok", "rejected"]
    reason: str | None = None
    detail: str | None = Field(default=None, exclude_if=lambda detail: detail is None)
    """Why, in words: those of the server where it rejected the row."""
    usage: Usage
    content: dict[str, Any] = {}


@dataclass(frozen=True)
class RowPolicy:
    """When synthesised rows are final, and how many may be rejected."""

    attempts: int
    max_rejected_share: float
    seed: int

    def task(
        self,
        row_id: str,
        engine: str,
        sampling: Sampling,
        make: Callable[[RowCalls], Awaitable[dict[str, Any]]],
        *,
        group: str | None = None,
        part: str = "",
    ) -> RowTask:
        """The task of a row that holds a `RowOutcome`; `make` returns its content, or raises `Unusable`."""
        return RowTask(row_id, engine, sampling, partial(self._outcome, make), group=group, part=part)

    def is_final(self, label: str) -> bool:
        """Whether a row is done; a rejected row is made again once more attempts are allowed than it had."""
        return label == OK or int(label.rpartition(":")[2]) >= self.attempts

    async def _outcome(self, make: Callable[[RowCalls], Awaitable[dict[str, Any]]], calls: RowCalls) -> StoredRow:
        try:
            content = await make(calls)
        except Unusable as error:
            rejected = RowOutcome(
                status="rejected", reason=error.reason, detail=error.detail or None, usage=calls.usage
            )
            return StoredRow(rejected.model_dump(), f"{error.reason}:{self.attempts}")
        return StoredRow(RowOutcome(status="ok", usage=calls.usage, content=content).model_dump(), OK)

    def check_early(self, what: str, part: str, outcomes: Counter[str]) -> None:
        """`check` a part of the rows, once there are enough of them to tell."""
        if outcomes.total() >= _ENOUGH_TO_JUDGE:
            self.check(f"{what} of {part}" if part else what, outcomes)

    def check(self, what: str, outcomes: Counter[str]) -> None:
        """Raise `OpenCharacterError` if more than `max_rejected_share` of the rows were rejected, or all of them."""
        rejected = outcomes.total() - outcomes[OK]
        if rejected > self.max_rejected_share * outcomes.total() or (rejected and not outcomes[OK]):
            reasons = ", ".join(f"{reason} {count}" for reason, count in rejections(outcomes).items())
            raise OpenCharacterError(
                f"{rejected} of {outcomes.total()} {what} were rejected: {reasons}",
                hint="try another teacher, prompt or sampling; with more `attempts` rejected rows are asked for again",
            )


def config_of(engine: EngineConfig | ChatEngine) -> EngineConfig:
    """The configuration of an engine, open or not."""
    return engine.config if isinstance(engine, ChatEngine) else engine


def rejections(outcomes: Counter[str]) -> dict[str, int]:
    """Rejected rows by reason, most frequent first."""
    return {reason: count for reason, count in outcomes.most_common() if reason != OK}


async def make_rows(
    store: RowStore,
    tasks: Iterable[PlannedRow],
    engines: Mapping[str, EngineConfig | ChatEngine],
    *,
    what: str | None = None,
    seed: int = 0,
    check: Callable[[str, Counter[str]], None] | None = None,
) -> RowsReport:
    """Make the rows that the store owns and does not hold yet. An engine without a task is not opened.

    Args:
        store: Where the rows are kept.
        tasks: The rows. Of two with the same address the first counts.
        engines: By the key that tasks name; a config is opened for the call, an open engine is used as it is.
        what: The title of the progress bar; none: no bar.
        seed: The run's seed, from which `RowCalls.ask` derives the sampling seeds.
        check: Called with the row's part and its outcomes after each row; what it raises ends the work.

    Raises:
        EngineDown: A server is gone. Finished work is kept.
    """
    report = RowsReport()

    async def make(engine: ChatEngine, planned: PlannedRow) -> Usage:
        task = planned.task()
        seat = engine.seat(task.group)
        calls = RowCalls(store, engine, task.row_id, task.sampling, seed, seat)
        try:
            row = await task.make(calls)
        except ChatFailed as error:
            if task.on_failure is not None:
                failed = task.on_failure(error)
                await store.finish(task.row_id, failed.content, label=failed.label, group=task.group)
            raise
        finally:
            engine.leave(seat)
            report.made += calls.made
            report.reused_calls += calls.reused
        await store.finish(task.row_id, row.content, label=row.label, group=task.group)
        report.count(task, row.label)
        if check is not None:
            check(task.part, report.parts[task.part])
        return calls.made

    async def make_all(engine: ChatEngine, left: list[PlannedRow]) -> None:
        done = report.outcomes.total()
        with rare_collections(), progress(what, total=done + len(left), done=done) if what else nullcontext() as bar:
            # More rows than requests: while some wait for the disk, others keep the server busy.
            limit = 2 * engine.config.concurrency
            tally = await run_bounded(partial(make, engine), left, limit=limit, room=engine.room, bar=bar)
        report.unanswered += tally.failed
        if tally.last_error:
            report.last_error = str(tally.last_error)

    with rare_collections(), _Search(store, tasks, report) as search:
        first = await search.first_engine()
        if first is not None:
            async with _opened(engines[first]) as engine:
                engine.start()
                left = await search.left()
                await make_all(engine, left.pop(first))
    for name, others in (await search.left()).items():
        async with _opened(engines[name]) as engine:
            await make_all(engine, others)
    return report


async def make_row(
    task: RowTask, engine: EngineConfig | ChatEngine, policy: RowPolicy, *, rows: RowFiles | Path | None = None
) -> RowOutcome:
    """Make one synthesised row, or read it if `rows` holds it.

    Args:
        task: As `RowPolicy.task` makes it.
        engine: Who is asked.
        policy: Attempts and seed.
        rows: Where the row is kept; none: a temporary folder.

    Raises:
        OpenCharacterError: The engine gave no answer, or no usable one.
    """
    if rows is None:
        with tempfile.TemporaryDirectory(prefix="opencharacter-rows-") as folder:
            return await make_row(task, engine, policy, rows=Path(folder))
    # The row's bucket alone is held, so that other rows can be made at the same time.
    bucket = bucket_of(task.row_id)
    async with (
        _bucket_lock(rows, bucket),
        open_rows(rows, shard=bucket, shards=BUCKETS, is_final=policy.is_final) as store,
    ):
        report = await make_rows(store, [task], {task.engine: engine}, seed=policy.seed)
        if report.unanswered:
            raise OpenCharacterError(f"the engine gave no answer: {report.last_error}")
        outcome = RowOutcome.model_validate(store.read(task.row_id))
    if outcome.reason is not None:
        raise OpenCharacterError(
            f"no usable answer in {policy.attempts} attempts: {outcome.reason}",
            hint="try another model or sampling, or allow more `attempts`",
        )
    return outcome


_locks: "WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[str, int], asyncio.Lock]]" = WeakKeyDictionary()


def _bucket_lock(rows: RowFiles | Path, bucket: int) -> asyncio.Lock:
    """Rows of one bucket that are asked for at the same time are made one after the other: a bucket has one writer."""
    return _locks.setdefault(asyncio.get_running_loop(), {}).setdefault((str(rows), bucket), asyncio.Lock())


class _Search:
    """Finds the tasks that are left, in a thread: the first of them tells which server to start meanwhile."""

    def __init__(self, store: RowStore, tasks: Iterable[PlannedRow], report: RowsReport) -> None:
        self._store = store
        self._tasks = tasks
        self._report = report
        self._stopped = False

    def __enter__(self) -> "_Search":
        self._loop = asyncio.get_running_loop()
        self._first: asyncio.Future[str] = self._loop.create_future()
        self._search = self._loop.run_in_executor(None, self._run)
        # Where the work ends before the search, nobody else looks at the search's error.
        self._search.add_done_callback(lambda search: search.cancelled() or search.exception())
        return self

    def __exit__(self, *exception: object) -> None:
        self._stopped = True

    async def first_engine(self) -> str | None:
        """The engine that is asked for the first call that is left; none if there is no such call."""
        either: set[asyncio.Future[Any]] = {self._first, self._search}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if self._search.done():
            self._search.result()
        return self._first.result() if self._first.done() else None

    async def left(self) -> dict[str, list[PlannedRow]]:
        """The tasks that are left, by engine, those of a group one after the other. Changes to it remain."""
        return await asyncio.shield(self._search)

    def _run(self) -> dict[str, list[PlannedRow]]:
        """Find the tasks; rows that are there are counted in the report."""
        seen: set[str] = set()
        left: defaultdict[str, list[PlannedRow]] = defaultdict(list)
        found = False
        for task in self._tasks:
            if self._stopped:
                break
            if task.row_id in seen or not self._store.owns(task.row_id, task.group):
                continue
            seen.add(task.row_id)
            if self._store.finished(task.row_id):
                self._report.count(task, self._store.label(task.row_id))
                continue
            left[task.engine].append(task)
            if not found and not self._store.calls(task.row_id):
                found = True
                self._loop.call_soon_threadsafe(self._first.set_result, task.engine)
        for tasks in left.values():
            tasks.sort(key=lambda task: task.group or "")
        return left


@asynccontextmanager
async def _opened(engine: EngineConfig | ChatEngine) -> AsyncIterator[ChatEngine]:
    if isinstance(engine, ChatEngine):
        yield engine
    else:
        async with open_engine(engine) as opened:
            yield opened


async def first_usable(attempts: int, attempt: Callable[[int], Awaitable[Any]]) -> Any:
    """The result of the first of `attempts` tries that is usable. Raises the last one's `Unusable`."""
    for number in range(1, attempts):
        try:
            return await attempt(number)
        except Unusable as error:
            if error.final:
                raise
    return await attempt(attempts)
