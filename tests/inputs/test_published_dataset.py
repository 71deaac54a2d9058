import json
from pathlib import Path
from typing import Any

import pytest

from opencharacter.characters import CharacterProfile
from opencharacter.errors import UserError
from opencharacter.records import BadRow, DialogueRow
from opencharacter.storage import Workspace, read_models
from opencharacter.synthesis import ImportedDataset, PublishedDataset, import_dataset

ILSE = "Name: Ilse Marten\nAge: 58\nGender: Female\nGeneral Experience: Ran the ferry.\nPersonality: Dry."
CHARACTERS: list[Any] = [
    {"character_id": "c1", "persona": "A retired ferrywoman.", "character": ILSE},
    {"character_id": 2, "persona": "A baker.", "character": "**Name:** Ove\n**Occupation:** Baker"},
    {"character_id": "c3", "persona": "A retired ferrywoman.", "character": ILSE},
]


def _dialogue(character_id: Any, question: Any = "Why is the sea salty?", **others: Any) -> dict[str, Any]:
    answer = {"question_source": "alpaca", "character_answer": "Rivers, my dear."}
    return {"character_id": character_id, "question": question, **answer, **others}


DIALOGUES: list[Any] = [
    _dialogue("c1", id=17, tags=["sea"]),
    _dialogue(2),
    _dialogue("c3", "And lakes?", question_source="lima"),
    _dialogue("c3"),
]


def _import(
    folder: Path, characters: list[Any], dialogues: list[Any], *, share: float = 0.0, **more: Any
) -> ImportedDataset:
    for name, rows in (("characters", characters), ("dialogues", dialogues)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = PublishedDataset(
        characters=str(folder / "characters.jsonl"), dialogues=str(folder / "dialogues.jsonl"), **more
    )
    return import_dataset(config, workspace=Workspace(folder / "work"), max_bad_share=share)


def test_the_release_becomes_what_synthesis_yields(tmp_path: Path) -> None:
    imported = _import(tmp_path, CHARACTERS, DIALOGUES)
    assert imported.characters.counts == {"ok": 2, "bad": 0, "duplicates": 1}
    assert imported.dialogues.counts == {"ok": 3, "bad": 0, "duplicates": 1}
    ilse, ove = read_models(imported.characters.path / "characters.jsonl.zst", CharacterProfile)
    assert (ilse.name, ilse.experience, ilse.persona) == ("Ilse Marten", "Ran the ferry.", "A retired ferrywoman.")
    assert ove.experience == "**Occupation:** Baker"
    assert ilse.provenance is not None
    assert ilse.provenance.model_dump(exclude_none=True) == {
        "source": "characters.jsonl",
        "licence": "apache-2.0",
        "persona_id": ilse.provenance.persona_id,
        "release_id": "c1",
    }
    rows = list(read_models(imported.dialogues.path / "dialogues.jsonl.zst", DialogueRow))
    assert [(row.corpus, row.character_id, row.strategy, row.status) for row in rows] == [
        ("alpaca", ilse.id, "G", "ok"),
        ("alpaca", ove.id, "G", "ok"),
        ("lima", ilse.id, "G", "ok"),
    ]
    assert rows[0].extra == {"id": 17, "tags": ["sea"]}
    assert [turn.content for turn in rows[0].turns] == ["Why is the sea salty?", "Rivers, my dear."]
    # Characters that answer the same question share its session, which the split grid needs.
    assert rows[0].session_id == rows[1].session_id != rows[2].session_id
    assert len({row.row_id for row in rows}) == 3


def test_bad_rows_are_set_aside_by_reason(tmp_path: Path) -> None:
    bad_characters = [{"character_id": "c4", "persona": "x", "character": "A man without a name"}, {"character": ILSE}]
    bad_dialogues = [_dialogue("c9"), _dialogue("c1", ["a", "b"]), _dialogue("c1", " "), _dialogue(None), ["x"]]
    imported = _import(tmp_path, CHARACTERS + bad_characters, DIALOGUES + bad_dialogues, share=0.9)
    assert [row.line for row in read_models(imported.characters.path / "rejected.jsonl", BadRow)] == [4, 5]
    rejected = read_models(imported.dialogues.path / "rejected.jsonl", BadRow)
    assert [(row.line, row.reason) for row in rejected] == [
        (5, "'character_id' names no character that was read"),
        (6, "'question' is not text"),
        (7, "a turn is empty"),
        (8, "'character_id' is missing"),
        (9, "not a JSON object"),
    ]
    with pytest.raises(UserError, match=r"characters\.jsonl:4: not a character profile"):
        _import(tmp_path, CHARACTERS + bad_characters, DIALOGUES)


def test_limit_takes_some_dialogues_and_all_characters(tmp_path: Path) -> None:
    whole = _import(tmp_path, CHARACTERS, DIALOGUES)
    part = _import(tmp_path, CHARACTERS, DIALOGUES, limit=2)
    assert part.characters == whole.characters
    assert part.dialogues.counts["ok"] == 2
    first = _import(tmp_path, CHARACTERS, DIALOGUES, limit=2, sample="first")
    whole_rows, first_rows = (
        list(read_models(each.dialogues.path / "dialogues.jsonl.zst", DialogueRow)) for each in (whole, first)
    )
    assert first_rows == whole_rows[:2]
    assert _import(tmp_path, CHARACTERS, DIALOGUES) == whole
