"""The row store: nothing durable is lost, nothing torn is read, two writers never share a bucket."""

import asyncio
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opencharacter.errors import OpenCharacterError
from opencharacter.hashing import digest
from opencharacter.storage import RowStore, open_rows, read_rows, rowstore
from opencharacter.storage.journal import Call, decode_calls, encode_call
from opencharacter.storage.local import LocalRowFiles

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
CALLS = st.lists(st.builds(Call, st.text(), st.text(), st.dictionaries(st.text(), JSON, max_size=3)), max_size=6)


@given(CALLS, st.data())
def test_journal_cut_anywhere_holds_whole_calls_only(calls: list[Call], data: st.DataObject) -> None:
    lines = [encode_call(call) for call in calls]
    whole = b"".join(lines)
    cut = data.draw(st.integers(0, len(whole)))
    # A line whose newline alone is missing is whole: its checksum says so.
    durable = sum(len(b"".join(lines[: n + 1])) - 1 <= cut for n in range(len(lines)))
    assert list(decode_calls("journal", whole[:cut])) == calls[:durable]


@given(CALLS.filter(lambda calls: len(calls) >= 2), st.data())
def test_damaged_line_loses_itself_only(calls: list[Call], data: st.DataObject) -> None:
    lines = [bytearray(encode_call(call)) for call in calls]
    hit = data.draw(st.integers(0, len(lines) - 1))
    place = data.draw(st.integers(0, len(lines[hit]) - 2))
    lines[hit][place] ^= 1 << data.draw(st.sampled_from([0, 1, 2]))
    left = list(decode_calls("journal", b"".join(lines)))
    assert left == [call for n, call in enumerate(calls) if n != hit]


def test_damaged_line_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    data = encode_call(Call("a", "1", {})) + b"00000000 [garbage]\n" + encode_call(Call("b", "1", {})) + b"torn"
    assert [call.row_id for call in decode_calls("journal/0-of-1", data)] == ["a", "b"]
    assert [record.getMessage().split(":")[:2] for record in caplog.records] == [["journal/0-of-1", "2"]]


def group_of(number: int) -> str:
    """The group of a row: every seventh row is of the same one."""
    return digest(["group", number % 7])


async def make(
    root: Path, numbers: range, *, shard: int = 0, shards: int = 1, calls: int = 2, grouped: bool = False
) -> int:
    """Make the rows of `numbers` with so many calls each; the number of calls that were not there."""
    asked = 0
    async with open_rows(root, shard=shard, shards=shards, grouped=grouped) as store:

        async def row(number: int) -> None:
            nonlocal asked
            row_id = digest(number)
            if not store.owns(row_id, group_of(number)) or store.finished(row_id):
                return
            made = store.calls(row_id)
            for key in map(str, range(calls)):
                if key not in made:
                    asked += 1
                    await store.record(row_id, key, {"text": f"{number} {key}"})
            await store.finish(row_id, {"number": number}, label="ok", group=group_of(number))

        await asyncio.gather(*map(row, numbers))
    return asked


@asynccontextmanager
async def interrupted(opened: AbstractAsyncContextManager[RowStore]) -> AsyncIterator[RowStore]:
    """Ends the block as an interrupted run does, without a commit."""
    with suppress(asyncio.CancelledError):
        async with opened as store:
            yield store
            raise asyncio.CancelledError


async def record_only(root: Path, numbers: range, *, shard: int = 0, shards: int = 1, grouped: bool = False) -> None:
    """Record one call of each row and end without finishing any."""
    async with interrupted(open_rows(root, shard=shard, shards=shards, grouped=grouped)) as store:
        owned = [number for number in numbers if store.owns(digest(number), group_of(number))]
        await asyncio.gather(*(store.record(digest(n), "0", {"text": f"{n} 0"}) for n in owned))


