"""Rows that cost LLM calls, stored so that finished calls are reused (docs/design.md, decision 3)."""

import asyncio
import signal
import threading
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from opencharacter.errors import OpenCharacterError
from opencharacter.storage.background import Background
from opencharacter.storage.journal import Call, Journal, decode_calls, encode_call
from opencharacter.storage.local import LocalRowFiles
from opencharacter.storage.parts import FinishedRow, RowLocation, encode_part, read_index, read_row
from opencharacter.storage.protocols import RowFiles

BUCKETS = 256
"""Rows are spread over this many buckets by the first byte of their id; fixed, so that any shard count fits."""

IsFinal = Callable[[str], bool]
"""Whether a row with this label is final; other rows are made again."""

_FLUSH_ROWS = 4096
_Calls = dict[str, dict[str, dict[str, Any]]]


def bucket_of(row_id: str) -> int:
    """The bucket of a row: the first byte of its id, which is a digest in hex."""
    return int(row_id[:2], 16)


def _any_label(label: str) -> bool:
    return True


class RowReader:
    """The committed rows of a store. Holds their locations in memory (some 300 bytes a row), not their content."""

    def __init__(self, files: RowFiles, buckets: range, is_final: IsFinal) -> None:
        self._files = files
        self._is_final = is_final
        self._locations: dict[str, RowLocation] = {}
        parts = [part for part in files.names("parts") if _bucket_of_part(part) in buckets]
        files.prefetch(parts)
        for part in parts:
            self._locations.update(read_index(files, part))

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
    makes the same row from them without a new call. Finished rows are committed in parts of some thousand rows, and
    when `open_rows` ends without an error. A row may be finished again; the last version counts.
    """

    def __init__(self, files: RowFiles, shard: int, shards: int, is_final: IsFinal) -> None:
        self._buckets = range(shard, BUCKETS, shards)
        super().__init__(files, self._buckets, is_final)
        self._pending: dict[str, FinishedRow] = {}
        self._committing = asyncio.Lock()
        self._work = Background()
        name = f"journal/{_worker(shard, shards)}"
        self._calls = self._recover(name)
        self._journal = Journal(files, name)

    def owns(self, row_id: str) -> bool:
        """Whether this worker makes the row."""
        return bucket_of(row_id) in self._buckets

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
        return dict(self._calls.get(row_id, {}))

    async def record(self, row_id: str, key: str, payload: dict[str, Any]) -> None:
        """Store a finished call (a JSON object), durable as in `Log.append`. `key` names it within its row."""
        self._calls.setdefault(row_id, {})[key] = payload
        await self._journal.append(Call(row_id, key, payload))

    async def finish(self, row_id: str, payload: dict[str, Any], *, label: str) -> None:
        """Store a finished row (a JSON object). It is committed later, together with others."""
        self._pending[row_id] = FinishedRow(row_id, label, payload)
        if len(self._pending) >= _FLUSH_ROWS:
            await self._work.run(self._commit(_FLUSH_ROWS))

    async def commit(self) -> None:
        """Write the finished rows into parts and drop their calls from the journal."""
        await self._work.run(self._commit(1))

    async def close(self) -> None:
        """Wait until all recorded calls are durable, then close the journal. Delete it if it is empty."""
        await self._work.drain()
        await self._journal.close(delete=not self._calls)

    async def _commit(self, at_least: int) -> None:
        async with self._committing:
            rows = list(self._pending.values())
            if len(rows) >= at_least:
                self._locations.update(await asyncio.to_thread(self._write_parts, rows))
                for row in rows:
                    del self._pending[row.row_id]
                    self._calls.pop(row.row_id, None)
                await self._journal.rewrite(lambda: _flatten(self._calls))

    def _write_parts(self, rows: list[FinishedRow]) -> dict[str, RowLocation]:
        last = {_bucket_of_part(part): int(part.rsplit("-", 1)[1]) for part in self._files.names("parts")}
        members: defaultdict[int, list[FinishedRow]] = defaultdict(list)
        for row in rows:
            members[bucket_of(row.row_id)].append(row)
        locations: dict[str, RowLocation] = {}
        for bucket in sorted(members):
            part = f"parts/{bucket:02x}-{last.get(bucket, 0) + 1:06d}"
            self._files.create(part, encode_part(sorted(members[bucket], key=lambda row: row.row_id)))
            locations |= read_index(self._files, part)
        return locations

    def _recover(self, own: str) -> _Calls:
        """Move the calls of this worker's unfinished rows out of all journals, for any shard count that wrote them."""
        calls: _Calls = {}
        others: dict[str, list[Call]] = {}
        for name in self._files.names("journal"):
            if not _overlap(_buckets_of(name), self._buckets):
                continue
            others[name] = []
            for call in decode_calls(f"{self._files}/{name}", self._files.read(name)):
                if not self.owns(call.row_id):
                    others[name].append(call)
                elif not self.finished(call.row_id):
                    calls.setdefault(call.row_id, {}).setdefault(call.key, call.payload)
        if calls:
            self._files.put(own, b"".join(map(encode_call, _flatten(calls))))
        # After this worker's journal is durable; a crash in between leaves the calls in both journals.
        for name, rest in others.items():
            if rest:
                self._files.put(name, b"".join(map(encode_call, rest)))
            elif name != own or not calls:
                self._files.delete(name)
        return calls


