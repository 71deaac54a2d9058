"""How often the same items have decided against the same champion: each further try gets a smaller share of alpha."""

from typing import Protocol


class Ledger(Protocol):
    """Where comparisons are counted. The registry has one in MLflow."""

    def count(self, items: str, rival: str, comparison: str, details: dict[str, str]) -> int:
        """Note a comparison and return its number among those on the same items against the same rival, from 1.

        A comparison that was noted before keeps its number.

        Args:
            items: Digest of the items.
            rival: Identity of the champion, or of the base model where there is none.
            comparison: Digest of everything that decides the result, scores included.
            details: What a reader of the ledger wants to see.
        """
        ...


def share_of_alpha(alpha: float, position: int) -> float:
    """The level of the k-th comparison: alpha / (k (k + 1)). All of them together have alpha."""
    return alpha / (position * (position + 1))
