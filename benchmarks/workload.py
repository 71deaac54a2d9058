"""Made-up rows for benchmarks: characters with profiles as long as real ones, and sessions of one question."""

import json
import random
from pathlib import Path

from opencharacter.characters import CharacterProfile, Provenance, system_prompt
from opencharacter.hashing import digest
from opencharacter.records import Session, Turn
from opencharacter.storage import Artifact, Workspace
from opencharacter.storage.kinds import CHARACTERS, SESSIONS

ROWS_PER_CHARACTER = 15
"""As in the published release: 306,000 rows of 20,000 characters."""
CHARACTERS_PER_SESSION = 5
_LICENCE = "CC0-1.0"
WORDS = (
    *("about", "after", "again", "answer", "ask", "boat", "book", "bread", "bridge", "city", "clock", "cold", "door"),
    *("early", "evening", "father", "garden", "green", "harbour", "house", "island", "keep", "lamp", "letter", "light"),
    *("market", "moon", "morning", "never", "night", "old", "paper", "quiet", "rain", "river", "salt", "sea", "ship"),
    *("small", "song", "stone", "storm", "street", "table", "tide", "tree", "water", "window", "winter", "young"),
)
"""Words of one token each, so that a real model's prompts are as long as they look."""


def make_workload(folder: Path, rows: int, *, characters: int | None = None, for_others: bool = True) -> Path:
    """The same rows in two forms; `rows` is rounded down to whole sessions. By default 15 rows have one character.

    Returns the path of `requests.jsonl`, lines of `system` and `user` for any client, empty unless they are
    `for_others`. Beside it `requests.inputs.json` names this library's artifacts.
    """
    sessions, cast = make_inputs(Workspace(folder / "inputs"), rows, characters or rows // ROWS_PER_CHARACTER)
    path = folder / "requests.jsonl"
    with path.open("w", encoding="utf-8") as file:
        prompts = [system_prompt(profile) for profile in CHARACTERS.read(cast)] if for_others else []
        for place, session in enumerate(SESSIONS.read(sessions) if for_others else ()):
            for drawn in range(CHARACTERS_PER_SESSION):
                prompt = prompts[(place * CHARACTERS_PER_SESSION + drawn) % len(prompts)]
                file.write(json.dumps({"system": prompt, "user": session.user_turns[0]}) + "\n")
    artifacts = {"sessions": sessions.model_dump(), "characters": cast.model_dump()}
    path.with_suffix(".inputs.json").write_text(json.dumps(artifacts | {"n": CHARACTERS_PER_SESSION}))
    return path


def make_inputs(workspace: Workspace, rows: int, characters: int) -> tuple[Artifact, Artifact]:
    """Sessions and characters of a run of `rows` rows."""
    draw = random.Random(rows)

    def text(words: int) -> str:
        return " ".join(draw.choices(WORDS, k=words)).capitalize() + "."

    profiles = (
        CharacterProfile(
            name=f"Person {number}",
            appearance=text(40),
            experience=text(120),
            personality=text(60),
            persona=text(20),
            provenance=Provenance(source="made up", licence=_LICENCE),
        )
        for number in range(max(CHARACTERS_PER_SESSION, characters))
    )
    sessions = (
        Session(
            id=digest(["session", number]),
            corpus="made-up",
            turns=(Turn(role="user", content=text(25)),),
            source="made up",
            licence=_LICENCE,
        )
        for number in range(rows // CHARACTERS_PER_SESSION)
    )
    with workspace.create("characters", digest(["characters", rows])) as cast:
        cast.counts = {"ok": CHARACTERS.write(cast.path, profiles)}
    with workspace.create("sessions", digest(["sessions", rows])) as asked:
        SESSIONS.write(asked.path, sessions)
    return asked.committed(), cast.committed()
