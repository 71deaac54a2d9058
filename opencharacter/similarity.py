"""Near-duplicate texts.

MinHash LSH finds candidates, the exact Jaccard similarity of their shingles decides. Shingles are five characters long,
so that a typing error or another comma changes little, and languages that are written without spaces are compared like
the others.
"""

import functools
import re
import unicodedata
import zlib
from collections.abc import Callable, Sequence
from typing import Protocol

_SHINGLE = 5
_SHORTEST = 40
"""Characters. Shorter texts ("Yes.", a number) say the same thing for good reasons; they are never near-duplicates."""
ALL_PAIRS = 32
"""Up to so many texts, comparing all pairs costs less than hashing them (benchmarks/mixing_dedup.py)."""
_PERMUTATIONS = 128
_INDEX_SLACK = 0.9
"""The index is tuned for a similarity this much below the threshold: it then finds 99.5 % of the pairs at the threshold
itself, and practically all of those above it."""
_CACHED_TEXTS = 4096

Shingles = frozenset[str]
IsDuplicate = Callable[[int], bool]


def near_duplicates(texts: Sequence[str], threshold: float, *, index_above: int = ALL_PAIRS) -> dict[int, int]:
    """Which texts to drop: index of the dropped text → index of the earlier, kept text that it resembles.

    Two texts are near-duplicates where the Jaccard similarity of their shingles is at least `threshold`. The first
    text of a group is kept, so callers order the texts (by id) to get the same result from the same set.
    Up to `index_above` texts all pairs are compared; beyond it the index looks for them, which may miss a pair right
    at the threshold. Memory: signatures of the kept texts (about 2 KB each) and a bounded cache of shingles.
    """
    shingles_of = functools.lru_cache(_CACHED_TEXTS)(lambda index: shingles(texts[index]))
    kept: _Kept = _EveryText() if len(texts) <= index_above else _LshIndex(threshold)
    duplicates: dict[int, int] = {}
    for current in range(len(texts)):
        own = shingles_of(current)
        if not own:
            continue
        original = kept.find_or_keep(current, own, lambda other: are_similar(own, shingles_of(other), threshold))  # noqa: B023
        if original is not None:
            duplicates[current] = original
    return duplicates


def shingles(text: str) -> Shingles:
    """The five-character pieces of a text, less case and punctuation; none if it is too short to be compared."""
    plain = re.sub(r"[\W_]+", " ", unicodedata.normalize("NFKC", text).casefold()).strip()
    if len(plain) < _SHORTEST:
        return frozenset()
    return frozenset(plain[start : start + _SHINGLE] for start in range(len(plain) - _SHINGLE + 1))


def are_similar(one: Shingles, other: Shingles, threshold: float) -> bool:
    """Whether the Jaccard similarity of two sets is at least `threshold`."""
    if min(len(one), len(other)) < threshold * max(len(one), len(other)):
        return False
    shared = len(one & other)
    return shared >= threshold * (len(one) + len(other) - shared)


class _Kept(Protocol):
    def find_or_keep(self, current: int, shingles: Shingles, is_duplicate: IsDuplicate) -> int | None:
        """The earliest kept text that the current one duplicates; if there is none, the current one is kept."""


class _EveryText:
    def __init__(self) -> None:
        self._kept: list[int] = []

    def find_or_keep(self, current: int, shingles: Shingles, is_duplicate: IsDuplicate) -> int | None:
        original = next(filter(is_duplicate, self._kept), None)
        if original is None:
            self._kept.append(current)
        return original


class _LshIndex:
    def __init__(self, threshold: float) -> None:
        from datasketch import MinHash, MinHashLSH

        self._blank = MinHash(num_perm=_PERMUTATIONS, hashfunc=zlib.crc32)
        self._index = MinHashLSH(threshold=threshold * _INDEX_SLACK, num_perm=_PERMUTATIONS, weights=(0.1, 0.9))

    def find_or_keep(self, current: int, shingles: Shingles, is_duplicate: IsDuplicate) -> int | None:
        signature = self._blank.copy()
        signature.update_batch([shingle.encode() for shingle in shingles])
        original = next(filter(is_duplicate, sorted(self._index.query(signature))), None)
        if original is None:
            self._index.insert(current, signature)
        return original
