import json
from pathlib import Path
from typing import Any

import pytest

from opencharacter.errors import UserError
from opencharacter.records import BadRow, Persona, Session
from opencharacter.storage import Workspace, read_models
from opencharacter.synthesis import Corpus, InputsConfig, PersonaSource, ingest

REAL_DATA = Path(__file__).parents[2].parent / "shared" / "data"

PEOPLE = ["A baker", "A ferrywoman", "A  baker ", "A clockmaker"]
EXCHANGES = [{"instruction": f"What is {number}?", "output": "A number."} for number in range(19)]


def _lines(path: Path, rows: list[Any]) -> str:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return str(path)


def _config(folder: Path, **options: Any) -> InputsConfig:
    people = _lines(folder / "people.jsonl", [{"persona": text} for text in PEOPLE])
    exchanges = _lines(folder / "sea.jsonl", [*EXCHANGES, EXCHANGES[0], '{"instruction": "cut o'])
    corpus = {"name": "sea", "uri": exchanges, "license": "CC0-1.0", "strategies": ["R"], **options}
    return InputsConfig(
        personas=[PersonaSource(uri=people, license="CC0-1.0", name="people")], corpora=[Corpus.model_validate(corpus)]
    )


def test_rows_duplicates_and_bad_rows_are_counted_for_each_source(tmp_path: Path) -> None:
    personas, sessions = ingest(_config(tmp_path), workspace=Workspace(tmp_path / "work"))
    assert personas.counts == {"ok": 3, "bad": 0, "duplicates": 1}
    assert sessions.counts == {"ok": 19, "bad": 1, "duplicates": 1, "system_turns_dropped": 0}
    assert sessions.stats["sources"] == {"sea": {"ok": 19, "bad": 1, "duplicates": 1}}
    assert sessions.stats["bad_by_reason"] == {"not valid JSON": 1}
    assert sessions.stats["formats"] == {"sea": "alpaca"}
    people = list(read_models(personas.path / "personas.jsonl.zst", Persona))
    assert [(row.text, row.source) for row in people] == [
        ("A baker", "people"),
        ("A ferrywoman", "people"),
        ("A clockmaker", "people"),
    ]
    rows = list(read_models(sessions.path / "sessions.jsonl.zst", Session))
    assert {(row.corpus, row.source, row.licence) for row in rows} == {("sea", "sea.jsonl", "CC0-1.0")}
    (bad,) = read_models(sessions.path / "quarantine.jsonl", BadRow)
    assert (bad.file, bad.line, bad.excerpt) == (str(tmp_path / "sea.jsonl"), 21, '{"instruction": "cut o')


def test_nothing_is_read_again_unless_it_decides_the_result(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "work")
    first = ingest(_config(tmp_path), workspace=workspace)
    assert ingest(_config(tmp_path, strategies=["R", "G"], teacher="other", n=1), workspace=workspace) == first
    limited = ingest(_config(tmp_path, limit=5), workspace=workspace)
    assert limited.personas == first.personas
    assert limited.sessions.counts["ok"] == 5
    _lines(tmp_path / "people.jsonl", [{"persona": "A baker"}])
    config = InputsConfig(
        personas=[PersonaSource(uri=str(tmp_path / "people.jsonl"), license="CC0-1.0", name="people")]
    )
    assert ingest(config, workspace=workspace).personas.counts["ok"] == 1


def test_a_limit_draws_by_the_seed_and_counts_what_it_took(tmp_path: Path) -> None:
    def texts(seed: int, **options: Any) -> list[str]:
        sessions = ingest(_config(tmp_path, **options), workspace=Workspace(tmp_path / "work"), seed=seed).sessions
        return [row.turns[0].content for row in read_models(sessions.path / "sessions.jsonl.zst", Session)]

    one, again, other = texts(1, limit=5), texts(1, limit=5), texts(2, limit=5)
    assert one == again != other
    first = [row["instruction"] for row in EXCHANGES[:5]]
    assert first not in (one, other)
    assert texts(1, limit=5, sample="first") == texts(2, limit=5, sample="first") == first


