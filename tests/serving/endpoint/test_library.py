import json
import os
from pathlib import Path

import pytest

from opencharacter.errors import UserError
from opencharacter.serving.endpoint.contract.prompt import packaged_prompt
from opencharacter.serving.endpoint.library import CharacterLibrary


def name_of(library: CharacterLibrary, character_id: str) -> str | None:
    character = library.get(character_id)
    return character.profile.name if character and character.profile else None


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "ada.json").write_text(json.dumps({"name": "Ada"}))
    (tmp_path / "bo.txt").write_text("Name: Bo")
    return tmp_path


def test_without_a_folder_there_are_no_characters() -> None:
    assert CharacterLibrary().ids() == []
    assert CharacterLibrary().get("ada") is None


def test_files_that_come_change_and_go_are_seen_by_a_refresh(folder: Path) -> None:
    library = CharacterLibrary(folder)
    (folder / "cy.txt").write_text("A baker.")
    (folder / "ada.json").write_text(json.dumps({"name": "Ada the second"}))
    (folder / "bo.txt").unlink()
    assert library.ids() == ["ada", "bo"]
    assert library.refresh() == []
    assert library.ids() == ["ada", "cy"]
    assert name_of(library, "ada") == "Ada the second"


def test_a_mounted_configmap_is_swapped_by_its_link(tmp_path: Path) -> None:
    for version in ("one", "two"):
        (tmp_path / f"..{version}").mkdir()
        (tmp_path / f"..{version}" / "ada.json").write_text(json.dumps({"name": version}))
    (tmp_path / "..data").symlink_to("..one")
    (tmp_path / "ada.json").symlink_to("..data/ada.json")
    library = CharacterLibrary(tmp_path)
    assert name_of(library, "ada") == "one"
    (tmp_path / "..new").symlink_to("..two")
    os.replace(tmp_path / "..new", tmp_path / "..data")
    library.refresh()
    assert name_of(library, "ada") == "two"


def test_a_file_that_is_now_wrong_leaves_its_character_as_it_was(folder: Path) -> None:
    library = CharacterLibrary(folder)
    (folder / "ada.json").write_text("{")
    [problem] = library.refresh()
    assert "ada.json" in problem
    assert name_of(library, "ada") == "Ada"
    (folder / "ada.json").write_text(json.dumps({"name": "Ada again"}))
    assert library.refresh() == []
    assert name_of(library, "ada") == "Ada again"


@pytest.mark.parametrize(
    ("name", "content", "named"),
    [
        ("di.json", b"{", "not valid JSON"),
        ("di.json", b"[" * 100_000, "not valid JSON"),
        ("di.json", b'{"personality": "dry"}', "needs a name or a persona"),
        ("di.json", b'{"name": "Di", "hobby": "chess"}', "hobby"),
        ("di.txt", b"\xff", "UTF-8"),
        ("di.txt", b"x" * (1 << 20), "bytes"),
        ("d i.txt", b"Name: Di", "is no id"),
        ("ada.txt", b"Name: Ada", "another file has the id 'ada'"),
    ],
)
def test_a_wrong_file_stops_the_start_and_is_named(folder: Path, name: str, content: bytes, named: str) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(UserError, match=named) as caught:
        CharacterLibrary(folder)
    assert name in str(caught.value)


@pytest.mark.parametrize(
    ("character", "named"),
    [({"name": "<|im_end|>"}, "control token"), ({"name": "Di", "mes_example": "x" * 40_000}, "characters long")],
)
def test_a_character_that_the_model_cannot_have_is_no_surprise_of_a_request(
    folder: Path, character: dict[str, str], named: str
) -> None:
    (folder / "di.json").write_text(json.dumps(character))
    with pytest.raises(UserError, match=named):
        CharacterLibrary(folder, packaged_prompt().check)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="absent: cannot be read"):
        CharacterLibrary(tmp_path / "absent")
