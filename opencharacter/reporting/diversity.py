"""How varied the dialogues are: distinct-n, and answers that two characters share. Both are of a sample."""

import heapq
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from opencharacter.hashing import text_digest
from opencharacter.similarity import near_duplicates

SAMPLE = 2000
"""Dialogues that are compared, of any number: a full run's would take hours."""
COPY_SIMILARITY = 0.7
"""Jaccard similarity of the answers' five-character pieces from which on two answers count as copies."""
LENGTHS = (1, 2, 3)
_WORDS = 50_000
_EXAMPLES = 3
# Languages that are written without spaces are counted by their characters.
_WORD = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]|[^\W_]+(?:['’][^\W_]+)*")


class Sample:
    """A sample of bounded size in one pass: all dialogues of the sessions whose ids have the least digests."""

    def __init__(self, limit: int = SAMPLE) -> None:
        self.seen = 0
        self._limit = limit
        self._sessions: dict[str, list[dict[str, Any]]] = {}
        self._worst: list[tuple[int, str]] = []
        self._barrier: int | None = None
        self._size = 0

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The dialogues, in the order of their sessions' digests."""
        ordered = sorted(self._sessions, key=_rank)
        return [row for session in ordered for row in sorted(self._sessions[session], key=lambda row: row["row_id"])]

    def add(self, row: dict[str, Any]) -> None:
        """Look at the next dialogue."""
        self.seen += 1
        session = row["session_id"]
        rank = _rank(session)
        if self._barrier is not None and rank >= self._barrier:
            return
        if session not in self._sessions:
            self._sessions[session] = []
            heapq.heappush(self._worst, (-rank, session))
        self._sessions[session].append(row)
        self._size += 1
        while self._size > self._limit and len(self._sessions) > 1:
            barrier, worst = heapq.heappop(self._worst)
            self._barrier = -barrier
            self._size -= len(self._sessions.pop(worst))
        if self._size > self._limit:
            rows = self._sessions[session]
            rows.remove(max(rows, key=lambda row: text_digest(row["row_id"])))
            self._size -= 1


def _rank(session: str) -> int:
    return int(text_digest(session)[:16], 16)


def words_of(text: str) -> list[str]:
    """The words of a text, in small letters; single characters where a script has no spaces."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).lower())


def distinct_n(texts: Iterable[str], n: int, *, words: int) -> float | None:
    """Different sequences of `n` words among all of the first `words` words; none if there is no such sequence.

    It falls with the number of words, so only figures of equally many can be compared.
    """
    different: set[tuple[str, ...]] = set()
    count = 0
    for text in texts:
        own = words_of(text)[:words]
        words -= len(own)
        sequences = list(zip(*(own[start:] for start in range(n)), strict=False))
        count += len(sequences)
        different.update(sequences)
        if words <= 0:
            break
    return len(different) / count if count else None


@dataclass(frozen=True)
class Variety:
    """Distinct-1, -2 and -3 of one version of the sessions' answers."""

    version: str
    values: tuple[float | None, ...]


def variety(texts: dict[str, list[str]]) -> tuple[list[Variety], int]:
    """The distinct-n of each version of the answers, and how many words of each were counted: what the shortest has."""
    lengths = {name: sum(len(words_of(text)) for text in own) for name, own in texts.items()}
    words = min([_WORDS, *(length for length in lengths.values() if length)])
    return [
        Variety(name, tuple(distinct_n(own, n, words=words) for n in LENGTHS))
        for name, own in texts.items()
        if lengths[name]
    ], words


@dataclass(frozen=True)
class Copy:
    """Two characters that gave nearly the same answers."""

    character_id: str
    other_id: str
    text: str


@dataclass(frozen=True)
class Copies:
    """How many of the compared dialogues have nearly the answers of an earlier one of another character."""

    compared: int
    copies: int
    same_session: int
    examples: list[Copy]


def copies_between_characters(rows: Sequence[dict[str, Any]]) -> Copies:
    """Compare the answers of all dialogues. Those of fewer than 40 characters are never copies of each other."""
    texts = [answers_of(row) for row in rows]
    pairs = [
        (rows[later], rows[earlier])
        for later, earlier in near_duplicates(texts, COPY_SIMILARITY).items()
        if rows[later]["character_id"] != rows[earlier]["character_id"]
    ]
    return Copies(
        compared=len(rows),
        copies=len(pairs),
        same_session=sum(later["session_id"] == earlier["session_id"] for later, earlier in pairs),
        examples=[
            Copy(later["character_id"], earlier["character_id"], answers_of(later))
            for later, earlier in pairs[:_EXAMPLES]
        ],
    )


def answers_of(row: dict[str, Any]) -> str:
    """What the character says in a dialogue."""
    return "\n".join(turn["content"] for turn in row["turns"] if turn["role"] == "assistant")