async def test_rows_survive_in_order_of_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rowstore, "_FLUSH_ROWS", 64)
    assert await make(tmp_path, range(300)) == 600
    assert await make(tmp_path, range(300)) == 0
    rows = read_rows(tmp_path)
    assert len(rows) == 300
    assert [rows.read(digest(number))["number"] for number in range(300)] == list(range(300))
    assert not any(tmp_path.glob("journal/*")), "a finished store keeps no journal"
    assert rows.label(digest("other")) is None


async def test_calls_of_unfinished_rows_move_between_shard_counts(tmp_path: Path) -> None:
    await record_only(tmp_path, range(100))
    await record_only(tmp_path, range(100, 200), shard=1, shards=2)
    asked = [await make(tmp_path, range(200), shard=shard, shards=3, calls=1) for shard in range(3)]
    # Only the rows of 0-of-2 among the second hundred had no call.
    assert sum(asked) == sum(rowstore.bucket_of(digest(number)) % 2 == 0 for number in range(100, 200))
    assert len(read_rows(tmp_path)) == 200
    assert not any(tmp_path.glob("journal/*"))


async def test_torn_tail_is_cut_off_before_more_is_written(tmp_path: Path) -> None:
    await record_only(tmp_path, range(3))
    journal = tmp_path / "journal" / "0-of-1"
    journal.write_bytes(journal.read_bytes()[:-5])
    await record_only(tmp_path, range(3, 6))
    recorded = {call.row_id for call in decode_calls("journal", journal.read_bytes())}
    assert len(recorded) == 5
    assert {digest(number) for number in range(3, 6)} <= recorded


async def test_recorded_call_survives_cancellation(tmp_path: Path) -> None:
    async with open_rows(tmp_path) as store:
        task = asyncio.create_task(store.record(digest(1), "0", {"text": "said"}))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    async with open_rows(tmp_path) as store:
        assert store.calls(digest(1)) == {"0": {"text": "said"}}


async def test_row_that_is_not_final_is_made_again(tmp_path: Path) -> None:
    async with open_rows(tmp_path) as store:
        await store.finish(digest(1), {"try": 1}, label="bad")
    async with interrupted(open_rows(tmp_path, is_final=lambda label: label == "ok")) as store:
        assert not store.finished(digest(1))
        await store.record(digest(1), "0", {})
    async with open_rows(tmp_path, is_final=lambda label: label == "ok") as store:
        assert store.calls(digest(1)) == {"0": {}}
        await store.finish(digest(1), {"try": 2}, label="ok")
    assert read_rows(tmp_path).read(digest(1)) == {"try": 2}


@pytest.mark.parametrize(("shard", "shards"), [(0, 1), (1, 2), (3, 4)])
async def test_overlapping_workers_are_refused(tmp_path: Path, shard: int, shards: int) -> None:
    async with open_rows(tmp_path, shard=1, shards=2):
        async with open_rows(tmp_path, shard=0, shards=2):
            pass
        with pytest.raises(OpenCharacterError, match="in use by worker 1-of-2"):
            async with open_rows(tmp_path, shard=shard, shards=shards):
                pass


async def test_damaged_part_is_named(tmp_path: Path) -> None:
    await make(tmp_path, range(1))
    [part] = tmp_path.glob("parts/*")
    part.write_bytes(part.read_bytes().replace(b"number", b"nXmber"))
    with pytest.raises(OpenCharacterError, match=part.name):
        read_rows(tmp_path).read(digest(0))
    part.write_bytes(b"{")
    with pytest.raises(OpenCharacterError, match=part.name):
        read_rows(tmp_path)


@contextmanager
def files_no_longer_than(size: int) -> Iterator[None]:
    """The operating system cuts every write of this process there, as a full disk does."""
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)


async def test_full_disk_tears_nothing(tmp_path: Path) -> None:
    told: list[str] = []

    async def fill(store: RowStore) -> None:
        for number in range(9):
            await store.record(digest(number), "0", {"text": "x" * 30_000})
            told.append(digest(number))

    async with open_rows(tmp_path) as store:
        with files_no_longer_than(100_000), pytest.raises(OpenCharacterError, match=r"cannot write .*journal/0-of-1"):
            await fill(store)
    assert len(told) == 3
    data = (tmp_path / "journal" / "0-of-1").read_bytes()
    assert data == b"".join(encode_call(Call(row_id, "0", {"text": "x" * 30_000})) for row_id in told)


