"""A mixture of a few characters and sessions, with all four cells, made by hand."""

import json
from collections.abc import Sequence

from opencharacter.characters import CharacterProfile, system_prompt
from opencharacter.evaluation.grid import CELLS
from opencharacter.hashing import digest
from opencharacter.records.models import Cell, TrainingRow, Turn
from opencharacter.storage.jsonl import write_jsonl
from opencharacter.storage.workspace import Artifact, Workspace

SEEN = [CharacterProfile(name=f"Seen {i}", personality=f"calm {i}", persona=f"a baker of {i} loaves") for i in range(4)]
HELD_OUT = [
    CharacterProfile(name=f"New {i}", personality=f"loud {i}", persona=f"a sailor of {i} seas") for i in range(3)
]
CHARACTERS = [*SEEN, *HELD_OUT]


def make_row(cell: Cell, character: CharacterProfile | None, session: int, *, strategy: str = "G") -> TrainingRow:
    """A row of two turns (four in every third session) that names its character and session."""
    name = character.name if character else "nobody"
    messages = [Turn(role="system", content=system_prompt(character))] if character else []
    for turn in range(2 if session % 3 == 0 else 1):
        messages.append(Turn(role="user", content=f"Question {turn} of session {session}?"))
        messages.append(Turn(role="assistant", content=f"{strategy} answer {turn} of {name} to {session}."))
    return TrainingRow(
        row_id=digest([cell, name, session, strategy]),
        messages=messages,
        character_id=character.id if character else None,
        session_id=f"session-{session}",
        strategy=strategy if character else "general",
        cell=cell,
        source="tests",
        licence="CC0-1.0",
        prompt_view="persona_and_profile" if character else "none",
    )


def small_rows(sessions: int = 3) -> list[TrainingRow]:
    """Every character with every session of each of its cells."""
    rows = []
    for cell in CELLS:
        characters = HELD_OUT if cell in ("held_out_character_seen_session", "held_out_both") else SEEN
        first = 100 if cell in ("seen_character_held_out_session", "held_out_both") else 0
        rows += [make_row(cell, character, first + i) for character in characters for i in range(sessions)]
    return rows


def make_mixture(
    workspace: Workspace, rows: Sequence[TrainingRow], characters: Sequence[CharacterProfile] = CHARACTERS
) -> Artifact:
    """The committed output of kind `mixture` that holds these rows."""
    key = digest([[row.row_id, row.messages[0].content] for row in rows])
    with workspace.create("mixture", key) as draft:
        for cell in CELLS:
            write_jsonl(draft.path / f"{cell}.jsonl.zst", [row for row in rows if row.cell == cell])
        write_jsonl(draft.path / "characters.jsonl.zst", characters)
        (draft.path / "statistics.json").write_text(json.dumps({}))
    ref = workspace.lookup("mixture", key)
    assert ref is not None
    return ref
