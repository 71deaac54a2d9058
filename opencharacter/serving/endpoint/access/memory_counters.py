"""Counters of one process."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from opencharacter.serving.endpoint.access.quotas import Quota, Taken, Usage, first_refusal


class MemoryCounters:
    """Counts in memory: each process of each replica grants the whole quota."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._counts: dict[tuple[str, str], tuple[int, int]] = {}
        """The window and the amount used in it, by owner and quota: one entry a key's quota, however many windows."""

    async def take(self, owner: str, quotas: Sequence[Quota], amount: int) -> Taken:
        """See `Counters`."""
        now = int(self._clock())
        usages = tuple(self._usage(owner, quota, now) for quota in quotas)
        if refused := first_refusal(usages, amount):
            return Taken(amount, usages, refused)
        for usage in usages:
            self._counts[owner, usage.quota.name] = (usage.window, usage.used + amount)
        return Taken(amount, tuple(replace(usage, used=usage.used + amount) for usage in usages), None)

    async def correct(self, owner: str, taken: Taken, amount: int) -> None:
        """See `Counters`."""
        now, change = int(self._clock()), amount - taken.amount
        for usage in taken.usages:
            current = self._usage(owner, usage.quota, now)
            if current.window == usage.window or change > 0:
                self._counts[owner, usage.quota.name] = (current.window, max(0, current.used + change))

    async def close(self) -> None:
        """There is nothing to end."""

    def _usage(self, owner: str, quota: Quota, now: int) -> Usage:
        window = now - now % quota.period_s
        counted, used = self._counts.get((owner, quota.name), (window, 0))
        return Usage(quota, used if counted == window else 0, window, window + quota.period_s - now)
