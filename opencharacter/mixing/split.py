"""The split grid: {characters seen, held out} x {sessions seen, held out} (docs/design.md, decision 11).

A character or session is held out when its seeded hash fraction lies below the share, so the side that it is on does
not depend on the order of the rows, and hardly on what else is in the data: only where a share above 0 would leave one
side without a member, the member nearest to that side is moved to it. One alone is never held out.
"""

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from opencharacter.hashing import digest, fraction
from opencharacter.mixing.mix_config import HeldOut
from opencharacter.records.models import Cell, Turn


def session_key(turns: Iterable[Turn]) -> str:
    """What identifies a session for the split: its user turns, less case, spacing and Unicode form (32 hex digits).

    The same questions in two corpora are one session, whatever the corpora call it and however it is answered.
    """
    return digest([_plain(turn.content) for turn in turns if turn.role == "user"])[:32]


@dataclass(frozen=True)
class Split:
    """Who is held out. `of` is the only place where a row's cell is decided."""

    characters: frozenset[str]
    sessions: frozenset[str]

    def of(self, character_id: str | None, session: str) -> Cell:
        """The cell of a row. A row without a character (general instructions) holds no character out."""
        if character_id in self.characters:
            return "held_out_both" if session in self.sessions else "held_out_character_seen_session"
        return "seen_character_held_out_session" if session in self.sessions else "train"


def make_split(characters: Iterable[str], sessions: Iterable[str], shares: HeldOut, *, seed: int) -> Split:
    """Split character ids and session keys."""
    return Split(
        characters=_hold_out(characters, shares.characters, seed=seed, kind="character"),
        sessions=_hold_out(sessions, shares.sessions, seed=seed, kind="session"),
    )


def _hold_out(keys: Iterable[str], share: float, *, seed: int, kind: str) -> frozenset[str]:
    places = {key: fraction(seed, "held out", kind, key) for key in keys}
    held_out = {key for key, place in places.items() if place < share}
    if len(held_out) == len(places) > 0:
        held_out.remove(max(places, key=lambda key: (places[key], key)))
    elif share > 0 and not held_out and len(places) > 1:
        held_out.add(min(places, key=lambda key: (places[key], key)))
    return frozenset(held_out)


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())
