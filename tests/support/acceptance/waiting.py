"""The one place where the acceptance suite waits."""

import time
from collections.abc import Callable
from typing import TypeVar

from support.acceptance.progress import say

Found = TypeVar("Found")

_SAY_S = 20.0


class Deadline:
    """When the whole suite has to be over."""

    def __init__(self, minutes: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._minutes = minutes
        self._end = clock() + 60 * minutes

    def left(self) -> float:
        """Seconds until then; negative once it is past."""
        return self._end - self._clock()

    def until(
        self,
        what: str,
        look: Callable[[], Found],
        *,
        seconds: float,
        every: float = 3.0,
        state: Callable[[], str] | None = None,
        give_up: Callable[[], str | None] | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> Found:
        """What `look` returns, once it is true.

        Raises `AssertionError` after `seconds`, or when the suite's time is up. `state` says how things are, in the
        progress and in the error; `give_up` names a reason that ends the wait.
        """
        began = self._clock()
        allowed = min(seconds, self.left())
        said = began
        while True:
            found = look()
            if found:
                return found
            if reason := give_up and give_up():
                raise AssertionError(f"{what}: {reason}")
            now = self._clock()
            if now - began >= allowed:
                whole = "" if allowed == seconds else f" (the suite's {self._minutes:g} minutes are over)"
                told = f"; now: {state()}" if state else ""
                raise AssertionError(f"{what}: not within {max(allowed, 0):.0f} s{whole}{told}")
            if now - said >= _SAY_S:
                said = now
                say(f"waiting for: {what} ({now - began:.0f} s){f': {state()}' if state else ''}")
            pause(every)
