"""A limit on what calls to paid endpoints cost: one budget over all engines that are opened inside its block."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from opencharacter.errors import UserError
from opencharacter.records.models import Usage


@dataclass(frozen=True)
class Price:
    """What a model's tokens cost."""

    input_per_million: float
    output_per_million: float

    def cost(self, usage: Usage) -> float:
        """The price of a call."""
        return (usage.prompt_tokens * self.input_per_million + usage.completion_tokens * self.output_per_million) / 1e6


class Budget:
    """What may be spent, and what is spent. Engines ask it before each call, and tell it what the call took."""

    def __init__(self, limit: float, prices: Mapping[str, Price], *, currency: str = "USD") -> None:
        """`prices` by the name of the model; a model without one is free (weights on this machine).

        Raises `UserError` if the limit is not above 0.
        """
        if not limit > 0:
            raise UserError(f"--budget: expected an amount above 0, got {limit:g}")
        self.limit = limit
        self.currency = currency
        self.spent = 0.0
        self._prices = dict(prices)
        self._answered = 0
        self._under_way = 0
        self._lock = threading.Lock()

    def take(self, model: str) -> bool:
        """Whether there is money for one more call, which counts as under way from then on.

        A call under way counts with the mean cost of those before, so that many at once do not overspend.
        """
        if model not in self._prices:
            return True
        with self._lock:
            mean = self.spent / self._answered if self._answered else 0.0
            if self.spent + (self._under_way + 1) * mean > self.limit:
                return False
            self._under_way += 1
            return True

    def give_back(self, model: str, usage: Usage | None) -> None:
        """A call has ended; without usage it failed and cost nothing."""
        if (price := self._prices.get(model)) is None:
            return
        with self._lock:
            self._under_way -= 1
            if usage is not None:
                self._answered += 1
                self.spent += price.cost(usage)

    def __str__(self) -> str:
        return f"{self.spent:.2f} of {self.limit:g} {self.currency}"


_BUDGET: ContextVar[Budget | None] = ContextVar("budget", default=None)


@contextmanager
def limit_spending(budget: Budget | None) -> Iterator[None]:
    """Engines that are opened inside the block ask this budget before each call; none: there is no limit."""
    token = _BUDGET.set(budget)
    try:
        yield
    finally:
        _BUDGET.reset(token)


def current_budget() -> Budget | None:
    """The budget of the block around, if there is one."""
    return _BUDGET.get()
