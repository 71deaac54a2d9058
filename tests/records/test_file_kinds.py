"""One look at what a file is: it is read rightly, or refused by what it is."""

import bz2
import contextlib
import csv
import gzip
import io
import json
import lzma
import sqlite3
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from opencharacter.errors import UserError
from opencharacter.records import (
    BadRow,
    Persona,
    RawRow,
    RawRows,
    Session,
    SourceFile,
    read_personas,
    read_sessions,
)

REAL_DATA = Path(__file__).parents[2].parent / "shared" / "data"

PEOPLE = [{"persona": "A ferrywoman, of Husum"}, {"persona": 'A "baker" in Köln\nand Bonn'}, {"persona": "潮水守望者"}]
CHATS: list[dict[str, Any]] = [
    {"conversations": [{"from": "human", "value": f"Why {number}?"}, {"from": "gpt", "value": "So."}]}
    for number in range(3)
]
POINTER = (
    b"version https://git-lfs.github.com/spec/v1\n"
    b"oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"
)
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in PEOPLE)


def _rows(path: Path, **options: Any) -> list[Any]:
    rows = list(RawRows(path, path.name, **options))
    assert all(isinstance(row, RawRow) for row in rows), rows
    return [row.value for row in rows if isinstance(row, RawRow)]


def _csv(rows: list[dict[str, Any]], delimiter: str = ",") -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


@pytest.mark.parametrize("name", ["people.jsonl", "people.json", "people"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("content", [LINES, json.dumps(PEOPLE, indent=2, ensure_ascii=False)], ids=["lines", "array"])
def test_encodings_are_read(tmp_path: Path, name: str, encoding: str, content: str) -> None:
    (tmp_path / name).write_bytes(content.encode(encoding))
    assert _rows(tmp_path / name) == PEOPLE


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress, bz2.compress, lzma.compress])
@pytest.mark.parametrize("name", ["people.jsonl", "people.json.zip", "people.parquet"])
def test_a_compressed_file_is_read_whatever_it_is_called(
    tmp_path: Path, name: str, pack: Callable[[bytes], bytes]
) -> None:
    (tmp_path / name).write_bytes(pack(LINES.encode()))
    assert _rows(tmp_path / name) == PEOPLE


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("form", ["parquet", "file", "stream"])
def test_parquet_and_arrow_are_read_compressed_and_not(
    tmp_path: Path, form: str, pack: Callable[[bytes], bytes]
) -> None:
    import pyarrow
    import pyarrow.ipc
    import pyarrow.parquet

    table, buffer = pyarrow.Table.from_pylist(PEOPLE), io.BytesIO()
    if form == "parquet":
        pyarrow.parquet.write_table(table, buffer)
    else:
        writer = (pyarrow.ipc.new_file if form == "file" else pyarrow.ipc.new_stream)(buffer, table.schema)
        writer.write_table(table)
        writer.close()
    (tmp_path / "people.json").write_bytes(pack(buffer.getvalue()))
    assert _rows(tmp_path / "people.json") == PEOPLE


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(json.dumps({"data": CHATS}), id="one line"),
        pytest.param(json.dumps({"data": CHATS}, indent=4), id="pretty"),
        pytest.param(
            json.dumps({"version": "1", "about": {"of": []}, "rows": CHATS, "n": 3}, indent=1), id="more keys"
        ),
        pytest.param("\n".join(json.dumps(row, indent=2) for row in CHATS), id="objects of many lines"),
        pytest.param("\n".join(json.dumps(row) for row in CHATS), id="JSON Lines"),
        pytest.param(json.dumps(CHATS), id="array of one line"),
        pytest.param("[\n" + ",\n".join(json.dumps(row) for row in CHATS) + "\n]\n", id="array, a row a line"),
    ],
)
@pytest.mark.parametrize("name", ["chats.json", "chats.jsonl"])
def test_json_is_read_however_it_is_laid_out(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    assert _rows(tmp_path / name, text=False) == CHATS
    assert [row for row in read_sessions(tmp_path / name, corpus="c", licence="x") if isinstance(row, BadRow)] == []


def test_one_pretty_object_is_a_row_though_it_holds_lists_of_objects(tmp_path: Path) -> None:
    for row in (
        CHATS[0],
        {"instruction": "a", "instances": [{"input": "b", "output": "c"}]},
        {"dialog": [{"role": "user", "content": "x"}]},
    ):
        (tmp_path / "one.json").write_text(json.dumps(row, indent=2))
        assert _rows(tmp_path / "one.json", text=False) == [row]


def test_rows_below_a_key_have_their_own_lines(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"about": "x",\n "data": [\n  {"n": 1},\n  {"n": 2}\n ]\n}\n')
    assert [
        (row.line, row.value["n"]) for row in RawRows(tmp_path / "x.json", "x.json") if isinstance(row, RawRow)
    ] == [(3, 1), (4, 2)]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ('{\n"a": [{"n": 1}],\n"b": [{"n": 2}]\n}', r"x\.json:3: .*'a' and 'b' are both lists of rows"),
        ('{\n"data": [\n{"n": 1}\n]\n', r"x\.json:5: not valid JSON: .*the file ends early"),
        ('{\n"n": 1\n} trailing', r"x\.json:3: not valid JSON: more text after the end"),
        ('{\n"n": 1\n}\n{\n"n": }', r"x\.json:5: not valid JSON: Expecting value"),
        ('{\n"n": NaN}', r"x\.json:2: not valid JSON: NaN is not JSON"),
        ('{"persona": {"0": "a", "1": "b"}}', r"x\.json:1: one JSON object of columns"),
    ],
)  # fmt: skip
def test_json_that_cannot_be_read_on_is_named_with_its_line(tmp_path: Path, content: str, problem: str) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(UserError, match=problem):
        list(RawRows(tmp_path / "x.json", "x.json"))


