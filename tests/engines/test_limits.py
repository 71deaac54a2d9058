import asyncio

import pytest

from opencharacter.engines import limits
from opencharacter.engines.limits import ConcurrencyLimit, Health


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(limits, "time", clock)
    return clock


def test_a_server_that_never_answered_is_given_up_sooner_than_one_that_did(clock: Clock) -> None:
    fresh, proven = Health(), Health()
    proven.succeeded()
    for health in (fresh, proven):
        health.failed()
        health.failed()
    clock.now += limits.FIRST_PATIENCE_S
    assert fresh.is_down
    assert not proven.is_down
    clock.now += limits.PATIENCE_S - limits.FIRST_PATIENCE_S
    assert proven.is_down


def test_an_answer_resets_the_patience(clock: Clock) -> None:
    health = Health()
    health.failed()
    health.failed()
    clock.now += limits.PATIENCE_S - 1
    health.succeeded()
    health.failed()
    clock.now += limits.PATIENCE_S - 1
    assert not health.is_down


@pytest.mark.parametrize(("successes_in_hundred", "down"), [(2, True), (50, False)])
def test_rare_answers_do_not_hide_that_nearly_everything_fails(
    clock: Clock, successes_in_hundred: int, down: bool
) -> None:
    health = Health()
    for number in range(200):
        clock.now += 1
        if number % (100 // successes_in_hundred) == 0:
            health.succeeded()
        else:
            health.failed()
    assert health.is_down is down


def test_requests_given_up_for_good_need_no_patience() -> None:
    health = Health()
    for _ in range(19):
        health.gave_up()
    assert not health.is_down
    health.gave_up()
    assert health.is_down


def test_one_burst_of_refusals_lowers_the_limit_once(clock: Clock) -> None:
    limit = ConcurrencyLimit(16)
    sent_at = clock.now
    clock.now += 1
    for _ in range(16):
        limit.refused(sent_at)
    assert limit.limit == 12
    clock.now += 1
    for _ in range(100):
        limit.refused(clock.now)
        clock.now += 1
    assert limit.limit == 1, "at least one request must be able to go"


async def test_a_cancelled_wait_loses_no_place() -> None:
    limit = ConcurrencyLimit(1)
    reached: list[str] = []

    async def hold(name: str) -> None:
        async with limit.slot():
            reached.append(name)

    async with limit.slot():
        waiting = [asyncio.create_task(hold(name)) for name in ("a", "b", "c")]
        await asyncio.sleep(0)
        waiting[0].cancel()
    # The place has just been handed to b, which is cancelled before it can take it.
    waiting[1].cancel()
    await asyncio.wait_for(waiting[2], 5)
    await hold("d")
    assert reached == ["c", "d"]


async def test_room_that_is_offered_to_somebody_who_is_cancelled_goes_to_the_next() -> None:
    limit = ConcurrencyLimit(1)
    async with limit.slot():
        waiting = [asyncio.create_task(limit.room()) for _ in range(2)]
        await asyncio.sleep(0)
        assert not any(task.done() for task in waiting)
    waiting[0].cancel()
    await asyncio.wait_for(waiting[1], 5)