async def test_full_disk_leaves_no_half_part(tmp_path: Path) -> None:
    async with open_rows(tmp_path) as store:
        await store.record(digest(0), "0", {"text": "said"})
        await store.finish(digest(0), {"text": "x" * 200_000}, label="ok")
        with files_no_longer_than(100_000), pytest.raises(OpenCharacterError, match=r"cannot write .*parts/"):
            await store.commit()
        assert not any(tmp_path.glob("parts/*"))
        assert store.calls(digest(0)) == {"0": {"text": "said"}}
    assert read_rows(tmp_path).finished(digest(0))


def test_no_space_left_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "journal").mkdir()
    (tmp_path / "journal" / "log").symlink_to("/dev/full")
    log = LocalRowFiles(tmp_path).open_log("journal/log")
    with pytest.raises(OpenCharacterError, match="No space left on device"):
        log.append(b"line\n")
    log.close()


KILLED_WHILE_WRITING = """
import asyncio, sys
from pathlib import Path
from opencharacter.hashing import digest
from opencharacter.storage import open_rows

async def main():
    async with open_rows(Path(sys.argv[1])) as store:
        async def row(number):
            await store.record(digest(number), "0", {"text": "x" * 200})
            print(number, flush=True)
        for start in range(0, 10**6, 32):
            await asyncio.gather(*map(row, range(start, start + 32)))

asyncio.run(main())
"""


def test_what_was_told_durable_outlives_a_kill(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED_WHILE_WRITING, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = [process.stdout.readline() for _ in range(500)]
        process.kill()
        told += process.stdout.readlines()
    numbers = {int(line) for line in told if line.endswith("\n")}
    data = (tmp_path / "journal" / "0-of-1").read_bytes()
    assert {digest(number) for number in numbers} <= {call.row_id for call in decode_calls("journal", data)}


@settings(max_examples=25)
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 5), st.booleans(), st.booleans()), max_size=6))
def test_any_history_of_runs_keeps_every_row(tmp_path_factory: pytest.TempPathFactory, runs: list[Any]) -> None:
    """Runs of any length, number of shards and cut, finished or not: no call is made twice, no row is lost."""
    root = tmp_path_factory.mktemp("rows")
    finished: set[str] = set()
    recorded: set[str] = set()
    for until, shards, complete, grouped in runs:
        for shard in range(shards):
            work = (
                make(root, range(until), shard=shard, shards=shards, calls=1, grouped=grouped)
                if complete
                else record_only(root, range(until), shard=shard, shards=shards, grouped=grouped)
            )
            asked = asyncio.run(work)
            if complete:
                owned = {
                    digest(number)
                    for number in range(until)
                    if rowstore.bucket_of(group_of(number) if grouped else digest(number)) % shards == shard
                }
                assert asked == len(owned - recorded)
                finished |= owned
        recorded |= set(map(digest, range(until)))
    assert set(read_rows(root)) == finished
    # Whoever opens the rows next leaves no journal of a finished row.
    asyncio.run(make(root, range(41)))
    assert not any(root.glob("journal/*"))


async def test_the_last_version_of_a_row_counts_whichever_way_the_rows_were_shared_out(tmp_path: Path) -> None:
    row_id, group = digest(1), digest("group")
    for version, grouped in enumerate([True, False, True, True, False]):
        async with open_rows(tmp_path, grouped=grouped, is_final=lambda label: False) as store:
            await store.finish(row_id, {"version": version}, label="bad", group=group)
        assert read_rows(tmp_path).read(row_id) == {"version": version}
        assert read_rows(tmp_path, grouped=True).read(row_id) == {"version": version}