def test_a_cut_row_at_the_start_leaves_the_lines_after_it(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text('{"persona": "a",\n{"persona": "b"}\n{"persona": "c"}\n')
    assert [type(row) for row in RawRows(tmp_path / "x.jsonl", "x.jsonl")] == [BadRow, RawRow, RawRow]


@pytest.mark.parametrize(
    ("name", "delimiter"), [("people.csv", ","), ("people.csv", ";"), ("people.tsv", "\t"), ("people.txt", ",")]
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_csv_is_read_by_its_header(tmp_path: Path, name: str, delimiter: str, encoding: str) -> None:
    rows = [{"id": str(number), **row} for number, row in enumerate(PEOPLE, 1)]
    (tmp_path / name).write_bytes(_csv(rows, delimiter).encode(encoding))
    assert _rows(tmp_path / name) == rows
    people = list(read_personas(tmp_path / name, licence="x"))
    assert [person.text for person in people if isinstance(person, Persona)] == [
        "A ferrywoman, of Husum", 'A "baker" in Köln and Bonn', "潮水守望者",
    ]  # fmt: skip


def test_an_index_without_a_name_is_a_column_and_names_must_differ(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(",persona\n0,A baker\n1,A ferrywoman\n")
    assert [row["persona"] for row in _rows(tmp_path / "x.csv")] == ["A baker", "A ferrywoman"]
    (tmp_path / "x.csv").write_text("persona,persona\na,b\n")
    with pytest.raises(
        UserError, match=r"x\.csv: the header line has two columns with the same name: persona, persona"
    ):
        _rows(tmp_path / "x.csv")


def test_content_goes_before_a_wrong_name(tmp_path: Path) -> None:
    for name in ("people.csv", "people.parquet", "people.arrow", "people.txt"):
        (tmp_path / name).write_text(LINES, encoding="utf-8")
        assert _rows(tmp_path / name) == PEOPLE
    for name in ("people.parquet", "people.arrow"):
        (tmp_path / name).write_text("A baker\nA ferrywoman\n")
        with pytest.raises(UserError, match=f"{name}: not an? (Parquet|Arrow) file"):
            _rows(tmp_path / name)


def test_separators_within_a_text_are_no_ends_of_lines(tmp_path: Path) -> None:
    rows = [{"persona": "a [\u2028b"}, {"persona": "c\x85d\x0b"}]
    (tmp_path / "x.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    files: list[SourceFile] = []
    assert [row.value for row in RawRows(tmp_path / "x.jsonl", "x", None, files) if isinstance(row, RawRow)] == rows
    assert [file.format for file in files] == ["JSON Lines"]


def test_csv_sessions_and_their_bad_lines(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(
        'instruction,input,output,system\n"Why,\nthen?",,So.,\na,b\na,b,c,d,e\nWhat?,x,y,Be brief.\n'
    )
    reader = read_sessions(tmp_path / "x.csv", corpus="c", licence="x")
    first, short, long, last = list(reader)
    assert isinstance(first, Session)
    assert first.user_turns == ["Why,\nthen?"]
    assert isinstance(short, BadRow)
    assert isinstance(long, BadRow)
    assert (short.line, short.reason) == (4, "the line has fewer fields than the header; quote texts that hold a comma")
    assert (long.line, long.reason) == (5, "the line has more fields than the header; quote texts that hold a comma")
    assert isinstance(last, Session)
    assert reader.system_turns_dropped == 1


def test_a_table_may_hold_conversations_as_json_text(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(_csv([{"conversations": json.dumps(row["conversations"])} for row in CHATS]))
    sessions = list(read_sessions(tmp_path / "x.csv", corpus="c", licence="x"))
    assert [row.user_turns for row in sessions if isinstance(row, Session)] == [["Why 0?"], ["Why 1?"], ["Why 2?"]]


def _zip(names: list[str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, LINES)
    return buffer.getvalue()


def _sqlite() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        with contextlib.closing(sqlite3.connect(Path(folder) / "x.db")) as database:
            database.execute("CREATE TABLE people (persona TEXT)")
            database.commit()
        return (Path(folder) / "x.db").read_bytes()


REFUSED: list[tuple[bytes, str]] = [
    (POINTER, "a Git LFS pointer, not the file itself"),
    (b"/annex/objects/SHA256E-s12--4d7a.jsonl\n", "a git-annex pointer"),
    (b"<!DOCTYPE html>\n<html><head><title>Sign in</title>", "an HTML or XML page"),
    (b"\n\n  <html lang='en'>Sign in", "an HTML or XML page"),
    (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "an HTML or XML page"),
    (gzip.compress(b"<!doctype html><html>"), "an HTML or XML page"),
    (_zip(["people.jsonl"]), "a zip archive"),
    (_zip(["[Content_Types].xml", "xl/workbook.xml"]), "an Excel or other Office document"),
    (_sqlite(), "an SQLite database"),
    (gzip.compress(gzip.compress(LINES.encode())), "gzip inside another compression"),
    (b"%PDF-1.7\n", "a PDF document"),
    (b"\x80\x04\x95\x10", "a Python pickle"),
    (b"PAR1" + b"\0" * 40 + b"PAR1", "not a valid Parquet file"),
    (b"ARROW1\0\0" + b"\0" * 40, "not a valid Arrow file"),
    (b"\xff\xff\xff\xff" + b"\0" * 40, "the Arrow file is cut off"),
]


@pytest.mark.parametrize("name", ["data.jsonl", "data.json", "data.parquet", "data.csv", "data.txt", "data"])
@pytest.mark.parametrize(("content", "what"), REFUSED, ids=[what for _, what in REFUSED])
@pytest.mark.parametrize("text", [None, True, False])
def test_a_file_of_another_kind_is_refused_by_what_it_is(
    tmp_path: Path, name: str, content: bytes, what: str, text: bool | None
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=f"^{name}: {what}") as refused:
        list(RawRows(tmp_path / name, name, text=text))
    assert refused.value.hint


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".ndjson", ".jsonl.gz"])
def test_a_json_file_is_plain_text_only_where_told(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"people{suffix}"
    path.write_text("A baker\nA ferrywoman\n")
    assert [type(row) for row in read_personas(path, licence="x")] == [BadRow, BadRow]
    assert [type(row) for row in read_personas(path, licence="x", format="text")] == [Persona, Persona]
    path.write_text('"A baker"\n"A ferrywoman"\n')
    assert [row.text for row in read_personas(path, licence="x") if isinstance(row, Persona)] == [
        "A baker",
        "A ferrywoman",
    ]


def test_nothing_below_a_hidden_folder_is_data(tmp_path: Path) -> None:
    for folder in (".git", ".cache/huggingface/download", ".ipynb_checkpoints", "data/.ipynb_checkpoints", "data"):
        (tmp_path / "set" / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / folder / "people.jsonl").write_text(json.dumps({"persona": folder}))
    (tmp_path / "set" / "notes.md").write_text("# Notes")
    reader = RawRows(tmp_path / "set", "set")
    assert [row.value for row in reader if isinstance(row, RawRow)] == [{"persona": "data"}]
    assert [(file.name, file.format) for file in reader.files] == [
        ("set", "not data by their names: notes.md"),
        ("set/data/people.jsonl", "JSON"),
    ]


def test_a_saved_data_set_is_read_as_it_is_saved(tmp_path: Path) -> None:
    import datasets

    rows = [{"instruction": f"q{number}", "output": "a"} for number in range(2_500)]
    data = datasets.Dataset.from_list(rows)
    data.save_to_disk(str(tmp_path / "saved"), num_shards=3)
    assert _rows(tmp_path / "saved") == rows
    datasets.DatasetDict({"train": data}).save_to_disk(str(tmp_path / "one"))
    assert _rows(tmp_path / "one") == rows
    datasets.DatasetDict({"train": data, "test": data.select(range(9))}).save_to_disk(str(tmp_path / "two"))
    with pytest.raises(UserError, match="two: a saved data set with the splits train, test") as refused:
        _rows(tmp_path / "two")
    assert refused.value.hint == "name it: two/train"
    assert len(_rows(tmp_path / "two" / "test")) == 9
    # The order of a selection is the saved one, and a part of it that is missing or cut off is named.
    data.select([5, 3]).save_to_disk(str(tmp_path / "picked"))
    assert _rows(tmp_path / "picked") == [rows[5], rows[3]]
    part = tmp_path / "saved" / "data-00001-of-00003.arrow"
    part.write_bytes(part.read_bytes()[:-8])
    with pytest.raises(UserError, match=r"saved/data-00001-of-00003\.arrow: the Arrow file is cut off"):
        _rows(tmp_path / "saved")
    part.unlink()
    with pytest.raises(UserError, match=r"saved/data-00001-of-00003\.arrow: no such file"):
        _rows(tmp_path / "saved")


@pytest.mark.parametrize(
    "state", ["", "[]", "{", '{"_data_files": 7}', '{"_data_files": [{"filename": "../x.arrow"}]}']
)
def test_a_broken_description_of_a_saved_data_set_is_named(tmp_path: Path, state: str) -> None:
    (tmp_path / "state.json").write_text(state)
    (tmp_path / "dataset_info.json").write_text("{}")
    with pytest.raises(UserError, match=r"set/state\.json: not the description of a saved data set"):
        list(RawRows(tmp_path, "set"))


def test_files_and_their_rows_are_counted(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"persona": "a"}\n{"persona": "\\u200b"}\n{"perso\n')
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress("persona\nb\nc\n".encode("utf-16")))
    (tmp_path / "c.txt").write_text("")
    files: list[SourceFile] = []
    reader = read_personas(tmp_path, licence="x", name="set", files=files)
    assert [type(row) for row in reader] == [Persona, BadRow, BadRow, Persona, Persona]
    assert [(file.name, file.format, file.rows, file.bad) for file in files] == [
        ("set/a.jsonl", "JSON Lines", 3, 2),
        ("set/b.csv.gz", "CSV, UTF-16, gzip", 2, 0),
        ("set/c.txt", "empty", 0, 0),
    ]


_fragment = st.sampled_from(
    [b"{", b"}", b"[", b"]", b",", b'"data"', b'"persona"', b":", b'"', b"\n", b"\r", b"\t", b"\\ud800", b"NaN",
     b"PAR1", b"ARROW1\0\0", b"\xff\xff\xff\xff", b"\xff\xfe", b"\xfe\xff", b"\xff\xfe\0\0", b"\0", b"BZh9",
     b"\xfd7zXZ\0", b"persona,id\n", b"instruction\toutput\n", b"<html>", b"1e999", b"null", POINTER[:40],
     LINES.encode("utf-16"), b"{\n", b"\"data\": [\n", gzip.compress(LINES.encode()),
     bz2.compress(LINES.encode()), LINES.encode()]
)  # fmt: skip


@given(
    st.lists(_fragment | st.binary(max_size=6), max_size=9).map(b"".join) | st.binary(max_size=80),
    st.sampled_from(["x.json", "x.jsonl", "x.csv", "x.tsv", "x.txt", "x.parquet", "x.arrow", "x"]),
    st.sampled_from(["auto", "text", "sessions"]),
)
def test_arbitrary_bytes_are_rows_bad_rows_or_one_error(content: bytes, name: str, how: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        with contextlib.suppress(UserError):
            rows = (
                read_sessions(path, corpus="c", licence="x")
                if how == "sessions"
                else read_personas(path, licence="x", format=how)
            )
            for row in rows:
                assert isinstance(row, BadRow | Persona | Session)


@pytest.mark.skipif(not REAL_DATA.is_dir(), reason=f"no data of others in {REAL_DATA}")
def test_data_of_others_are_the_same_sessions_in_every_form(tmp_path: Path) -> None:
    import datasets

    original = REAL_DATA / "sharegpt_dummy_conversations.json"
    rows = json.loads(original.read_text(encoding="utf-8"))
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (tmp_path / "a.jsonl").write_text(lines, encoding="utf-8")
    (tmp_path / "b.json").write_text(lines, encoding="utf-16")
    (tmp_path / "c.json").write_text(json.dumps({"version": 1, "data": rows}, indent=2))
    (tmp_path / "d.json").write_text("\n".join(json.dumps(row, indent=2) for row in rows))
    (tmp_path / "e.csv").write_text(_csv([{**row, "conversations": json.dumps(row["conversations"])} for row in rows]))
    (tmp_path / "f.parquet").write_bytes(gzip.compress(lines.encode()))
    datasets.Dataset.from_list(rows).save_to_disk(str(tmp_path / "g"))
    expected = list(read_sessions(original, corpus="c", licence="x", source="s"))
    assert all(isinstance(row, Session) for row in expected)
    for path in sorted(tmp_path.iterdir()):
        assert list(read_sessions(path, corpus="c", licence="x", source="s")) == expected, path.name
