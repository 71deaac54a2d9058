"""A seeded sample that is spread over characters."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from opencharacter.hashing import seed64

T = TypeVar("T")


def spread(rows: Iterable[T], count: int, seed: int, *, name: Callable[[T], str], group: Callable[[T], str]) -> list[T]:
    """At most `count` rows, one of each group before a second of any. Their order in `rows` does not matter.

    Args:
        rows: What to choose from.
        count: How many.
        seed: Of the sample.
        name: Tells a row from all others.
        group: What the sample is spread over, such as the character.
    """
    groups: dict[str, list[T]] = {}
    for row in sorted(rows, key=lambda row: (seed64(seed, "sample", name(row)), name(row))):
        groups.setdefault(group(row), []).append(row)
    rounds = max(map(len, groups.values()), default=0)
    return [members[place] for place in range(rounds) for members in groups.values() if place < len(members)][:count]
