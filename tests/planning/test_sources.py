"""`plan` and `config validate` say of a file what the run would say."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from opencharacter.cli import main
from opencharacter.config.loading import load_run_config
from opencharacter.config.run import RunConfig
from opencharacter.errors import UserError
from opencharacter.planning import load_figures, make_plan
from opencharacter.planning.sources import describe_sources, look_at_sources, require_readable
from opencharacter.storage import Workspace
from opencharacter.synthesis import PublishedDataset, import_dataset, ingest

GOOD = '{"instruction": "Why?", "output": "So."}\n'


def _config(*overrides: str) -> RunConfig:
    return load_run_config(preset="demo", overrides=overrides)


def _run(config: RunConfig, folder: Path) -> None:
    ingest(config.inputs, workspace=Workspace(folder))


def _plan(config: RunConfig, folder: Path) -> None:
    make_plan(config, None, load_figures())


def _validate(config: RunConfig, folder: Path) -> None:
    require_readable(look_at_sources(config))


REFUSED: list[tuple[str, bytes, str]] = [
    ("x.jsonl", b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12\n", "a Git LFS pointer"),
    ("x.parquet", b"<!DOCTYPE html><html><title>Sign in</title>", "an HTML or XML page"),
    ("x.xlsx", b"PK\x03\x04\x14\0[Content_Types].xml", "an Excel or other Office document"),
    ("x.db", b"SQLite format 3\0", "an SQLite database"),
    ("x.jsonl", b"", "the data set is empty"),
    ("x.json", b"Why is the sea salty?\nWho knows.\n", "unknown format; line 1 is not valid JSON"),
    ("x.jsonl", (GOOD * 9 + "{}\n").encode(), "1 of 10 rows are bad (max_bad_share is 0.05)"),
    ("x.jsonl", b'{"prompt": "a", "chosen": "b", "rejected": "c"}\n', "preference data"),
    ("absent.jsonl", b"", "no such file"),
]


@pytest.mark.parametrize("told_by", [_run, _plan, _validate])
@pytest.mark.parametrize(("name", "content", "problem"), REFUSED)
def test_the_run_the_plan_and_the_check_refuse_the_same(
    tmp_path: Path, name: str, content: bytes, problem: str, told_by: Callable[[RunConfig, Path], None]
) -> None:
    if name != "absent.jsonl":
        (tmp_path / name).write_bytes(content)
    config = _config(f"inputs.corpora.0.uri={tmp_path / name}")
    with pytest.raises(UserError) as refused:
        told_by(config, tmp_path / "work")
    assert problem in str(refused.value)


@pytest.mark.parametrize("command", [("config", "validate"), ("plan",)])
def test_a_refused_file_is_one_message_and_exit_code_2(
    tmp_path: Path, command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "chats.jsonl").write_text("<html>Sign in</html>")
    (tmp_path / "people.json").write_text('[{"persona": ""}]')
    overrides = [f"inputs.corpora.0.uri={tmp_path}/chats.jsonl", f"inputs.personas.0.uri={tmp_path}/people.json"]
    with pytest.raises(SystemExit) as ended:
        main([*command, "demo", *(word for override in overrides for word in ("--set", override))])
    out, err = capsys.readouterr()
    assert ended.value.code == 2
    assert "Traceback" not in out + err
    assert f"inputs.corpora.0: {tmp_path}/chats.jsonl: an HTML or XML page" in err
    assert f"inputs.personas.0: {tmp_path}/people.json: 1 of 1 rows are bad" in err
    if command == ("config", "validate"):
        people, chats = f"{tmp_path}/people.json", f"{tmp_path}/chats.jsonl"
        assert out.splitlines() == [
            f"inputs.personas.0  {people}  JSON array: 1 row, 1 bad",
            f"inputs.personas.0  refused: {people}: 1 of 1 rows are bad (max_bad_share is 0.05); the first:"
            f" {people}:1: the persona is empty",
            f"inputs.corpora.0  {chats}  not read",
            f"inputs.corpora.0  refused: {chats}: an HTML or XML page, not data: often a saved sign-in or error page",
        ]


def test_each_file_has_a_line_with_what_it_is_and_its_rows(tmp_path: Path) -> None:
    folder = tmp_path / "chats"
    (folder / ".git").mkdir(parents=True)
    (folder / ".git" / "x.jsonl").write_text("no data")
    (folder / "a.csv").write_text('instruction,output,system\nWhy?,So.,Be brief.\n"Why not?",Who knows.,\n')
    (folder / "b.json").write_text(json.dumps({"data": [{"instruction": "Why?", "output": "So."}]}, indent=2))
    (folder / "notes.md").write_text("# Notes")
    looks = look_at_sources(_config(f"inputs.corpora.0.uri={folder}"))
    assert list(describe_sources(looks))[1:] == [
        f"inputs.corpora.0  {folder}  not data by their names: notes.md",
        f"inputs.corpora.0  {folder}/a.csv  CSV, alpaca: 2 rows",
        f"inputs.corpora.0  {folder}/b.json  JSON, alpaca: 1 row",
        f"inputs.corpora.0  {folder}: 1 duplicate, counted once",
        f"inputs.corpora.0  {folder}: 1 system prompt dropped, for the character's own",
    ]
    assert [(look.rows, look.refusal) for look in looks] == [(28, None), (2, None)]


def test_a_published_data_set_is_judged_as_the_import_judges_it(tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").write_text('{"character_id": 1, "persona": "x", "character": "Name: Ilse"}\n')
    rows: list[dict[str, Any]] = [{"character_id": 1, "question": "Why?", "character_answer": "So."}]
    rows.append({"character_id": 2, "question": "Why?", "character_answer": "So."})
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    dataset = PublishedDataset(characters=str(tmp_path / "c.jsonl"), dialogues=str(tmp_path / "d.jsonl"))
    config = _config().model_copy(deep=True)
    config.inputs.personas, config.inputs.corpora, config.inputs.dataset = [], [], dataset
    with pytest.raises(UserError) as said:
        _validate(config, tmp_path)
    with pytest.raises(UserError) as done:
        import_dataset(dataset, workspace=Workspace(tmp_path / "work"), max_bad_share=config.inputs.max_bad_share)
    refusal = str(said.value).removeprefix("inputs.dataset.dialogues: ")
    assert "'character_id' names no character that was read" in refusal
    assert str(done.value).startswith(refusal)
    config.inputs.max_bad_share = 0.5
    assert [(look.rows, look.bad) for look in look_at_sources(config)] == [(1, 0), (1, 1)]
