"""Rows that cost LLM calls, stored so that finished calls are reused (docs/design.md, decision 3)."""

import asyncio
import signal
import threading
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from opencharacter.errors import OpenCharacterError
from opencharacter.storage.background import Background
from opencharacter.storage.journal import Call, Journal, decode_calls, encode_calls
from opencharacter.storage.local import LocalRowFiles
from opencharacter.storage.parts import FinishedRow, RowLocation, encode_part, read_index, read_row
from opencharacter.storage.protocols import RowFiles

BUCKETS = 256
"""Rows are spread over this many buckets by the first byte of a digest; fixed, so that any shard count fits."""

IsFinal = Callable[[str], bool]
"""Whether a row with this label is final; other rows are made again."""

_FLUSH_ROWS = 4096
_MOST_PENDING = 4
"""Times `_FLUSH_ROWS`: so many finished rows wait in memory for a slow commit before their makers do."""
_WRITERS = 8
_GROUPED = "g"
_OPEN_LOCK = "locks/open"
_Calls = dict[str, dict[str, dict[str, Any]]]


def bucket_of(digest: str) -> int:
    """The bucket of a row id or group: the first byte of the digest, which is in hex."""
    return int(digest[:2], 16)


def _any_label(label: str) -> bool:
    return True


class _Worker(NamedTuple):
    """Which rows a worker owns: those of some buckets, which are cut by row id, or by group.

    Journals and locks are named after their worker, and parts after their bucket (`12-000001`, by group `g12-000001`).
    A store may hold rows of both cuts: where a row of the other cut lies says nothing of who owns it, so a worker reads
    all parts and journals of the other cut, and does not work at the same time as a worker of that cut.
    """

    shard: int
    shards: int
    grouped: bool

    def __str__(self) -> str:
        return f"{_GROUPED * self.grouped}{self.shard}-of-{self.shards}"

    @classmethod
    def of(cls, file: str) -> "_Worker":
        """The worker of a journal or lock."""
        name = file.rsplit("/", 1)[1].partition(".")[0]
        shard, shards = name.removeprefix(_GROUPED).split("-of-")
        return cls(int(shard), int(shards), name.startswith(_GROUPED))

    @property
    def buckets(self) -> range:
        return range(self.shard, BUCKETS, self.shards)

    def may_own(self, part: str) -> bool:
        """Whether a part may hold rows of this worker."""
        name = part.removeprefix("parts/")
        if name.startswith(_GROUPED) != self.grouped:
            return True
        return int(name.removeprefix(_GROUPED).partition("-")[0], 16) in self.buckets

    def overlaps(self, other: "_Worker") -> bool:
        """Whether a row may belong to both."""
        return self.grouped != other.grouped or not set(self.buckets).isdisjoint(other.buckets)


class RowReader:
    """The committed rows of a store. Holds their locations in memory (some 300 bytes a row), not their content."""

    def __init__(self, files: RowFiles, worker: _Worker, is_final: IsFinal) -> None:
        self._files = files
        self._is_final = is_final
        self._locations: dict[str, RowLocation] = {}
        parts = sorted(filter(worker.may_own, files.names("parts")), key=_number_of)
        files.prefetch(parts)
        for part in parts:
            self._locations.update(read_index(files, part))
        self._last_number = _number_of(parts[-1]) if parts else 0

    def __len__(self) -> int:
        """Number of committed rows."""
        return len(self._locations)

    def __iter__(self) -> Iterator[str]:
        """Ids of the committed rows."""
        return iter(self._locations)

    def label(self, row_id: str) -> str | None:
        """The label that a row was finished with; None for a row that was not."""
        location = self._locations.get(row_id)
        return location.label if location else None

    def finished(self, row_id: str) -> bool:
        """Whether nothing is left to do for a row."""
        label = self.label(row_id)
        return label is not None and self._is_final(label)

    def read(self, row_id: str) -> dict[str, Any]:
        """The content of a finished row. Raises `KeyError` for one that is not."""
        return read_row(self._files, self._locations[row_id])


