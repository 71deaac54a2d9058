import asyncio
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencharacter.engines import ChatFailed, EngineDown, Tally, run_bounded
from opencharacter.engines.limits import ConcurrencyLimit
from opencharacter.progress import Progress
from opencharacter.records.models import Usage


@given(items=st.lists(st.integers()), limit=st.integers(1, 5))
def test_every_item_is_worked_on_once_and_drawn_only_when_a_place_is_free(items: list[int], limit: int) -> None:
    drawn: list[int] = []
    finished: list[int] = []
    most_open = 0

    def stream() -> Iterator[int]:
        nonlocal most_open
        for item in items:
            drawn.append(item)
            most_open = max(most_open, len(drawn) - len(finished))
            yield item

    async def work(item: int) -> None:
        await asyncio.sleep(0)
        finished.append(item)

    tally = asyncio.run(run_bounded(work, stream(), limit=limit))
    assert sorted(finished) == sorted(items)
    assert most_open <= limit
    assert tally == Tally(done=len(items))


async def test_failed_calls_are_counted_and_the_rest_goes_on() -> None:
    async def work(item: int) -> Usage:
        if item % 3 == 0:
            raise ChatFailed(f"row {item}")
        return Usage(calls=1, completion_tokens=10)

    bar = Progress("rewrite", total=10)
    tally = await run_bounded(work, range(10), limit=4, bar=bar)
    assert (tally.done, tally.failed) == (6, 4)
    assert str(tally.last_error).startswith("row ")
    assert (bar.rows, bar.tokens, bar.errors) == (10, 60, 4)


async def test_rows_that_wait_for_the_disk_leave_their_place_to_others() -> None:
    places, disk = ConcurrencyLimit(2), asyncio.Event()
    asked: list[int] = []

    async def work(item: int) -> None:
        async with places.slot():
            asked.append(item)
            await asyncio.sleep(0)
        await disk.wait()

    run = asyncio.create_task(run_bounded(work, range(9), limit=4, room=places.room))
    for _ in range(50):
        await asyncio.sleep(0)
    assert asked == [0, 1, 2, 3], "two wait for the disk while two more are asked; more would be kept in memory"
    disk.set()
    assert (await run).done == len(asked) == 9


@given(requests=st.lists(st.integers(0, 3)), places=st.integers(1, 3), limit=st.integers(1, 6), runs=st.integers(1, 2))
def test_no_place_is_lost_whatever_rows_do_with_theirs(requests: list[int], places: int, limit: int, runs: int) -> None:
    """Rows that the journal answers take no place, and two runs may share an engine."""

    async def run() -> tuple[int, int]:
        engine = ConcurrencyLimit(places)
        at_once = most = 0

        async def work(count: int) -> None:
            nonlocal at_once, most
            for _ in range(count):
                async with engine.slot():
                    at_once += 1
                    most = max(most, at_once)
                    await asyncio.sleep(0)
                    at_once -= 1
                await asyncio.sleep(0)

        all_runs = [run_bounded(work, requests, limit=limit, room=engine.room) for _ in range(runs)]
        return sum(tally.done for tally in await asyncio.wait_for(asyncio.gather(*all_runs), 60)), most

    done, most = asyncio.run(run())
    assert done == runs * len(requests)
    assert most <= places


async def test_a_row_that_has_begun_is_asked_before_a_new_one_begins() -> None:
    places = ConcurrencyLimit(1)
    asked: list[tuple[int, int]] = []

    async def work(item: int) -> None:
        for turn in range(3):
            async with places.slot():
                asked.append((item, turn))
                await asyncio.sleep(0)

    await run_bounded(work, range(3), limit=2, room=places.room)
    assert asked == [(item, turn) for item in range(3) for turn in range(3)]


class _Journal:
    """Work that never ends by itself and journals when it is cancelled."""

    def __init__(self) -> None:
        self.closed: list[int] = []

    async def work(self, item: int) -> None:
        if item == 3:
            raise EngineDown("gone")
        try:
            await asyncio.Event().wait()
        finally:
            self.closed.append(item)


async def test_an_engine_that_is_down_cancels_the_rest_and_is_raised() -> None:
    journal = _Journal()
    with pytest.raises(EngineDown, match="gone"):
        await run_bounded(journal.work, iter(range(1000)), limit=4)
    assert journal.closed == [0, 1, 2]


async def test_a_cancellation_waits_until_the_work_has_ended() -> None:
    closed: list[int] = []
    started = asyncio.Event()

    async def work(item: int) -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            closed.append(item)

    task = asyncio.create_task(run_bounded(work, range(1000), limit=3))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert closed == [0, 1, 2]


async def test_an_error_of_the_stream_itself_is_raised() -> None:
    def stream() -> Iterator[int]:
        yield 1
        raise ValueError("line 2 is broken")

    async def work(item: int) -> None:
        await asyncio.sleep(0)

    with pytest.raises(ValueError, match="line 2"):
        await run_bounded(work, stream(), limit=2)
