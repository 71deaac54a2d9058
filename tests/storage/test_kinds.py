import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from opencharacter.errors import OpenCharacterError, UserError
from opencharacter.records import BadRow, Persona
from opencharacter.storage import Artifact, Workspace
from opencharacter.storage.kinds import KINDS, PERSONAS, QUARANTINE, SUMMARY

PERSONA = Persona(id="p1", text="A ship's cook", source="test", licence="cc0-1.0")
BAD_ROW = BadRow(file="personas.txt", line=2, reason="empty", excerpt="")


def _personas(workspace: Workspace, key: str) -> Artifact:
    with workspace.create("personas", key) as draft:
        PERSONAS.write(draft.path, [PERSONA])
        QUARANTINE.write(draft.path, [BAD_ROW])
    return draft.committed()


def test_the_rows_of_an_output_are_read_as_their_models(tmp_path: Path) -> None:
    artifact = _personas(Workspace(tmp_path), "k1")
    assert list(PERSONAS.read(artifact)) == [PERSONA]
    assert list(QUARANTINE.read(artifact)) == [BAD_ROW]


def test_an_absent_file_is_refused_with_the_kind_that_has_it(tmp_path: Path) -> None:
    artifact = _personas(Workspace(tmp_path), "k1")
    with pytest.raises(UserError, match=r"has no file summary.json") as error:
        SUMMARY.read(artifact)
    assert error.value.hint == "it is of kind personas; expected one of kind evaluation"


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


SHARED_NAMES = {"README.md", "model.json", "system.md"}
"""Names of templates, documentation, and of files in any served model folder."""


def _strings(tree: ast.AST) -> Iterator[ast.Constant]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str))


def test_the_names_of_files_and_kinds_are_in_one_module() -> None:
    names = {Path(file.name).name for kind in KINDS.values() for file in (*kind.rows, *kind.files)} - SHARED_NAMES
    root = Path(__file__).parents[2]
    found = []
    for source in sorted(
        path for top in ("opencharacter", "components", "pipelines") for path in (root / top).rglob("*.py")
    ):
        tree = ast.parse(source.read_text(encoding="utf-8"))
        for text in _strings(tree) if source.name != "kinds.py" else ():
            if text.value.rpartition("/")[2] in names:
                found.append(f"{source.relative_to(root)}:{text.lineno}: {text.value}")
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call) and node.args):
            first = call.args[0]
            if isinstance(call.func, ast.Attribute) and call.func.attr == "create" and isinstance(first, ast.Constant):
                assert first.value in KINDS, f"{source}:{call.lineno}: unknown kind {first.value}"
    assert not found
