"""Sample dialogues: the same session as its source answered it, and as R and G made it for one character."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from opencharacter.hashing import text_digest
from opencharacter.storage.kinds import DIALOGUES, SESSIONS
from opencharacter.storage.workspace import Artifact

_Key = tuple[str, str]  # session id, character id


@dataclass(frozen=True)
class Exchange:
    """One user turn and its answers by version: `source`, `R`, `G`."""

    user: str
    answers: Mapping[str, str]


@dataclass(frozen=True)
class Sample:
    """One session played by one character."""

    character_id: str
    corpus: str
    versions: tuple[str, ...]
    exchanges: tuple[Exchange, ...]


def pick_samples(dialogues: Artifact, sessions: Artifact | None, *, limit: int) -> list[Sample]:
    """At most `limit` samples: those with both R and G first, no session or character twice while others are left.

    The choice depends on ids only, so the report of an unchanged run shows the same samples.
    """
    chosen = _choose(_rows(dialogues), limit)
    made: dict[_Key, dict[str, list[str]]] = {key: {} for key in chosen}
    questions: dict[_Key, list[str]] = {}
    corpora: dict[_Key, str] = {}
    for row in _rows(dialogues):
        key = _key(row)
        if key in made:
            made[key][row["strategy"]] = _contents(row["turns"], "assistant")
            questions[key] = _contents(row["turns"], "user")
            corpora[key] = row["corpus"]
    source = _source_answers(sessions, {session for session, _ in chosen})
    samples = []
    for key in chosen:
        answers = {"source": source.get(key[0], []), **{name: made[key].get(name, []) for name in ("R", "G")}}
        versions = {name: texts for name, texts in answers.items() if texts}
        exchanges = tuple(
            Exchange(user, {name: texts[turn] for name, texts in versions.items() if turn < len(texts)})
            for turn, user in enumerate(questions[key])
        )
        samples.append(Sample(key[1], corpora[key], tuple(versions), exchanges))
    return samples


def answer_lengths(dialogues: Artifact) -> dict[str, list[int]]:
    """Words of each answer, by strategy."""
    lengths: dict[str, list[int]] = defaultdict(list)
    for row in _rows(dialogues):
        lengths[row["strategy"]] += [len(text.split()) for text in _contents(row["turns"], "assistant")]
    return dict(lengths)


def _choose(rows: Iterable[dict[str, Any]], limit: int) -> list[_Key]:
    strategies: dict[_Key, set[str]] = defaultdict(set)
    turns: dict[_Key, int] = {}
    for row in rows:
        strategies[_key(row)].add(row["strategy"])
        turns[_key(row)] = len(row["turns"])

    def rank(key: _Key) -> tuple[int, str]:
        return -len(strategies[key]), text_digest("/".join(key))

    chosen: list[_Key] = []
    # A third of the samples goes to sessions of several turns, where the two strategies differ most.
    several = sorted((key for key in strategies if turns[key] > 2), key=rank)
    _fill(chosen, several, -(-limit // 3))
    ordered = sorted(strategies, key=rank)
    _fill(chosen, ordered, limit)
    chosen += [key for key in ordered if key not in chosen][: limit - len(chosen)]
    return chosen


def _fill(chosen: list[_Key], candidates: Iterable[_Key], limit: int) -> None:
    for key in candidates:
        if len(chosen) >= limit:
            return
        if all(key[0] != session and key[1] != character for session, character in chosen):
            chosen.append(key)


def _source_answers(sessions: Artifact | None, session_ids: set[str]) -> dict[str, list[str]]:
    if sessions is None:
        return {}
    rows = SESSIONS.read_raw(sessions)
    return {row["id"]: _contents(row["turns"], "assistant") for row in rows if row["id"] in session_ids}


def _rows(dialogues: Artifact) -> Iterator[dict[str, Any]]:
    # Plain dictionaries: a full run has hundreds of thousands of rows, and the step that wrote them validated them.
    return DIALOGUES.read_raw(dialogues)


def _key(row: dict[str, Any]) -> _Key:
    return row["session_id"], row["character_id"]


def _contents(turns: Iterable[dict[str, Any]], role: str) -> list[str]:
    return [turn["content"] for turn in turns if turn["role"] == role]