async def test_rows_are_not_shared_out_in_two_ways_at_once(tmp_path: Path) -> None:
    async with open_rows(tmp_path, shard=1, shards=2, grouped=True):
        async with open_rows(tmp_path, shard=0, shards=2, grouped=True):
            pass
        with pytest.raises(OpenCharacterError, match="in use by worker g1-of-2"):
            async with open_rows(tmp_path, shard=0, shards=2):
                pass


class StuckFiles(LocalRowFiles):
    """Files on a disk that writes no part until `resumed` is set, and none at all if `error` is set."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.reached = threading.Event()
        self.resumed = threading.Event()
        self.error: OpenCharacterError | None = None

    def create(self, name: str, data: bytes) -> None:
        self.reached.set()
        assert self.resumed.wait(20)
        if self.error is not None:
            raise self.error
        super().create(name, data)


@pytest.fixture
def small_commits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rowstore, "_FLUSH_ROWS", 4)
    monkeypatch.setattr(rowstore, "_MOST_PENDING", 3)


async def finish(store: RowStore, numbers: range) -> None:
    for number in numbers:
        await store.record(digest(number), "0", {"text": str(number)})
        await store.finish(digest(number), {"number": number}, label="ok")


@pytest.mark.usefixtures("small_commits")
async def test_nobody_waits_for_a_commit_until_too_many_rows_wait(tmp_path: Path) -> None:
    files = StuckFiles(tmp_path)
    async with open_rows(files) as store:
        await finish(store, range(11))
        assert await asyncio.to_thread(files.reached.wait, 20)
        one_too_many = asyncio.create_task(finish(store, range(11, 12)))
        # Its call is durable and the row is there; only its maker is held up.
        while store.label(digest(11)) is None:
            await asyncio.sleep(0)
        assert not one_too_many.done()
        files.resumed.set()
        await one_too_many
    rows = read_rows(tmp_path)
    assert [rows.read(digest(number))["number"] for number in range(12)] == list(range(12))
    assert not any(tmp_path.glob("journal/*"))


@pytest.mark.usefixtures("small_commits")
async def test_a_commit_that_fails_in_the_background_stops_the_work_and_loses_nothing(tmp_path: Path) -> None:
    files = StuckFiles(tmp_path)
    files.error = OpenCharacterError("no space left")
    files.resumed.set()
    with pytest.raises(OpenCharacterError, match="no space left"):
        async with open_rows(files) as store:
            await finish(store, range(1000))
    recorded = {call.row_id for path in tmp_path.glob("journal/*") for call in decode_calls("", path.read_bytes())}
    async with open_rows(tmp_path) as store:
        made = next(number for number in range(1000) if not store.calls(digest(number)))
        assert made >= 4
        assert recorded == {digest(number) for number in range(made)}


@pytest.mark.usefixtures("small_commits")
async def test_calls_of_rows_under_way_outlive_the_commits_of_others(tmp_path: Path) -> None:
    async with interrupted(open_rows(tmp_path)) as store:
        await store.record(digest("slow"), "0", {"text": "said"})
        await finish(store, range(20))
        await store.commit()
        await store.record(digest("slow"), "1", {"text": "and more"})
    async with open_rows(tmp_path) as store:
        assert store.calls(digest("slow")) == {"0": {"text": "said"}, "1": {"text": "and more"}}


@pytest.mark.usefixtures("small_commits")
async def test_an_interrupted_run_ends_the_commit_under_way_and_keeps_the_other_calls(tmp_path: Path) -> None:
    files = StuckFiles(tmp_path)
    async with interrupted(open_rows(files)) as store:
        await finish(store, range(6))
        assert await asyncio.to_thread(files.reached.wait, 20)
        # The disk goes on once the run is being ended.
        asyncio.get_running_loop().call_soon(files.resumed.set)
    assert set(read_rows(tmp_path)) == set(map(digest, range(4)))
    async with open_rows(tmp_path) as store:
        assert [number for number in range(6) if store.calls(digest(number))] == [4, 5]
