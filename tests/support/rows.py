"""Made-up characters and dialogues in any number: unlike each other, and the same for the same seed."""

import random
from collections.abc import Iterable, Sequence
from typing import Any, get_args

from opencharacter.characters import CharacterProfile, Provenance
from opencharacter.hashing import digest
from opencharacter.records.models import Cell, DialogueRow, TrainingRow, Turn
from opencharacter.storage.jsonl import read_models, write_jsonl
from opencharacter.storage.workspace import Artifact, Workspace

_SYLLABLES = (
    "ba",
    "de",
    "fi",
    "go",
    "lu",
    "ma",
    "ne",
    "pi",
    "ro",
    "su",
    "ta",
    "ve",
    "xo",
    "yu",
    "za",
    "che",
    "dri",
    "gla",
)
LICENCE = "CC0-1.0"


def words(count: int, *seed: Any) -> str:
    """A made-up text; different seeds have hardly a phrase in common."""
    draw = random.Random(digest(list(seed)))
    return " ".join("".join(draw.choices(_SYLLABLES, k=draw.randint(1, 4))) for _ in range(count))


def make_character(number: int, **fields: Any) -> CharacterProfile:
    """A character with all eight attributes."""
    attributes: dict[str, Any] = {
        "name": f"Person {number}",
        "age": str(20 + number % 60),
        "gender": "female",
        "race": "Andean",
        "birth_place": words(1, "place", number).capitalize(),
        "appearance": words(8, "appearance", number),
        "experience": words(20, "experience", number),
        "personality": words(8, "personality", number),
        "persona": words(15, "persona", number),
        "provenance": Provenance(source="personas", licence=LICENCE),
    }
    return CharacterProfile.model_validate(attributes | fields)


def make_turns(session: int | str, answer_seed: Any, *, turns: int = 1, length: int = 30) -> tuple[Turn, ...]:
    """The user turns of a session, each with an answer of `length` words made from `answer_seed`."""
    return tuple(
        turn
        for place in range(turns)
        for turn in (
            Turn(role="user", content=words(10, "question", session, place)),
            Turn(role="assistant", content=words(length, "answer", answer_seed, place)),
        )
    )


def make_dialogue(session: int, character: CharacterProfile, strategy: str = "G", **fields: Any) -> DialogueRow:
    """One session played by a character."""
    values: dict[str, Any] = {
        "row_id": digest([session, character.id, strategy])[:32],
        "corpus": "demo",
        "session_id": f"session-{session}",
        "character_id": character.id,
        "strategy": strategy,
        "turns": make_turns(session, [session, character.id, strategy], turns=1 + session % 3),
        "source": "sessions",
        "licence": LICENCE,
        "model": "teacher-1",
        "prompt_hash": "0" * 64,
    }
    return DialogueRow.model_validate(values | fields)


def make_grid(
    characters: Sequence[CharacterProfile], sessions: Iterable[int], strategies: str = "RG"
) -> list[DialogueRow]:
    """Every session played by every character with every strategy."""
    return [make_dialogue(s, c, strategy) for s in sessions for c in characters for strategy in strategies]


def commit_characters(workspace: Workspace, characters: Iterable[CharacterProfile]) -> Artifact:
    """The output of the step `collect-profiles`."""
    return _commit(workspace, "characters", list(characters))


def commit_dialogues(workspace: Workspace, dialogues: Iterable[DialogueRow]) -> Artifact:
    """The output of the step `collect-dialogues`."""
    return _commit(workspace, "dialogues", list(dialogues))


def _commit(workspace: Workspace, kind: str, rows: list[Any]) -> Artifact:
    key = digest([row.model_dump(mode="json") for row in rows])
    if found := workspace.lookup(kind, key):
        return found
    with workspace.create(kind, key) as draft:
        write_jsonl(draft.path / f"{kind}.jsonl.zst", rows)
        draft.counts = {"ok": len(rows)}
    return draft.committed()


def read_cell(mixture: Artifact, cell: Cell) -> list[TrainingRow]:
    """The rows of one cell of a mixture."""
    return list(read_models(mixture.path / f"{cell}.jsonl.zst", TrainingRow))


def read_mixture(mixture: Artifact) -> dict[Cell, list[TrainingRow]]:
    """The rows of every cell of a mixture."""
    return {cell: read_cell(mixture, cell) for cell in get_args(Cell)}
