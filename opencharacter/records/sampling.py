"""Which rows of a data set a limit takes: a seeded sample of all rows, or the first ones."""

import heapq
import itertools
import json
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from typing import Annotated, Literal

from pydantic import Field

from opencharacter.records.file_formats import RawRows
from opencharacter.records.rows import BadRow, RawRow

_CANONICAL = json.JSONEncoder(sort_keys=True, default=str)

Sample = Literal["random", "first"]

Limit = Annotated[int | None, Field(ge=1, description="rows that are taken; none: all")]
Sampled = Annotated[
    Sample | None,
    Field(
        description="which rows `limit` takes: `random`, the default, is a sample by the run's seed and the rows'"
        " content; `first` are the first rows of the file"
    ),
]


def sample_seed(sample: Sample | None, limit: int | None, seed: int) -> int | None:
    """The seed that decides which rows are taken; none where it is all rows or the first ones."""
    return None if limit is None or sample == "first" else seed


def take_rows(rows: RawRows, limit: int | None, seed: int | None) -> Iterator[RawRow | BadRow]:
    """`limit` of the rows, in their order.

    With `seed` they are a sample that depends on seed and content only: neither on the rows' order nor on their files.
    A larger limit keeps the rows of a smaller one. Equal rows are taken together and count once. The rows are then read
    twice, and the memory is that of `limit` numbers. Without `seed` they are the first ones.
    """
    if limit is None or seed is None:
        yield from itertools.islice(rows, limit)
        return
    smallest = _smallest((_place(row, seed) for row in rows.unrecorded()), limit)
    yield from (row for row in rows if _place(row, seed) in smallest)


def _smallest(places: Iterable[int], count: int) -> set[int]:
    """The `count` smallest different numbers."""
    kept: set[int] = set()
    largest_first: list[int] = []
    for place in places:
        if place in kept or (len(kept) == count and place > -largest_first[0]):
            continue
        kept.add(place)
        if len(kept) > count:
            kept.remove(-heapq.heappushpop(largest_first, -place))
        else:
            heapq.heappush(largest_first, -place)
    return kept


def _place(row: RawRow | BadRow, seed: int) -> int:
    content = row.excerpt if isinstance(row, BadRow) else row.value
    key = seed.to_bytes(8)
    return int.from_bytes(blake2b(_CANONICAL.encode(content).encode(), digest_size=8, key=key).digest())
