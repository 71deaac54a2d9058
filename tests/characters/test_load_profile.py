from pathlib import Path

import pytest

from opencharacter.characters import CharacterProfile, load_profile
from opencharacter.errors import UserError


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("ilse.json", '\ufeff{"name": "Ilse", "age": 58, "id": "of another version"}'),
        ("ilse.txt", "Name: Ilse\r\nAge: 58\r\n"),
        ("ilse", ' {"name": "Ilse", "age": "58"}'),
    ],
)
def test_json_and_text_give_the_same_profile(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_bytes(content.encode())
    assert load_profile(tmp_path / name) == CharacterProfile(name="Ilse", age="58")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.json", b'{"age": 3}', r"p\.json: needs a name or a persona"),
        (
            "p.json",
            b'{"name": "x", "birthplace": "y"}',
            r"p\.json: birthplace: unknown key; did you mean 'birth_place'",
        ),
        ("p.json", b'{"name": "x",\n "age": }', r"p\.json:2: not valid JSON"),
        ("p.json", b"[" * 100_000, r"p\.json: not valid JSON"),
        ("p.json", b'["Ilse"]', r"p\.json: expected a JSON object"),
        ("p.json", b'{"name": "x", "age": [3]}', r"p\.json: age: "),
        ("p.json", b"", r"p\.json:1: not valid JSON"),
        ("p.txt", b"Ilse, a ferrywoman", r"p\.txt: .*starts with 'Name:'"),
        ("p.txt", b"Name: \xff", r"p\.txt: cannot be read as UTF-8"),
    ],
)
def test_a_faulty_file_is_named_with_its_key_or_line(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        load_profile(tmp_path / name)


def test_a_missing_file_or_a_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent\.json: no such file"):
        load_profile(tmp_path / "absent.json")
    with pytest.raises(UserError, match=str(tmp_path)):
        load_profile(tmp_path)
