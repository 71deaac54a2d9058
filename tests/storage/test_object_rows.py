"""The row store in a real S3 server: what a kill costs, who may write, and what faults change (nothing)."""

import asyncio
import multiprocessing
import os
import signal
import threading
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.faulty_proxy import FaultyProxy
from support.object_store import BUCKET, ObjectStore

from opencharacter.errors import OpenCharacterError
from opencharacter.hashing import digest
from opencharacter.storage import RowFiles, RowStore, Workspace, open_rows, read_rows, rowstore
from opencharacter.storage.journal import Call, decode_calls, encode_call
from opencharacter.storage.s3 import lease
from opencharacter.storage.s3 import rows as s3_rows


@pytest.fixture(autouse=True)
def short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "LEASE_S", 4.0)
    monkeypatch.setattr(s3_rows, "FLUSH_S", 0.1)
    monkeypatch.setattr(rowstore, "_FLUSH_ROWS", 20)


@pytest.fixture
def files(s3_root: str) -> RowFiles:
    return Workspace(s3_root).rows("tests")


def group_of(number: int) -> str:
    """The group of a row: every seventh row is of the same one."""
    return digest(["group", number % 7])


async def make(
    files: RowFiles,
    numbers: range,
    *,
    shard: int = 0,
    shards: int = 1,
    finish: bool = True,
    grouped: bool = False,
) -> int:
    """Make the rows of `numbers`, a call each; returns the number of calls that were not there."""
    asked = 0
    async with open_rows(files, shard=shard, shards=shards, grouped=grouped) as store:

        async def row(number: int) -> None:
            nonlocal asked
            row_id = digest(number)
            if not store.owns(row_id, group_of(number)) or store.finished(row_id):
                return
            if not store.calls(row_id):
                asked += 1
                await store.record(row_id, "1", {"text": f"said {number}"})
            if finish:
                await store.finish(row_id, {"number": number}, label="ok", group=group_of(number))

        await asyncio.gather(*map(row, numbers))
    return asked


def journalled(files: RowFiles) -> set[str]:
    calls = [call for name in files.names("journal") for call in decode_calls(name, files.read(name))]
    return {call.row_id for call in calls}


async def test_rows_are_kept_and_asked_for_once(files: RowFiles, s3_root: str) -> None:
    assert await make(files, range(60)) == 60
    again = Workspace(s3_root).rows("tests")
    assert await make(again, range(60)) == 0
    rows = read_rows(again)
    assert [rows.read(digest(number))["number"] for number in range(60)] == list(range(60))
    assert again.names("journal") == []


async def test_calls_move_between_shard_counts(files: RowFiles) -> None:
    assert await make(files, range(40), finish=False) == 40
    assert len(journalled(files)) == 40
    assert [await make(files, range(40), shard=shard, shards=2) for shard in range(2)] == [0, 0]
    assert len(read_rows(files)) == 40
    assert files.names("journal") == []


async def test_a_live_worker_is_not_disturbed(files: RowFiles, s3_root: str) -> None:
    async with open_rows(files, shard=1, shards=2) as store:
        rival = Workspace(s3_root).rows("tests")
        # In a thread of its own, so that the first worker goes on meanwhile.
        with pytest.raises(OpenCharacterError, match=f"{s3_root}/rows/tests is in use by worker 1-of-2"):
            await asyncio.to_thread(lambda: asyncio.run(make(rival, range(5))))
        assert await asyncio.to_thread(lambda: asyncio.run(make(rival, range(9), shard=0, shards=2))) > 0
        await store.commit()


async def test_a_worker_that_lost_its_lease_writes_no_more(
    files: RowFiles, s3_root: str, s3_server: ObjectStore
) -> None:
    lock = f"{s3_root.removeprefix(f's3://{BUCKET}/')}/rows/tests/locks/0-of-1"

    async def overtaken() -> None:
        async with open_rows(files) as store:
            s3_server.client().put_object(Bucket=BUCKET, Key=lock, Body=b'{"owner": "another", "renewal": 0}')
            await _until_refused(store)

    with pytest.raises(OpenCharacterError, match="another worker may hold it now"):
        await overtaken()
    assert files.names("parts") == []


async def _until_refused(store: RowStore) -> None:
    for number in range(1000):
        await store.record(digest(number), "1", {})
        await asyncio.sleep(0.02)


async def test_parts_of_two_writers_never_replace_each_other(files: RowFiles) -> None:
    files.create("parts/00-000001", b"one")
    files.create("parts/00-000001", b"one")  # a retry after a lost answer
    with pytest.raises(OpenCharacterError, match=r"parts/00-000001' was written by another process"):
        files.create("parts/00-000001", b"two")


