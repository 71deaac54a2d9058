import contextlib
import gzip
import io
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from opencharacter.errors import UserError
from opencharacter.records import BadRow, RawRow, RawRows
from opencharacter.records.json_values import JsonReader

ROWS = [{"persona": "a ferrywoman, \u2028 of Husum"}, {"persona": "a baker"}]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode()
ARRAY = json.dumps(ROWS, indent=2).encode()


def _values(path: Path, **options: Any) -> list[Any]:
    rows = list(RawRows(path, path.name, **options))
    assert all(isinstance(row, RawRow) for row in rows)
    return [row.value for row in rows if isinstance(row, RawRow)]


def _parquet(content: bytes) -> bytes:
    import pyarrow
    import pyarrow.parquet

    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstandard.compress], ids=["plain", "gzip", "zstd"])
@pytest.mark.parametrize("content", [LINES, LINES.replace(b"\n", b"\r\n\r\n"), b"\xef\xbb\xbf" + LINES, ARRAY])
def test_rows_are_found_whatever_holds_them(tmp_path: Path, content: bytes, pack: Callable[[bytes], bytes]) -> None:
    (tmp_path / "data").write_bytes(pack(content))
    assert _values(tmp_path / "data") == ROWS


def test_parquet_rows_are_numbered_from_one(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(_parquet(b""))
    assert list(RawRows(tmp_path / "data", "data")) == [
        RawRow("data", number, row) for number, row in enumerate(ROWS, 1)
    ]


def test_plain_text_is_told_from_json_and_can_be_named(tmp_path: Path) -> None:
    (tmp_path / "people").write_text("a baker\n\n  [sic] a ferrywoman \n", encoding="utf-8")
    assert _values(tmp_path / "people") == ["a baker", "[sic] a ferrywoman"]
    (tmp_path / "people").write_text("[sic] a ferrywoman", encoding="utf-8")
    assert _values(tmp_path / "people", text=True) == ["[sic] a ferrywoman"]


def test_a_folder_is_its_data_files_in_order(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "b.jsonl.gz").write_bytes(gzip.compress(b'{"n": 3}'))
    (folder / "a.json").write_bytes(b'[{"n": 1},\n{"n": 2}]')
    (folder / "README.md").write_text("no data", encoding="utf-8")
    found = list(RawRows(folder, "set"))
    assert found == [
        RawRow("set/a.json", 1, {"n": 1}),
        RawRow("set/a.json", 2, {"n": 2}),
        RawRow("set/data/b.jsonl.gz", 1, {"n": 3}),
    ]


def test_bad_lines_are_named_and_the_rest_is_read(tmp_path: Path) -> None:
    bad = [b'{"persona": "cut of', b'{"persona": "\xff"}', b'{"age": NaN}', b"[" * 100_000, b'{"a": "\\ud83d"}']
    (tmp_path / "data.jsonl").write_bytes(b"\n".join([b'{"n": 1}', *bad, b'{"n": 2}']))
    rows = list(RawRows(tmp_path / "data.jsonl", "data.jsonl"))
    assert [row.value for row in rows if isinstance(row, RawRow)] == [{"n": 1}, {"n": 2}]
    assert [(row.file, row.line, row.reason) for row in rows if isinstance(row, BadRow)] == [
        ("data.jsonl", 2, "not valid JSON"),
        ("data.jsonl", 3, "not UTF-8 text"),
        ("data.jsonl", 4, "not valid JSON"),
        ("data.jsonl", 5, "not valid JSON"),
        ("data.jsonl", 6, "holds half of a surrogate pair, which is no character"),
    ]
    assert all(isinstance(row, RawRow) or len(row.excerpt) <= 2_000 for row in rows)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b'[{"n": 1},\n{"n": }]', r"x\.json:2: not a valid JSON array: Expecting value"),
        (b'[{"n": 1}\n{"n": 2}]', r"x\.json:2: .*expected '\]'"),
        (b'[{"n": 1},\n', r"x\.json:2: "),
        (b'[{"n": 1}', r"x\.json:1: .*the file ends early"),
        (b'[{"n": 1}]\n[]', r"x\.json:2: .*more text after the end"),
        (b'[{"n": NaN}]', r"x\.json:1: .*NaN is not JSON"),
        (b'[{"n": "\xff"}]', r"x\.json: not UTF-8"),
        (gzip.compress(LINES)[:-9], r"x\.json: the compressed file is damaged"),
        (zstandard.compress(LINES * 9)[:-9], r"x\.json: the compressed file is damaged"),
        (b"PAR1 and then nothing", r"x\.json: not a valid Parquet file"),
    ],
)
def test_a_file_that_cannot_be_read_on_is_named_with_its_line(tmp_path: Path, content: bytes, problem: str) -> None:
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(UserError, match=problem):
        list(RawRows(tmp_path / "x.json", "x.json"))


def test_a_missing_file_and_a_folder_without_data_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent\.jsonl: no such file"):
        list(RawRows(tmp_path / "absent.jsonl", "absent.jsonl"))
    with pytest.raises(UserError, match="has no data file"):
        list(RawRows(tmp_path, "folder"))


class _Trickle(io.StringIO):
    """A stream that gives a few characters at a time, so that every element is cut somewhere."""

    def read(self, size: int | None = -1) -> str:
        return super().read(3)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(_json, max_size=6), st.sampled_from([None, 1]), st.booleans())
def test_an_array_read_in_pieces_equals_the_array(values: list[Any], indent: int | None, ascii_only: bool) -> None:
    text = json.dumps(values, indent=indent, ensure_ascii=ascii_only)
    read = list(JsonReader(_Trickle(text), "x").array())
    assert [value for _, value in read] == values
    if indent:
        lines = text.split("\n")
        assert all(lines[line - 1].startswith(" ") and not lines[line - 1].startswith("  ") for line, _ in read)


def test_a_long_zstd_file_of_several_frames_is_read_whole(tmp_path: Path) -> None:
    frame = zstandard.compress(LINES * 20_000)
    (tmp_path / "data.jsonl.zst").write_bytes(frame * 2)
    assert sum(1 for _ in RawRows(tmp_path / "data.jsonl.zst", "x")) == 80_000


_fragment = st.sampled_from(
    [b"{", b"}", b"[", b"]", b",", b'"persona"', b":", b'"', b"\n", b"\\ud800", b"NaN", b"PAR1", b"\x1f\x8b\x08",
     b"\x28\xb5\x2f\xfd", b"\xff", b"\xef\xbb\xbf", b"1e999", b"null", gzip.compress(LINES), zstandard.compress(LINES)]
)  # fmt: skip


@given(st.lists(_fragment | st.binary(max_size=4), max_size=8).map(b"".join), st.sampled_from([None, True, False]))
def test_whatever_a_file_holds_its_fault_is_told_as_one(content: bytes, text: bool | None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.json"
        path.write_bytes(content)
        with contextlib.suppress(UserError):
            for row in RawRows(path, "data.json", text=text):
                assert row.file == "data.json"
                assert row.line >= 1
