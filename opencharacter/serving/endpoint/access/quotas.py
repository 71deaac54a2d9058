"""What a key may use of the endpoint in a minute or a day."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

Unit = Literal["requests", "tokens"]

MINUTE, DAY = 60, 86_400


@dataclass(frozen=True)
class Quota:
    """A number of requests or tokens in each minute, or in each day (UTC)."""

    unit: Unit
    limit: int
    period_s: int

    @property
    def name(self) -> str:
        """As the keys file calls it, such as `tokens_per_day`."""
        return f"{self.unit}_per_{'day' if self.period_s == DAY else 'minute'}"


@dataclass(frozen=True)
class Usage:
    """How much of a quota is used in the window that is under way."""

    quota: Quota
    used: int
    """With what was just taken, if it was."""
    window: int
    """Its start, in seconds since 1970."""
    reset_s: int
    """Seconds until it ends."""


@dataclass(frozen=True)
class Taken:
    """The answer to a wish for `amount` of each quota."""

    amount: int
    usages: tuple[Usage, ...]
    refused: Usage | None
    """The quota that has too little left; nothing was taken of any then."""


class Counters(Protocol):
    """Keeps the count. A window is a minute or a day by the clock, so that all replicas agree on it."""

    async def take(self, owner: str, quotas: Sequence[Quota], amount: int) -> Taken:
        """Take an amount of each quota, or of none if one has too little left."""

    async def correct(self, owner: str, taken: Taken, amount: int) -> None:
        """Change the amount that was taken to what was used.

        A window that is over is not changed; what was used beyond its share counts in the one under way.
        """

    async def close(self) -> None:
        """End connections."""


def first_refusal(usages: Sequence[Usage], amount: int) -> Usage | None:
    """The quota that refuses an amount for the longest time."""
    full = [usage for usage in usages if usage.used + amount > usage.quota.limit]
    return max(full, key=lambda usage: usage.reset_s, default=None)