def test_faults_lose_no_call(s3_proxy: FaultyProxy, s3_root: str) -> None:
    faults = [
        s3_proxy.fail("lost_answer", "PUT", "locks/0-of-1"),
        s3_proxy.fail("drop", "PUT", "locks/open"),
        s3_proxy.fail("slow_down", "PUT", "journal/0-of-1"),
        s3_proxy.fail("cut_request", "PUT", "parts/"),
        s3_proxy.fail("lost_answer", "PUT", "parts/"),
        s3_proxy.fail("cut_answer", "GET", "parts/"),
        s3_proxy.fail("drop", "POST", "delete"),
    ]
    files = Workspace(s3_root).rows("tests")
    assert asyncio.run(make(files, range(60))) == 60
    rows = read_rows(Workspace(s3_root).rows("tests"))
    assert sorted(rows) == sorted(map(digest, range(60)))
    assert [fault.hits for fault in faults if fault.hits != fault.times] == []


def test_a_flush_that_fails_is_told(s3_proxy: FaultyProxy, s3_root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    log = Workspace(s3_root).rows("tests").open_log("journal/0-of-1")
    s3_proxy.fail("drop", "PUT", "journal/0-of-1", times=99)
    log.append(encode_call(Call("a", "1", {})))
    with pytest.raises(OpenCharacterError, match=r"journal/0-of-1.*cannot be used"):
        log.close()
    with pytest.raises(OpenCharacterError, match="cannot be used"):
        log.append(b"more")


def test_while_the_store_is_slow_the_journal_waits(s3_proxy: FaultyProxy, s3_root: str) -> None:
    files = Workspace(s3_root).rows("tests")
    log = files.open_log("journal/0-of-1")
    s3_proxy.fail("stall", "PUT", "journal/0-of-1")
    log.append(b"under way ")
    assert s3_proxy.stalled.wait(20)
    log.append(b"in memory ")
    threading.Event().wait(2 * s3_rows.FLUSH_S)
    more = threading.Thread(target=log.append, args=(b"and later",))
    more.start()
    more.join(0.3)
    assert more.is_alive(), "a second interval of calls is not taken while the first is not written"
    s3_proxy.resumed.set()
    more.join(20)
    log.close()
    assert files.read("journal/0-of-1") == b"under way in memory and later"


@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(1, 30), st.integers(1, 3), st.booleans(), st.booleans()), max_size=4))
def test_any_history_of_runs_keeps_every_row(s3_root: str, runs: list[Any]) -> None:
    files = Workspace(f"{s3_root}/{digest([str(runs), time.monotonic()])[:8]}").rows("tests")
    finished: set[str] = set()
    recorded: set[str] = set()
    for until, shards, complete, grouped in runs:
        for shard in range(shards):
            asked = asyncio.run(make(files, range(until), shard=shard, shards=shards, finish=complete, grouped=grouped))
            owned = {
                digest(number)
                for number in range(until)
                if rowstore.bucket_of(group_of(number) if grouped else digest(number)) % shards == shard
            }
            assert asked == len(owned - recorded)
            finished |= owned if complete else set()
        recorded |= set(map(digest, range(until)))
    assert set(read_rows(files)) == finished


def _work_until_killed(root: str, told: Any) -> None:
    async def work() -> None:
        async with open_rows(Workspace(root).rows("tests")) as store:
            for number in range(10**6):
                await store.record(digest(number), "1", {"text": "x" * 200})
                told.send((number, time.monotonic()))
                await asyncio.sleep(0.015)

    asyncio.run(work())


def test_a_kill_costs_one_flush_interval(s3_root: str) -> None:
    ours, theirs = multiprocessing.Pipe(duplex=False)
    worker = multiprocessing.get_context("fork").Process(target=_work_until_killed, args=(s3_root, theirs))
    worker.start()
    theirs.close()
    told = [ours.recv() for _ in range(300)]
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    killed = time.monotonic()
    worker.join()
    while ours.poll(0.1):
        try:
            told.append(ours.recv())
        except EOFError:
            break
    files = Workspace(s3_root).rows("tests")
    durable = journalled(files)
    lost = [number for number, _ in told if digest(number) not in durable]
    assert len(durable) > 0
    assert lost == list(range(len(durable), len(told))), "the last ones"
    # The interval, and the time of a request on a busy machine.
    assert all(when > killed - s3_rows.FLUSH_S - 3 for number, when in told if number in lost)
    began = time.monotonic()
    assert asyncio.run(make(files, range(len(told)), finish=False)) == len(lost)
    assert time.monotonic() - began < 4 * lease.LEASE_S, "the killed worker's lease has run out"
