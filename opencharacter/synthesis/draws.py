"""Which characters play a session: a seeded draw that a changed character disturbs as little as possible."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from opencharacter.hashing import seed64

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class CharacterPool:
    """The characters to draw from, by what identifies them: strings that are unique.

    Rendezvous hashing: each (seed, session, character) has a pseudo-random weight, and a session draws the characters
    of the highest weights. So a character that is added, removed or exchanged changes only the sessions that drew it
    or draw it now, and neither the order nor the number of characters matters. The identity should be what the user
    thinks of as the character (the persona), not the text made of it, or a new teacher would recast every session.
    """

    def __init__(self, identities: Sequence[str], seed: int) -> None:
        import numpy as np

        self._seed = seed
        self._hashes = np.array([seed64("character", identity) for identity in identities], dtype=np.uint64)

    def __len__(self) -> int:
        return len(self._hashes)

    def draw(self, session_id: str, n: int) -> list[int]:
        """Positions of `n` different characters (all of them, if there are fewer), highest weight first."""
        import numpy as np

        weights = _mix(self._hashes ^ np.uint64(seed64("session", self._seed, session_id)))
        n = min(n, len(weights))
        top = np.argpartition(weights, len(weights) - n)[len(weights) - n :]
        return [int(position) for position in top[np.argsort(weights[top])[::-1]]]


def _mix(values: "NDArray[np.uint64]") -> "NDArray[np.uint64]":
    """The finaliser of SplitMix64: a bijection of 64-bit integers that flips half the bits for each bit changed."""
    import numpy as np

    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