class RowStore(RowReader):
    """The rows of the buckets that one worker owns. Get one from `open_rows`; its methods run on one event loop.

    A row is the work of one coroutine, and a pure function of the payloads of its calls:

        async with open_rows(workspace.rows("profiles"), shard=0, shards=4) as store:
            if store.owns(row_id) and not store.finished(row_id):
                made = store.calls(row_id)                       # the calls of an earlier run
                if "1" not in made:
                    reply = await engine.chat(...)
                    await store.record(row_id, "1", payload)     # durable on return
                await store.finish(row_id, content, label="ok")

    However a run ends between `record` and the commit of the finished row, the next run finds the recorded calls and
    makes the same row from them without a new call. Finished rows are committed in parts of some thousand rows while
    the work goes on, and when `open_rows` ends without an error. A row may be finished again; the last version counts.
    """

    def __init__(self, files: RowFiles, worker: _Worker, is_final: IsFinal) -> None:
        super().__init__(files, worker, is_final)
        self._worker = worker
        self._pending: dict[str, FinishedRow] = {}
        self._committing = asyncio.Lock()
        self._commit_under_way: asyncio.Task[None] | None = None
        self._commit_error: BaseException | None = None
        self._work = Background()
        self._calls: _Calls = {}
        self._inherited: _Calls = {}
        """Calls that other workers recorded: of an earlier run with another number of shards, or another cut."""
        self._recover()
        self._journal = Journal(files, f"journal/{worker}")

    def owns(self, row_id: str, group: str | None = None) -> bool:
        """Whether this worker makes the row. `group` is a digest that a row shares with the rows it belongs to."""
        return self._bucket(row_id, group) in self._worker.buckets

    def label(self, row_id: str) -> str | None:
        """See `RowReader.label`."""
        row = self._pending.get(row_id)
        return row.label if row else super().label(row_id)

    def read(self, row_id: str) -> dict[str, Any]:
        """See `RowReader.read`."""
        row = self._pending.get(row_id)
        return row.payload if row else super().read(row_id)

    def calls(self, row_id: str) -> dict[str, dict[str, Any]]:
        """The recorded calls of an unfinished row: payload by key."""
        return self._inherited.get(row_id, {}) | self._calls.get(row_id, {})

    async def record(self, row_id: str, key: str, payload: dict[str, Any]) -> None:
        """Store a finished call (a JSON object), durable as in `Log.append`. `key` names it within its row."""
        self._calls.setdefault(row_id, {})[key] = payload
        await self._journal.append(Call(row_id, key, payload))

    async def finish(self, row_id: str, payload: dict[str, Any], *, label: str, group: str | None = None) -> None:
        """Store a finished row (a JSON object). It is committed later, together with others.

        Returns at once unless commits are so slow that many thousand rows wait for them. Raises the error of a commit
        that failed meanwhile.
        """
        self._pending[row_id] = FinishedRow(row_id, label, payload, self._bucket(row_id, group))
        if self._commit_under_way is None and len(self._pending) >= _FLUSH_ROWS and self._commit_error is None:
            self._commit_under_way = self._work.start(self._commit_in_background())
        while self._commit_under_way is not None and len(self._pending) >= _MOST_PENDING * _FLUSH_ROWS:
            await asyncio.shield(self._commit_under_way)
        if self._commit_error is not None:
            raise self._commit_error

    async def commit(self) -> None:
        """Write the finished rows into parts and drop their calls from the journal."""
        await self._work.run(self._commit())

    async def drop_inherited(self) -> None:
        """Remove the calls of rows that are finished now from the journals that earlier runs left."""
        if self._inherited:
            await asyncio.to_thread(self._drop_inherited)

    async def close(self) -> None:
        """Wait until all recorded calls are durable, then close the journal. Delete it if it is empty."""
        await self._work.drain()
        await self._journal.close(delete=not self._calls)

    def _bucket(self, row_id: str, group: str | None) -> int:
        return bucket_of(group if group is not None and self._worker.grouped else row_id)

    async def _commit_in_background(self) -> None:
        try:
            await self._commit()
        except BaseException as error:
            self._commit_error = error
        finally:
            self._commit_under_way = None

    async def _commit(self) -> None:
        async with self._committing:
            rows = list(self._pending.values())
            if not rows:
                return
            self._locations.update(await asyncio.to_thread(self._write_parts, rows))
            for row in rows:
                if self._pending[row.row_id] is row:
                    del self._pending[row.row_id]
                    self._calls.pop(row.row_id, None)
            await self._journal.replace(lambda: list(_flatten(self._calls)))

    def _write_parts(self, rows: list[FinishedRow]) -> dict[str, RowLocation]:
        # Higher than the number of any part that may hold an earlier version of these rows.
        self._last_number += 1
        members: defaultdict[int, list[FinishedRow]] = defaultdict(list)
        for row in rows:
            members[row.bucket].append(row)

        def write(bucket: int) -> dict[str, RowLocation]:
            name = f"parts/{_GROUPED * self._worker.grouped}{bucket:02x}-{self._last_number:06d}"
            data, locations = encode_part(name, sorted(members[bucket], key=lambda row: row.row_id))
            self._files.create(name, data)
            return locations

        locations: dict[str, RowLocation] = {}
        with ThreadPoolExecutor(_WRITERS, thread_name_prefix="parts") as threads:
            for part in threads.map(write, sorted(members)):
                locations |= part
        return locations

    def _recover(self) -> None:
        """Read the calls of unfinished rows. This worker's own journal becomes one file that holds no other calls."""
        own = f"journal/{self._worker}"
        names = [name for name in self._files.names("journal") if _Worker.of(name) == self._worker]
        self._calls = _by_row(call for name in names for call in self._unfinished(name)[0])
        if self._calls:
            self._files.put(own, encode_calls(_flatten(self._calls)))
        # After the one file is durable; a crash in between leaves the calls in several files.
        for name in names:
            if name != own or not self._calls:
                self._files.delete(name)
        self._inherited = _by_row(self._drop_finished())

    def _drop_finished(self) -> Iterator[Call]:
        """Remove the calls of finished rows from the journals of other workers; the calls that are left."""
        for name in self._files.names("journal"):
            writer = _Worker.of(name)
            if writer == self._worker or not writer.overlaps(self._worker):
                continue
            left, dropped = self._unfinished(name)
            if not left:
                self._files.delete(name)
            elif dropped:
                self._files.put(name, encode_calls(left))
            yield from left

    def _unfinished(self, journal: str) -> tuple[list[Call], bool]:
        """The calls of a journal whose rows are not finished, and whether there are others."""
        calls = list(decode_calls(f"{self._files}/{journal}", self._files.read(journal)))
        left = [call for call in calls if not self.finished(call.row_id)]
        return left, len(left) < len(calls)

    def _drop_inherited(self) -> None:
        with self._files.lock(_OPEN_LOCK, wait=True):
            self._inherited = _by_row(self._drop_finished())


