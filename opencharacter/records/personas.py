"""Reading personas: Persona Hub's JSON, tables with a column `persona`, or plain text lines."""

import unicodedata
from collections.abc import Iterator
from pathlib import Path

from opencharacter.errors import UserError
from opencharacter.hashing import text_digest
from opencharacter.records.file_formats import RawRows, SourceFile
from opencharacter.records.formats.fields import text_of
from opencharacter.records.models import Persona
from opencharacter.records.rows import BadRow, InvalidRow, RawRow
from opencharacter.records.sampling import take_rows
from opencharacter.texts import text_fault

_FORMATS: dict[str, bool | None] = {"auto": None, "persona_hub": False, "parquet": False, "text": True}
_LONGEST = 20_000  # characters, as in CharacterProfile.persona


class PersonaReader:
    """The personas of a file or folder, and a `BadRow` for each row without a persona. Iterate over it once."""

    def __init__(self, raw: RawRows, *, source: str, licence: str, limit: int | None, sample_seed: int | None) -> None:
        self._raw = raw
        self._rows = take_rows(raw, limit, sample_seed)
        self._origin = {"source": source, "licence": licence}

    def __iter__(self) -> Iterator[Persona | BadRow]:
        for row in self._rows:
            persona = _persona(row, **self._origin)
            if isinstance(persona, BadRow):
                self._raw.count_bad(persona)
            yield persona


def read_personas(
    path: Path,
    *,
    licence: str,
    source: str | None = None,
    format: str = "auto",
    limit: int | None = None,
    sample_seed: int | None = None,
    name: str | None = None,
    files: list[SourceFile] | None = None,
) -> PersonaReader:
    """The personas of a file or folder, and a `BadRow` for each row without a persona; compressed files included.

    A persona is one line: white space inside it becomes single spaces. `source` is the data set's name for the lineage
    (default: the file's name). `limit` takes the first rows only or, with `sample_seed`, a sample of all rows (see
    `take_rows`). Messages call the file `name` (default: its path). `files` is filled with what is
    read of each file. Raises `UserError` for an unknown format name, and during iteration if the file is absent or
    damaged.
    """
    if format not in _FORMATS:
        raise UserError(f"{name or path}: unknown format '{format}'; known: {', '.join(_FORMATS)}")
    raw = RawRows(path, name or str(path), _FORMATS[format], files)
    return PersonaReader(raw, source=source or path.name, licence=licence, limit=limit, sample_seed=sample_seed)


def persona_id(text: str) -> str:
    """A persona's content address (16 hex digits); `text` as `normalise` returns it."""
    return text_digest(text)[:16]


def normalise(text: str) -> str:
    """A persona's text on one line and in one Unicode form, so that equal personas have equal texts."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def _persona(row: RawRow | BadRow, source: str, licence: str) -> Persona | BadRow:
    if isinstance(row, BadRow):
        return row
    try:
        text = normalise(_text(row))
    except InvalidRow as problem:
        return row.bad(str(problem))
    if fault := text_fault(text):
        return row.bad(f"the persona {fault}")
    if len(text) > _LONGEST:
        return row.bad(f"the persona is longer than {_LONGEST} characters")
    return Persona(id=persona_id(text), text=text, source=source, licence=licence)


def _text(row: RawRow) -> str:
    if isinstance(row.value, str):
        return row.value
    if not isinstance(row.value, dict):
        raise InvalidRow("not a JSON object")
    return text_of(row.value, "persona")
