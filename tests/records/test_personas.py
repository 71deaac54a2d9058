from pathlib import Path

import pytest

from opencharacter.errors import UserError
from opencharacter.records import BadRow, Persona, read_personas

TEXTS = ["A retired ferrywoman", "A baker of the coast"]


def _write(folder: Path, format: str) -> Path:
    import pyarrow
    import pyarrow.parquet

    path = folder / "people"
    if format == "parquet":
        pyarrow.parquet.write_table(pyarrow.table({"persona": TEXTS, "n": [1, 2]}), path)
    elif format == "text":
        path.write_text("\n\n".join(TEXTS), encoding="utf-8")
    else:
        path.write_text("".join(f'{{"persona": "{text}", "id": 1}}\n' for text in TEXTS), encoding="utf-8")
    return path


@pytest.mark.parametrize("format", ["persona_hub", "text", "parquet"])
def test_each_form_is_detected_and_can_be_named(tmp_path: Path, format: str) -> None:
    path = _write(tmp_path, format)
    for named in ("auto", format):
        rows = list(read_personas(path, licence="CC0-1.0", format=named))
        assert [row.text for row in rows if isinstance(row, Persona)] == TEXTS
        assert {(row.source, row.licence) for row in rows if isinstance(row, Persona)} == {("people", "CC0-1.0")}


def test_the_id_depends_on_the_text_alone_and_spacing_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(
        '{"persona": " A caf\\u00e9\\nowner "}\n{"persona": "A cafe\\u0301 owner"}\n{"persona": "a café owner"}\n'
    )
    one, same, other = read_personas(path, licence="x", source="s")
    assert isinstance(one, Persona)
    assert one.text == "A café owner"
    assert one == same
    assert isinstance(other, Persona)
    assert other.id != one.id


def test_rows_without_a_persona_are_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(
        '{"persona": " "}\n{"text": "x"}\n{"persona": 7}\n7\n{"persona": "%s"}\n' % ("x" * 20_001)
        + '{"persona": "\\u200b\\u3164\\u00ad"}\n{"persona": "A\\u0000"}\n'
    )
    rows = list(read_personas(path, licence="x", format="persona_hub"))
    assert [(row.line, row.reason) for row in rows if isinstance(row, BadRow)] == [
        (1, "the persona is empty"),
        (2, "'persona' is missing"),
        (3, "'persona' is not text"),
        (4, "not a JSON object"),
        (5, "the persona is longer than 20000 characters"),
        (6, "the persona is empty"),
        (7, "the persona holds a NUL character"),
    ]
    assert len(rows) == 7


def test_limit_and_an_unknown_format_name(tmp_path: Path) -> None:
    path = _write(tmp_path, "text")
    assert len(list(read_personas(path, licence="x", limit=1))) == 1
    with pytest.raises(UserError, match="unknown format 'csv'; known: auto, "):
        read_personas(path, licence="x", format="csv")
