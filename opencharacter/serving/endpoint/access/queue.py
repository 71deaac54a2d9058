"""Back-pressure: so many requests at the model server, so many that wait, and no more."""

import asyncio
from collections import deque

from opencharacter.serving.endpoint.api_errors import ApiError

_RETRY_AFTER_S = 2


class RequestQueue:
    """Lets `max_in_flight` requests through at once; `max_queued` more wait, first come, first served."""

    def __init__(self, max_in_flight: int, max_queued: int, timeout_s: float) -> None:
        self._max_in_flight, self._max_queued, self._timeout_s = max_in_flight, max_queued, timeout_s
        self._waiting: deque[asyncio.Future[None]] = deque()
        self.in_flight = 0

    @property
    def queued(self) -> int:
        """Requests that wait."""
        return len(self._waiting)

    async def enter(self) -> None:
        """Wait for a place, which `leave` gives back. Raises `ApiError` (429) if there is none in time."""
        if self.in_flight < self._max_in_flight:
            self.in_flight += 1
            return
        if len(self._waiting) >= self._max_queued:
            raise _overloaded()
        place = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            async with asyncio.timeout(self._timeout_s):
                await place
        except BaseException as error:
            if place.done() and not place.cancelled():
                self.leave()  # the place came just as the wait ended
            else:
                self._waiting.remove(place)
            if isinstance(error, TimeoutError):
                raise _overloaded() from error
            raise

    def leave(self) -> None:
        """Hand the place on to the next that waits."""
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                return
        self.in_flight -= 1


def _overloaded() -> ApiError:
    return ApiError(
        429, "too many requests are under way; try again later", code="overloaded", retry_after_s=_RETRY_AFTER_S
    )
