"""Which characters play a session: a seeded draw that nothing but seed, session and characters decides."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from opencharacter.hashing import DigestTemplate

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_FIRST, _SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_AT_ONCE = 8
"""Sessions; the weights of some 20,000 characters for them fit a core's cache."""
_SLOT = "\0"


class CharacterPool:
    """The characters to draw from, by what identifies them: strings that are unique.

    Rendezvous hashing: each (seed, session, character) has a pseudo-random weight, and a session draws the characters
    of the highest weights. So a character that is added, removed or exchanged changes only the sessions that drew it
    or draw it now, and neither the order nor the number of characters matters. The identity should be what the user
    thinks of as the character (the persona), not the text made of it, or a new teacher would recast every session.
    """

    def __init__(self, identities: Sequence[str], seed: int) -> None:
        import numpy as np

        character = DigestTemplate(["character", _SLOT], _SLOT)
        self._session = DigestTemplate(["session", seed, _SLOT], _SLOT)
        self._hashes = np.array([character.seed64(identity) for identity in identities], dtype=np.uint64)

    def __len__(self) -> int:
        return len(self._hashes)

    def draw(self, session_ids: Sequence[str], n: int) -> "NDArray[np.int64]":
        """Positions of `n` different characters (all of them, if there are fewer) for each session.

        A row for a session, highest weight first. Other threads can run meanwhile.
        """
        import numpy as np

        n = min(n, len(self))
        sessions = np.array([self._session.seed64(session_id) for session_id in session_ids], dtype=np.uint64)
        # Some more weights than n are above this, in all but one of many millions of sessions.
        share = (n + 6 * n**0.5 + 10) / len(self)
        if share > 0.25:
            rows = [self._highest(session, n) for session in sessions]
            return np.array(rows, dtype=np.int64).reshape(len(sessions), n)
        return self._above(sessions, n, np.uint64(int((1 - share) * 2**31) << 33))

    def _highest(self, session: "np.uint64", n: int) -> "NDArray[np.int64]":
        """The draw of one session."""
        import numpy as np

        weights = _mix(self._hashes ^ session)
        top = np.argpartition(weights, len(weights) - n)[len(weights) - n :]
        return top[np.argsort(weights[top])[::-1]]

    def _above(self, sessions: "NDArray[np.uint64]", n: int, least: "np.uint64") -> "NDArray[np.int64]":
        """The draws of sessions, of the characters whose weight is not below `least`.

        This is `_mix` in place, without what can be left out: its first step is linear, so it is done for characters
        and sessions apart, and its last step leaves the upper 31 bits as they are (the others of `least` are zero).
        """
        import numpy as np

        characters, others = _fold(self._hashes, 30), _fold(sessions, 30)
        buffers = np.empty((2, _AT_ONCE, len(self)), dtype=np.uint64)
        found = [np.empty(0, dtype=np.int64)]
        for start in range(0, len(sessions), _AT_ONCE):
            some = others[start : start + _AT_ONCE, None]
            weights, shifted = buffers[:, : len(some)]
            np.bitwise_xor(characters, some, out=weights)
            np.multiply(weights, np.uint64(_FIRST), out=weights)
            np.right_shift(weights, np.uint64(27), out=shifted)
            np.bitwise_xor(weights, shifted, out=weights)
            np.multiply(weights, np.uint64(_SECOND), out=weights)
            found.append(np.flatnonzero(weights >= least) + start * len(self))
        rows, above = np.divmod(np.concatenate(found), len(self))
        above = above[np.lexsort((~_mix(self._hashes[above] ^ sessions[rows]), rows))]
        ends = np.searchsorted(rows, np.arange(len(sessions) + 1))
        enough = np.diff(ends) >= n
        drawn = np.empty((len(sessions), n), dtype=np.int64)
        drawn[enough] = above[ends[:-1][enough, None] + np.arange(n)]
        for row in np.flatnonzero(~enough):
            drawn[row] = self._highest(sessions[row], n)
        return drawn


def _fold(values: "NDArray[np.uint64]", bits: int) -> "NDArray[np.uint64]":
    import numpy as np

    return values ^ (values >> np.uint64(bits))


def _mix(values: "NDArray[np.uint64]") -> "NDArray[np.uint64]":
    """The finaliser of SplitMix64: a bijection of 64-bit integers that flips half the bits for each bit changed."""
    import numpy as np

    return _fold(_fold(_fold(values, 30) * np.uint64(_FIRST), 27) * np.uint64(_SECOND), 31)
