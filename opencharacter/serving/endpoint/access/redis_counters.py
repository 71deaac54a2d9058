"""Counters that all replicas share, in Redis or a server that speaks its protocol."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

from opencharacter.serving.endpoint.access.memory_counters import MemoryCounters
from opencharacter.serving.endpoint.access.quotas import Quota, Taken, Usage, first_refusal
from opencharacter.serving.endpoint.api_errors import ApiError

_TIMEOUT_S = 0.25
_PAUSE_S = 5.0
"""Without a query after one that failed, so that an outage costs requests no time."""
_MAX_CONNECTIONS = 64
_PREFIX = "opencharacter:quota"

# A hash for each quota holds the window and the amount used in it. The server's clock decides on the window. All keys
# of a script name their owner in braces, so that a cluster holds them on one node.
_READ = """
local now = tonumber(redis.call('TIME')[1])
local function usage(i)
  local period = tonumber(ARGV[2 * i + 1])
  local window = now - now % period
  local held = redis.call('HMGET', KEYS[i], 'window', 'used')
  return tonumber(held[1]) == window and tonumber(held[2]) or 0, window, period
end
local function write(i, used, window, period)
  redis.call('HSET', KEYS[i], 'window', window, 'used', used)
  redis.call('EXPIRE', KEYS[i], 2 * period)
end
local amount = tonumber(ARGV[1])
"""
# ARGV: the amount; limit and period of each quota.
_TAKE = (
    _READ
    + """
local granted, answer = true, {}
for i = 1, #KEYS do
  local used, window, period = usage(i)
  if used + amount > tonumber(ARGV[2 * i]) then granted = false end
  answer[i] = {used, window, window + period - now}
end
if granted then
  for i = 1, #KEYS do
    local used, window, period = usage(i)
    write(i, used + amount, window, period)
  end
end
return answer
"""
)
# ARGV: the change; window and period of each quota.
_CORRECT = (
    _READ
    + """
for i = 1, #KEYS do
  local used, window, period = usage(i)
  if window == tonumber(ARGV[2 * i]) or amount > 0 then write(i, math.max(0, used + amount), window, period) end
end
"""
)

_logger = logging.getLogger("kserve")


class RedisCounters:
    """Counts in Redis.

    While it does not answer, `open` counts in this process instead, and `closed` refuses (503).
    """

    def __init__(
        self, url: str, *, failure: Literal["open", "closed"], clock: Callable[[], float] = time.monotonic
    ) -> None:
        import redis.asyncio
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff

        pool = redis.asyncio.BlockingConnectionPool.from_url(
            url,
            max_connections=_MAX_CONNECTIONS,
            timeout=_TIMEOUT_S,
            socket_timeout=_TIMEOUT_S,
            socket_connect_timeout=_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
        )
        self._client = redis.asyncio.Redis.from_pool(pool)
        self._take, self._correct = self._client.register_script(_TAKE), self._client.register_script(_CORRECT)
        self._failures = (redis.exceptions.RedisError, OSError, TimeoutError)
        self._failure, self._clock = failure, clock
        self._own = MemoryCounters()
        self._paused_until = 0.0
        self._down = False

    async def take(self, owner: str, quotas: Sequence[Quota], amount: int) -> Taken:
        """See `Counters`. Raises `ApiError` (503) while Redis does not answer, if that is to refuse."""
        arguments = [amount, *(number for quota in quotas for number in (quota.limit, quota.period_s))]
        answer = await self._ask(self._take, owner, quotas, arguments)
        if answer is None:
            if self._failure == "closed":
                raise ApiError(
                    503,
                    "the rate limits cannot be checked",
                    code="rate_limits_unavailable",
                    retry_after_s=int(_PAUSE_S),
                )
            return await self._own.take(owner, quotas, amount)
        usages = tuple(Usage(quota, *numbers) for quota, numbers in zip(quotas, answer, strict=True))
        refused = first_refusal(usages, amount)
        if refused is None:
            usages = tuple(Usage(usage.quota, usage.used + amount, usage.window, usage.reset_s) for usage in usages)
        return Taken(amount, usages, refused)

    async def correct(self, owner: str, taken: Taken, amount: int) -> None:
        """See `Counters`. What cannot be written is counted in this process."""
        if amount == taken.amount:
            return
        quotas = [usage.quota for usage in taken.usages]
        arguments = [amount - taken.amount]
        arguments += [number for usage in taken.usages for number in (usage.window, usage.quota.period_s)]
        if await self._ask(self._correct, owner, quotas, arguments) is None:
            await self._own.correct(owner, taken, amount)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose(close_connection_pool=True)

    async def _ask(self, script: Any, owner: str, quotas: Sequence[Quota], arguments: list[int]) -> list[Any] | None:
        """The script's answer; None if there is none."""
        if self._clock() < self._paused_until:
            return None
        keys = [f"{_PREFIX}:{{{owner}}}:{quota.name}" for quota in quotas]
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                answer: list[Any] = await script(keys=keys, args=arguments) or []
        except self._failures as error:
            self._paused_until = self._clock() + _PAUSE_S
            if not self._down:
                what = "counted in this process" if self._failure == "open" else "refused"
                _logger.error("Redis does not answer (%s); requests are %s", type(error).__name__, what)
            self._down = True
            return None
        if self._down:
            _logger.warning("Redis answers again")
        self._down = False
        return answer