@asynccontextmanager
async def open_rows(
    place: RowFiles | Path, *, shard: int = 0, shards: int = 1, is_final: IsFinal = _any_label
) -> AsyncIterator[RowStore]:
    """The rows at `place` (`Workspace.rows`, or a folder) that worker `shard` of `shards` owns, for this process alone.

    Raises `OpenCharacterError` if another process writes some of these buckets (`RowFiles.lock`), or if the medium
    fails. Inside the block SIGTERM acts as Ctrl-C does under `asyncio.run`: the task that opened the rows is
    cancelled, recorded calls become durable, and `KeyboardInterrupt` is raised.
    """
    files = _files_at(place)
    with ExitStack() as locks, _sigterm_cancels():
        with files.lock("locks/open", wait=True):
            _refuse_rivals(files, shard, shards)
            locks.enter_context(files.lock(f"locks/{_worker(shard, shards)}", wait=True))
            store = RowStore(files, shard, shards, is_final)
        try:
            yield store
            await store.commit()
        finally:
            await store.close()


def read_rows(place: RowFiles | Path, *, shard: int = 0, shards: int = 1, is_final: IsFinal = _any_label) -> RowReader:
    """The committed rows at `place`: those of worker `shard` of `shards`, by default all."""
    return RowReader(_files_at(place), range(shard, BUCKETS, shards), is_final)


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


def _refuse_rivals(files: RowFiles, shard: int, shards: int) -> None:
    for name in files.names("locks"):
        if name == "locks/open" or not _overlap(_buckets_of(name), range(shard, BUCKETS, shards)):
            continue
        with files.lock(name, wait=False) as free:
            if not free:
                worker = name.removeprefix("locks/")
                raise OpenCharacterError(
                    f"another process is making the same rows: {files} is in use by worker {worker}",
                    hint="wait until it has ended, or stop it",
                )


def _worker(shard: int, shards: int) -> str:
    return f"{shard}-of-{shards}"


def _buckets_of(name: str) -> range:
    shard, shards = name.rsplit("/", 1)[1].split("-of-")
    return range(int(shard), BUCKETS, int(shards))


def _bucket_of_part(name: str) -> int:
    return int(name.removeprefix("parts/").split("-")[0], 16)


def _overlap(left: range, right: range) -> bool:
    return not set(left).isdisjoint(right)


def _flatten(calls: _Calls) -> Iterator[Call]:
    return (Call(row_id, key, payload) for row_id, made in calls.items() for key, payload in made.items())
