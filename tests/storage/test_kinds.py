from pathlib import Path

import pytest

from opencharacter.errors import OpenCharacterError, UserError
from opencharacter.records import BadRow, Persona
from opencharacter.storage import Artifact, Workspace
from opencharacter.storage.kinds import KINDS, PERSONAS, QUARANTINE, SUMMARY, open_output, rows

PERSONA = Persona(id="p1", text="A ship's cook", source="test", licence="cc0-1.0")
BAD_ROW = BadRow(file="personas.txt", line=2, reason="empty", excerpt="")


def _personas(workspace: Workspace, key: str) -> Artifact:
    with workspace.create("personas", key) as draft:
        PERSONAS.write(draft.path, [PERSONA])
        QUARANTINE.write(draft.path, [BAD_ROW])
    return draft.committed()


def test_the_rows_of_an_output_are_read_as_their_models(tmp_path: Path) -> None:
    artifact = _personas(Workspace(tmp_path), "k1")
    assert list(rows(artifact)) == [PERSONA]
    assert list(rows(artifact, "quarantine.jsonl")) == [BAD_ROW]


def test_a_file_that_the_kind_does_not_have_is_refused_with_those_it_has(tmp_path: Path) -> None:
    artifact = _personas(Workspace(tmp_path), "k1")
    with pytest.raises(UserError, match=r"no file of rows 'rejected.jsonl'") as error:
        rows(artifact, "rejected.jsonl")
    assert error.value.hint == "one of: personas.jsonl.zst, quarantine.jsonl"
    with pytest.raises(UserError, match=r"has no file summary.json") as error:
        SUMMARY.read(artifact)
    assert error.value.hint == "it is of kind personas; expected one of kind evaluation"


def test_a_kind_without_rows_is_refused(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    with workspace.create("version", "v1"):
        pass
    with pytest.raises(UserError, match="an output of kind version has no rows"):
        rows(open_output(workspace, "version"))


def test_an_output_is_found_by_the_beginning_of_its_key(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    first, _ = _personas(workspace, "aa1"), _personas(workspace, "ab2")
    assert open_output(workspace, "personas", "aa") == first
    with pytest.raises(UserError, match="2 outputs of kind personas whose key begins with 'a'") as error:
        open_output(workspace, "personas", "a")
    assert error.value.hint == "name one by its key: aa1, ab2"
    with pytest.raises(UserError, match="no output of kind sessions"):
        open_output(workspace, "sessions")
    with pytest.raises(UserError, match="unknown kind of output 'persona'") as error:
        open_output(workspace, "persona")
    assert error.value.hint == "did you mean 'personas'?"


def test_a_damaged_object_names_its_file_and_key(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    with workspace.create("evaluation", "e1") as draft:
        (draft.path / SUMMARY.name).write_text('{"models": {}}', encoding="utf-8")
    with pytest.raises(OpenCharacterError, match=r"e1/summary.json: judge: Field required"):
        SUMMARY.read(draft.committed())


def test_each_file_of_a_kind_has_a_name_of_its_own() -> None:
    for kind in KINDS.values():
        names = [file.name for file in (*kind.rows, *kind.files)]
        assert len(set(names)) == len(names), kind.name
