from pathlib import Path

import pytest

from opencharacter.errors import OpenCharacterError, UserError
from opencharacter.sources import fetch, source_name
from opencharacter.sources.hub import parse_hub_uri


def test_local_inputs_are_given_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a b.jsonl").write_text("{}")
    monkeypatch.chdir(tmp_path)
    expected = (tmp_path / "a b.jsonl").resolve()
    assert fetch("a b.jsonl") == fetch(f"file://{tmp_path}/a b.jsonl") == expected
    assert fetch(str(tmp_path)) == tmp_path.resolve()


def test_a_file_of_a_package_is_found() -> None:
    assert fetch("package://opencharacter.prompts/system.md").read_text(encoding="utf-8").startswith("You are")
    assert fetch("package://opencharacter/records/models.py").name == "models.py"


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("absent.jsonl", r"absent\.jsonl: no such file"),
        ("gs://bucket/key", "unknown scheme"),
        ("package://opencharacter/absent.jsonl", "has no file 'absent.jsonl'"),
        ("package://no_such_package/x", "no Python package 'no_such_package'"),
        ("package:///x", "no Python package ''"),
        ("hf://only-a-name", "expected hf://OWNER/NAME"),
        ("hf://owner/name@", "expected hf://OWNER/NAME"),
        ("s3://bucket", "expected one object"),
    ],
)
def test_what_is_no_input_is_told(uri: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        fetch(uri)


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("data/personas.jsonl", "personas.jsonl"),
        ("file:///data/personas.jsonl", "personas.jsonl"),
        ("package://opencharacter/data/demo/sessions.jsonl", "sessions.jsonl"),
        ("s3://bucket/people/personas.jsonl.zst", "personas.jsonl.zst"),
        ("hf://proj-persona/PersonaHub@abc123/persona", "proj-persona/PersonaHub"),
    ],
)
def test_the_source_is_named_for_the_lineage(uri: str, name: str) -> None:
    assert source_name(uri) == name


@pytest.mark.parametrize("name", ["train.jsonl", "data/train.csv", "x.tsv.gz", "x.arrow", "x.json.xz", "x.parquet"])
def test_a_data_file_of_a_hub_data_set_is_told_from_a_configuration(name: str) -> None:
    assert parse_hub_uri(f"hf://owner/sea/{name}").names_a_file
    assert not parse_hub_uri("hf://owner/sea/en-2024.1").names_a_file


def test_a_configuration_of_a_hub_data_set_becomes_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    from opencharacter.records import Session, read_sessions

    # `datasets` takes a folder of this name for the data set of this name: all but the transfer is as from the hub.
    (tmp_path / "owner" / "sea").mkdir(parents=True)
    (tmp_path / "owner" / "sea" / "train.jsonl").write_text('{"conversations": ["Why?", "Salt."]}\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hub")
    monkeypatch.setenv("OPENCHARACTER_CACHE", str(tmp_path / "cache"))
    path = fetch("hf://owner/sea")
    (session,) = read_sessions(path, corpus="sea", licence="x")
    assert isinstance(session, Session)
    assert [turn.content for turn in session.turns] == ["Why?", "Salt."]
    with pytest.raises(UserError, match=r"'hf://owner/sea/lakes': .*lakes"):
        fetch("hf://owner/sea/lakes")


@pytest.mark.parametrize("uri", ["hf://owner/absent/train.jsonl", "hf://owner/absent"])
def test_without_a_network_the_hub_is_out_of_reach(uri: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import datasets
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OpenCharacterError, match="cannot be reached") as failed:
        fetch(uri)
    assert failed.value.exit_code == 1
    assert "local path" in str(failed.value.hint)
