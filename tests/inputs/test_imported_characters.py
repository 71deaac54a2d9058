"""Characters that exist already, in place of profile synthesis."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import zstandard
from support.fake_llm import FakeLLM
from support.object_store import BUCKET, ObjectStore
from support.synthesis_run import SmallRun

from opencharacter.characters import CharacterProfile
from opencharacter.components.import_characters.component import import_characters as step
from opencharacter.config.run import run_identity
from opencharacter.errors import UserError
from opencharacter.records import BadRow
from opencharacter.storage import Artifact, Workspace, read_models
from opencharacter.storage.kinds import CHARACTERS
from opencharacter.synthesis import CharacterSource, import_characters

ILSE = {"character_id": "c1", "persona": "A ferrywoman.", "character": "Name: Ilse\nAge: 58\nPersonality: Dry."}


def imported(folder: Path, uri: Path | str, **settings: Any) -> Artifact:
    source = CharacterSource(uri=str(uri), **settings)
    return import_characters(source, workspace=Workspace(folder / "work"), max_bad_share=0.4, seed=3)


def characters(artifact: Artifact) -> list[CharacterProfile]:
    return list(CHARACTERS.read(artifact))


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_released_characters_need_no_released_dialogues(tmp_path: Path) -> None:
    rows = [ILSE, ILSE | {"character_id": 2}, {"character_id": 3, "character": "A man without a name"}]
    path = write(tmp_path / "synthetic_character.jsonl", rows)
    artifact = imported(tmp_path, path, license="apache-2.0")
    assert artifact.kind == "characters"
    assert artifact.counts == {"ok": 1, "bad": 1, "duplicates": 1}
    [ilse] = characters(artifact)
    assert (ilse.name, ilse.persona) == ("Ilse", "A ferrywoman.")
    assert ilse.provenance is not None
    assert (ilse.provenance.source, ilse.provenance.licence) == ("synthetic_character.jsonl", "apache-2.0")
    [bad] = read_models(artifact.path / "rejected.jsonl", BadRow)
    assert bad.line == 3
    with pytest.raises(UserError, match="name no license"):
        imported(tmp_path, path)


def test_the_cast_of_a_finished_run_is_that_of_the_next(tmp_path: Path, fake_llm: FakeLLM) -> None:
    run = SmallRun(str(tmp_path / "first"), fake_llm.base_url)
    run.make_profiles()
    made = run.characters()
    expected = characters(made)
    for uri in (made.path / CHARACTERS.name, made.path, tmp_path / "first"):
        assert characters(imported(tmp_path, uri, license="other")) == expected, "licences are those of the personas"
    [few, many] = ({c.id for c in characters(imported(tmp_path, made.path, limit=limit))} for limit in (3, 6))
    assert (len(few), len(many)) == (3, 6)
    assert few < many < {character.id for character in expected}


def test_a_run_s_cast_is_read_from_an_object_store_by_its_output_s_prefix(
    tmp_path: Path, s3_server: ObjectStore, s3_root: str
) -> None:
    body = json.dumps({"name": "Ada", "personality": "Dry."}).encode()
    key = "run/outputs/characters/0f3a"
    s3_server.client().put_object(Bucket=BUCKET, Key=f"{key}/{CHARACTERS.name}", Body=zstandard.compress(body))
    [ada] = characters(imported(tmp_path, f"s3://{BUCKET}/{key}/", license="MIT"))
    assert ada.personality == "Dry."
    with pytest.raises(UserError, match="no such key"):
        imported(tmp_path, f"s3://{BUCKET}/run/outputs/characters/absent")


def test_the_step_publishes_the_cast(tmp_path: Path) -> None:
    path = write(tmp_path / "synthetic_character.jsonl", [ILSE, ILSE | {"character": "Name: Bo"}])
    inputs = {"characters": {"uri": str(path), "license": "MIT", "limit": 1}, "max_bad_share": 0.0}
    artifact = SimpleNamespace(uri="", metadata={})
    step.python_func(str(tmp_path / "work"), run_identity(3), inputs, artifact)
    assert (artifact.metadata["kind"], artifact.metadata["ok"]) == ("characters", 1)
    [output] = Workspace(tmp_path / "work").list("characters")
    assert artifact.metadata["digest"] == output.digest


def test_a_workspace_with_two_casts_is_not_guessed_at(tmp_path: Path, fake_llm: FakeLLM) -> None:
    for seed in (1, 2):
        run = SmallRun(str(tmp_path / "first"), fake_llm.base_url, seed=seed)
        run.make_profiles()
        run.characters()
    with pytest.raises(UserError, match=r"holds 2 outputs of characters; name one:\n.*/outputs/characters/"):
        imported(tmp_path, tmp_path / "first")


def test_personas_are_no_characters(tmp_path: Path) -> None:
    path = write(tmp_path / "personas.jsonl", [{"persona": "A baker."}, {"persona": "A diver."}])
    with pytest.raises(UserError, match=r"personas\.jsonl:1: the character has no name; a persona alone is no profile"):
        imported(tmp_path, path, license="x")
    path = write(tmp_path / "own.jsonl", [{"name": "Ada", "hobby": "chess"}, 7])
    with pytest.raises(
        UserError, match=r"own\.jsonl:1: no character profile: hobby: .*\n.*own\.jsonl:2: not a JSON object"
    ):
        imported(tmp_path, path, license="x")
    own = characters(imported(tmp_path, write(tmp_path / "ada.jsonl", [{"name": "Ada"}]), license="MIT"))
    assert [(c.name, c.provenance and c.provenance.licence) for c in own] == [("Ada", "MIT")]
