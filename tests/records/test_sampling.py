"""Which rows a limit takes."""

import gzip
import json
import random
from pathlib import Path
from typing import Any

import pytest

from opencharacter.records import BadRow, Persona, RawRows, SourceFile, read_personas, read_sessions
from opencharacter.records.sampling import sample_seed, take_rows

ROWS = [{"persona": f"A keeper of lamp {number}", "id": number} for number in range(300)]


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def taken(path: Path, limit: int | None, seed: int | None = 7) -> list[int]:
    return [row.value["id"] for row in take_rows(RawRows(path, "rows"), limit, seed)]


def test_a_sample_is_drawn_from_all_rows_and_grows_with_the_limit(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", ROWS)
    few, many = taken(path, 20), taken(path, 60)
    assert (len(few), len(many)) == (20, 60)
    assert set(few) < set(many)
    assert few == sorted(few), "the rows keep their order"
    assert max(many) > 200 > min(many)
    assert taken(path, 20, seed=8) != few
    assert taken(path, 300) == taken(path, 999) == taken(path, None) == list(range(300))
    assert taken(path, 20, seed=None) == list(range(20))


def test_a_sample_depends_on_the_rows_content_alone(tmp_path: Path) -> None:
    expected = set(taken(write(tmp_path / "rows.jsonl", ROWS), 40))
    shuffled = [dict(reversed(row.items())) for row in random.Random(1).sample(ROWS, len(ROWS))]
    assert set(taken(write(tmp_path / "shuffled.jsonl", shuffled), 40)) == expected
    folder = tmp_path / "folder"
    folder.mkdir()
    write(folder / "b.jsonl", shuffled[:100])
    (folder / "a.json.gz").write_bytes(gzip.compress(json.dumps(shuffled[100:]).encode()))
    assert set(taken(folder, 40)) == expected


def test_equal_rows_are_one_row_of_a_sample(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", ROWS[:50] * 3)
    assert taken(path, 10) == taken(write(tmp_path / "once.jsonl", ROWS[:50]), 10) * 3


def test_bad_rows_are_drawn_like_good_ones_and_files_are_counted_once(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", [*ROWS[:100], *(f'{{"cut": {number}' for number in range(100))])
    files: list[SourceFile] = []
    rows = list(read_personas(path, licence="x", limit=60, sample_seed=1, files=files))
    bad = sum(isinstance(row, BadRow) for row in rows)
    assert bad + sum(isinstance(row, Persona) for row in rows) == 60
    assert bad == pytest.approx(30, abs=15)
    assert [(file.rows, file.bad) for file in files] == [(200, bad)]


def test_sessions_are_sampled_and_their_format_is_that_of_the_sample(tmp_path: Path) -> None:
    rows = [{"instruction": f"What is {number}?", "output": "A number."} for number in range(100)]
    reader = read_sessions(write(tmp_path / "rows.jsonl", rows), corpus="c", licence="x", limit=5, sample_seed=3)
    sessions = list(reader)
    assert (reader.format, len(sessions)) == ("alpaca", 5)
    first = list(read_sessions(tmp_path / "rows.jsonl", corpus="c", licence="x", limit=5))
    assert sessions != first


@pytest.mark.parametrize(
    ("sample", "limit", "seed"), [(None, 5, 11), ("random", 5, 11), ("first", 5, None), (None, None, None)]
)
def test_a_limit_samples_unless_told_otherwise(sample: Any, limit: int | None, seed: int | None) -> None:
    assert sample_seed(sample, limit, 11) == seed