def test_a_workspace_that_began_with_the_first_rows_is_continued_or_changed_by_a_word(tmp_path: Path) -> None:
    """Version 0.1 took the first rows: other rows would be paid for again."""
    workspace = Workspace(tmp_path / "work")
    with workspace.create("sessions", "made-by-0.1") as draft:
        draft.stats = {"sources": {"sea": {"ok": 4, "bad": 0, "duplicates": 1}}}
    with pytest.raises(UserError, match="sea: the workspace holds the first 5 rows") as told:
        ingest(_config(tmp_path, limit=5), workspace=workspace)
    assert "`sample: first`" in (told.value.hint or "")
    assert workspace.list("sessions") == [workspace.lookup("sessions", "made-by-0.1")]
    for options in ({"limit": 6}, {"limit": 5, "sample": "first"}, {"limit": 5, "sample": "random"}, {"limit": 5}):
        assert ingest(_config(tmp_path, **options), workspace=workspace).sessions.counts["ok"] == options["limit"]


def test_too_many_bad_rows_stop_the_run_and_are_kept(tmp_path: Path) -> None:
    config = _config(tmp_path).model_copy(update={"max_bad_share": 0.04})
    workspace = Workspace(tmp_path / "work")
    with pytest.raises(
        UserError, match=r"sea: 1 of 21 rows are bad .*0\.04.*\n.*sea\.jsonl:21: not valid JSON"
    ) as told:
        ingest(config, workspace=workspace)
    (kept,) = (tmp_path / "work" / "quarantine").iterdir()
    assert str(kept) in str(told.value)
    assert [row.line for row in read_models(kept, BadRow)] == [21]
    assert workspace.list("sessions") == []
    assert list((tmp_path / "work" / "outputs" / "sessions").iterdir()) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the data set is empty"),
        ("\n \n", "the data set is empty"),
        ('{"q": 1}\n', r"sea\.jsonl: unknown format; the row at line 1 has the keys 'q'"),
        ("[1,\n", r"sea\.jsonl: unknown format; line 1 is not valid JSON"),
    ],
)
def test_an_unusable_corpus_is_named(tmp_path: Path, content: str, message: str) -> None:
    config = _config(tmp_path)
    (tmp_path / "sea.jsonl").write_text(content)
    with pytest.raises(UserError, match=message):
        ingest(config, workspace=Workspace(tmp_path / "work"))


def test_a_wrong_format_name_and_an_empty_persona_file_are_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"21 of 21 rows are bad.*\n.*sea\.jsonl:1: 'messages' is missing") as told:
        ingest(_config(tmp_path, format="messages"), workspace=Workspace(tmp_path / "work"))
    assert "format" in str(told.value.hint)
    config = _config(tmp_path)
    (tmp_path / "people.jsonl").write_text("")
    with pytest.raises(UserError, match=r"people\.jsonl: the data set is empty"):
        ingest(config, workspace=Workspace(tmp_path / "work"))


def test_a_missing_file_is_told_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent\.jsonl: no such file"):
        ingest(_config(tmp_path, uri=str(tmp_path / "absent.jsonl")), workspace=Workspace(tmp_path / "work"))
    assert not (tmp_path / "work").exists()


@pytest.mark.skipif(not REAL_DATA.is_dir(), reason=f"no data of others in {REAL_DATA}")
def test_data_of_others_are_read_without_a_bad_row(tmp_path: Path) -> None:
    def corpus(name: str, file: str) -> Corpus:
        return Corpus(name=name, uri=str(REAL_DATA / file), license="x", strategies=["R"])

    config = InputsConfig(
        personas=[PersonaSource(uri=str(REAL_DATA / "persona_hub_personas.jsonl"), license="CC-BY-NC-SA-4.0")],
        corpora=[
            corpus("seed", "self_instruct_seed_tasks.jsonl"),
            corpus("sharegpt", "sharegpt_dummy_conversations.json"),
        ],
    )
    personas, sessions = ingest(config, workspace=Workspace(tmp_path))
    assert personas.counts == {"ok": 4000, "bad": 0, "duplicates": 0}
    assert sessions.stats["sources"] == {
        "seed": {"ok": 175, "bad": 0, "duplicates": 0},
        "sharegpt": {"ok": 500, "bad": 0, "duplicates": 0},
    }
    rows = read_models(sessions.path / "sessions.jsonl.zst", Session)
    assert all(row.has_answers and row.turns[0].role == "user" for row in rows)