@asynccontextmanager
async def open_rows(
    place: RowFiles | Path,
    *,
    shard: int = 0,
    shards: int = 1,
    is_final: IsFinal = _any_label,
    grouped: bool = False,
) -> AsyncIterator[RowStore]:
    """The rows at `place` (`Workspace.rows`, or a folder) that worker `shard` of `shards` owns, for this process alone.

    `grouped` shares rows out by their group, so that one worker makes all rows of a group; else by their own ids. Rows
    are found whichever way they were made, and by any number of shards. Raises `OpenCharacterError` if another process
    writes some of these rows (`RowFiles.lock`), or if the medium fails. Inside the block SIGTERM acts as Ctrl-C does
    under `asyncio.run`: the task that opened the rows is cancelled, recorded calls become durable, and
    `KeyboardInterrupt` is raised.
    """
    files, worker = _files_at(place), _Worker(shard, shards, grouped)
    with ExitStack() as locks, _sigterm_cancels():
        with files.lock(_OPEN_LOCK, wait=True):
            _refuse_rivals(files, worker)
            locks.enter_context(files.lock(f"locks/{worker}", wait=True))
            store = RowStore(files, worker, is_final)
        try:
            yield store
            await store.commit()
            await store.drop_inherited()
        finally:
            await store.close()


def read_rows(
    place: RowFiles | Path,
    *,
    shard: int = 0,
    shards: int = 1,
    is_final: IsFinal = _any_label,
    grouped: bool = False,
) -> RowReader:
    """The committed rows at `place`: those that worker `shard` of `shards` would find, by default all."""
    return RowReader(_files_at(place), _Worker(shard, shards, grouped), is_final)


def _files_at(place: RowFiles | Path) -> RowFiles:
    return LocalRowFiles(place) if isinstance(place, Path) else place


@contextmanager
def _sigterm_cancels() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop, task, before = asyncio.get_running_loop(), asyncio.current_task(), signal.getsignal(signal.SIGTERM)
    received = False

    def stop() -> None:
        nonlocal received
        received = True
        if task is not None:
            task.cancel()

    loop.add_signal_handler(signal.SIGTERM, stop)
    try:
        yield
    except asyncio.CancelledError:
        if received:
            raise KeyboardInterrupt from None
        raise
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
        signal.signal(signal.SIGTERM, before)


def _refuse_rivals(files: RowFiles, worker: _Worker) -> None:
    for name in files.names("locks"):
        if name == _OPEN_LOCK or not _Worker.of(name).overlaps(worker):
            continue
        with files.lock(name, wait=False) as free:
            if not free:
                raise OpenCharacterError(
                    f"another process is making the same rows: {files} is in use by worker {_Worker.of(name)}",
                    hint="wait until it has ended, or stop it",
                )


def _number_of(part: str) -> int:
    return int(part.rsplit("-", 1)[1])


def _by_row(calls: Iterable[Call]) -> _Calls:
    by_row: _Calls = {}
    for call in calls:
        by_row.setdefault(call.row_id, {}).setdefault(call.key, call.payload)
    return by_row


def _flatten(calls: _Calls) -> Iterator[Call]:
    return (Call(row_id, key, payload) for row_id, made in calls.items() for key, payload in made.items())
