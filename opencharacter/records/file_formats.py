"""Reading the rows of a file: JSON Lines, a JSON array, Parquet or plain text lines.

The format is detected from the content, not from the name. `.gz` and `.zst` files are read directly.
"""

import codecs
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from opencharacter.errors import UserError
from opencharacter.records.compression import open_bytes
from opencharacter.records.json_array import ArrayReader, refuse_constant
from opencharacter.records.rows import BadRow, RawRow

Container = Literal["lines", "text", "array", "parquet"]

_SUFFIXES = (".json", ".jsonl", ".ndjson", ".parquet", ".txt")
_COMPRESSED = (".gz", ".zst")
_LINE_SUFFIXES = (".jsonl", ".ndjson")


def read_raw_rows(path: Path, name: str, *, text: bool | None = None) -> Iterator[RawRow | BadRow]:
    """The rows of a file, or of all data files below a folder in the order of their names.

    Messages call the file `name`. `text` says whether the file holds plain text lines; with `None`, a file is text if
    it starts like neither JSON nor Parquet. A line that is not JSON is a `BadRow`. Raises `UserError` naming the file
    if it is absent, damaged, or an invalid JSON array.
    """
    if not path.is_dir():
        yield from _read_file(path, name, text)
        return
    for file in data_files(path, name):
        yield from _read_file(file, f"{name}/{file.relative_to(path).as_posix()}", text)


def data_files(folder: Path, name: str) -> list[Path]:
    """The data files below a folder, by name. Raises `UserError` if there is none."""
    files = [path for path in sorted(folder.rglob("[!.]*")) if path.is_file() and _bare_suffix(path.name) in _SUFFIXES]
    if not files:
        raise UserError(f"{name}: the folder has no data file; expected names that end in {', '.join(_SUFFIXES)}")
    return files


def _bare_suffix(name: str) -> str:
    path = Path(name.lower())
    return Path(path.stem).suffix if path.suffix in _COMPRESSED else path.suffix


def _read_file(path: Path, name: str, text: bool | None) -> Iterator[RawRow | BadRow]:
    with open_bytes(path, name) as stream:
        container = _detect(stream, name, text)
        if container == "parquet":
            rows: Iterator[RawRow | BadRow] = _read_parquet(path, name)
        elif container == "array":
            rows = _read_array(stream, name)
        else:
            rows = _read_lines(stream, name, is_text=container == "text")
        yield from rows


def _detect(stream: io.BufferedReader, name: str, text: bool | None) -> Container:
    start = stream.peek(4096)[:4096]
    if start.startswith(b"PAR1"):
        return "parquet"
    first = start.removeprefix(codecs.BOM_UTF8).lstrip()[:1]
    if text or (text is None and first not in (b"{", b"[", b"")):
        return "text"
    return "array" if first == b"[" and _bare_suffix(name) not in _LINE_SUFFIXES else "lines"


def _read_lines(stream: io.BufferedReader, name: str, *, is_text: bool) -> Iterator[RawRow | BadRow]:
    for number, raw in enumerate(stream, 1):
        line = (raw.removeprefix(codecs.BOM_UTF8) if number == 1 else raw).strip(b" \t\r\n")
        if not line:
            continue
        row = RawRow(name, number, line.decode("utf-8", errors="replace"))
        try:
            content = line.decode("utf-8")
            yield row._replace(value=content if is_text else _parse_json(content))
        except UnicodeDecodeError:
            yield row.bad("not UTF-8 text")
        except UnicodeEncodeError:
            yield row.bad("holds half of a surrogate pair, which is no character")
        except (ValueError, RecursionError):
            yield row.bad("not valid JSON")


def _parse_json(text: str) -> Any:
    value = json.loads(text, parse_constant=refuse_constant)
    if "\\ud" in text or "\\uD" in text:
        _refuse_surrogates(value)
    return value


def _refuse_surrogates(value: Any) -> None:
    json.dumps(value, ensure_ascii=False).encode()


def _read_array(stream: io.BufferedReader, name: str) -> Iterator[RawRow | BadRow]:
    with io.TextIOWrapper(stream, encoding="utf-8-sig") as text:
        try:
            for line, value in ArrayReader(text, name):
                row = RawRow(name, line, value)
                try:
                    _refuse_surrogates(value)
                    yield row
                except UnicodeEncodeError:
                    yield RawRow(name, line, json.dumps(value)).bad(
                        "holds half of a surrogate pair, which is no character"
                    )
        except UnicodeDecodeError as error:
            raise UserError(f"{name}: not UTF-8 text: {error}") from error


def _read_parquet(path: Path, name: str) -> Iterator[RawRow]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise UserError(f"{name}: reading Parquet needs pyarrow", hint="pip install 'opencharacter[inputs]'") from error
    try:
        with pyarrow.parquet.ParquetFile(path) as table:
            number = 0
            for batch in table.iter_batches(batch_size=1024):
                for value in batch.to_pylist():
                    number += 1
                    yield RawRow(name, number, value)
    except pyarrow.ArrowException as error:
        raise UserError(f"{name}: not a valid Parquet file: {error}") from error
