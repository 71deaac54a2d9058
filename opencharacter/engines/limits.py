"""How many requests are under way, and when a server counts as down."""

import asyncio
import time
from collections import deque

_DECREASE = 0.75
_SUCCESSES_PER_STEP = 25

_WINDOW = 50
_MOSTLY = 0.9
_MIN_FAILURES = 2
_MIN_REQUESTS = 20
FIRST_PATIENCE_S = 5.0
"""Seconds of failures alone after which a server that never answered counts as down."""
PATIENCE_S = 20.0
"""The same for a server that has answered before (it may be restarting)."""


class ConcurrencyLimit:
    """A semaphore whose size follows the server: × 0.75 on a 429, + 1 per 25 successes, between 1 and `most`."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._limit = float(most)
        self._under_way = 0
        self._successes = 0
        self._decreased_at = float("-inf")
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._starting: deque[asyncio.Future[None]] = deque()
        self._offered = 0
        """Places offered to those that wait for room, until they run."""

    @property
    def limit(self) -> int:
        """Requests allowed at once, now."""
        return int(self._limit)

    def slot(self) -> "ConcurrencyLimit":
        """Hold one place, inside `async with`; waits for it in order of arrival."""
        return self

    async def __aenter__(self) -> None:
        if not self._waiting and self._under_way < self.limit:
            self._under_way += 1
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self._release()
            raise

    async def __aexit__(self, *_: object) -> None:
        self._release()

    async def room(self) -> None:
        """Wait until a place is free and nobody waits for it, without taking it.

        If rows await this before they begin, all places are used however long rows do something else between two
        requests; and a row that has begun comes first.
        """
        loop = asyncio.get_running_loop()
        while self._waiting or self._under_way + self._offered >= self.limit:
            offer: asyncio.Future[None] = loop.create_future()
            self._starting.append(offer)
            try:
                await offer
            finally:
                if offer.done() and not offer.cancelled():
                    self._offered -= 1
                    # If the place is not taken by then, it is offered to the next.
                    loop.call_soon(self._admit)

    def succeeded(self) -> None:
        """Count a success; every 25th makes room for one more request."""
        self._successes += 1
        if self._successes % _SUCCESSES_PER_STEP == 0:
            self._limit = min(self._most, self._limit + 1)
            self._admit()

    def refused(self, started_at: float) -> None:
        """Count a 429 of a request sent at `started_at` (monotonic seconds).

        429s of requests that were already under way at the last decrease are ignored.
        """
        if started_at > self._decreased_at:
            self._limit = max(1.0, self._limit * _DECREASE)
            self._decreased_at = time.monotonic()

    def _release(self) -> None:
        self._under_way -= 1
        self._admit()

    def _admit(self) -> None:
        while self._waiting and self._under_way < self.limit:
            place = self._waiting.popleft()
            if not place.done():
                self._under_way += 1
                place.set_result(None)
        while self._starting and not self._waiting and self._under_way + self._offered < self.limit:
            offer = self._starting.popleft()
            if not offer.done():
                self._offered += 1
                offer.set_result(None)


class Health:
    """Decides from results whether a server counts as down.

    A server is down when nothing but failures, or more than nine failures in ten attempts, came for the patience; or
    when more than nine of ten requests have been given up for good.
    """

    def __init__(self) -> None:
        self._attempts: deque[bool] = deque(maxlen=_WINDOW)
        self._requests: deque[bool] = deque(maxlen=_WINDOW)
        self._answered = False
        self._failing_since: float | None = None
        self._bad_since: float | None = None

    def succeeded(self) -> None:
        """Count an answer."""
        self._answered = True
        self._attempts.append(True)
        self._requests.append(True)
        self._failing_since = None
        if not _mostly_failed(self._attempts):
            self._bad_since = None

    def failed(self) -> None:
        """Count an attempt that failed and may be repeated."""
        now = time.monotonic()
        self._attempts.append(False)
        if self._failing_since is None:
            self._failing_since = now
        if self._bad_since is None and _mostly_failed(self._attempts):
            self._bad_since = now

    def gave_up(self) -> None:
        """Count a request that failed for good."""
        self._requests.append(False)

    @property
    def is_down(self) -> bool:
        """Whether the caller should stop."""
        if len(self._requests) >= _MIN_REQUESTS and _mostly_failed(self._requests):
            return True
        patience = PATIENCE_S if self._answered else FIRST_PATIENCE_S
        since = [moment for moment in (self._failing_since, self._bad_since) if moment is not None]
        lasting = bool(since) and time.monotonic() - min(since) >= patience
        return lasting and self._attempts.count(False) >= _MIN_FAILURES


def _mostly_failed(outcomes: deque[bool]) -> bool:
    return outcomes.count(False) > _MOSTLY * len(outcomes)
