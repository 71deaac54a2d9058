"""Which copy of a model answers which row, where one server of ours holds several (vLLM's data parallelism).

Copies have a prefix cache each. Left to itself, vLLM sends a request to the copy with the fewest, so each copy reads
the beginning of the same prompts. A request that names its copy in a header is answered by that one.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import NamedTuple

RANK_HEADER = "X-data-parallel-rank"
"""0 to the number of copies less one; vLLM refuses other numbers."""

_MORE_THAN_MEAN = 1 / 8
_FEW = 16
_GROUPS_KEPT = 4096


class Endpoint(NamedTuple):
    """Where a server answers."""

    base_url: str
    replicas: int = 1
    """Copies of the model behind it that requests may name."""


@dataclass
class Seat:
    """The copy that a row's calls go to: chosen at the first of them, the same for all."""

    group: str
    rank: int | None = None


class Replicas:
    """Keeps rows of a group on one copy, unless that has more rows than its share.

    A copy takes an eighth more rows than the mean, or a few more where rows are few. Rows of a group beyond that go to
    the copy with the fewest, which from then on is the group's, too.
    """

    def __init__(self, count: int = 1) -> None:
        self._load = [0] * count
        self._homes: OrderedDict[str, list[int]] = OrderedDict()

    def headers(self, seat: Seat) -> dict[str, str] | None:
        """The header that sends a request to its row's copy; none where there is only one."""
        if len(self._load) == 1:
            return None
        if seat.rank is None:
            seat.rank = self._choose(seat.group)
            self._load[seat.rank] += 1
        return {RANK_HEADER: str(seat.rank)}

    def leave(self, seat: Seat) -> None:
        """Note that a row needs its copy no longer."""
        if seat.rank is not None:
            self._load[seat.rank] -= 1

    def _choose(self, group: str) -> int:
        mean = (sum(self._load) + 1) / len(self._load)
        most = mean + max(_FEW, mean * _MORE_THAN_MEAN)
        homes = self._homes.setdefault(group, [])
        self._homes.move_to_end(group)
        if len(self._homes) > _GROUPS_KEPT:
            self._homes.popitem(last=False)
        rank = min(homes or range(len(self._load)), key=self._load.__getitem__)
        if self._load[rank] >= most:
            rank = min(range(len(self._load)), key=self._load.__getitem__)
        if rank not in homes:
            homes.append(rank)
        return rank
