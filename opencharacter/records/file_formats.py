"""Reading the rows of a file or folder. Its content decides how, and its name where the content leaves a choice.

Read are JSON Lines, JSON, CSV, Parquet, Arrow and plain text lines, also compressed and in UTF-16 or UTF-32, and the
folder of a data set that `datasets` saved. `records.identify` tells them from each other.
"""

import codecs
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opencharacter.errors import UserError
from opencharacter.records.compression import OpenFile, open_bytes
from opencharacter.records.folders import data_files
from opencharacter.records.identify import HEAD, ROW_KEYS, Container, Identity, identify, is_turn
from opencharacter.records.json_values import JsonReader, refuse_constant
from opencharacter.records.rows import BadRow, RawRow
from opencharacter.records.tables import read_columns, read_csv

_SHOWN = 5
_SURROGATE = "holds half of a surrogate pair, which is no character"


@dataclass
class SourceFile:
    """A file that is being read: what it is, and its rows so far."""

    name: str
    format: str = ""
    rows: int = 0
    bad: int = 0


class RawRows:
    """The rows of a file, or of all data files below a folder in the order of their names. Iterate over it once.

    `name` is what messages call the file. `text` says whether it holds plain text lines; with `None`, its content and
    name decide. A line that is not JSON is a `BadRow`. `files` grows as files are opened. Raises `UserError` naming
    the file if it is absent, damaged, invalid from some place on, or of a kind that is not read.
    """

    def __init__(self, path: Path, name: str, text: bool | None = None, files: list[SourceFile] | None = None) -> None:
        self.name = name
        self.files = [] if files is None else files
        self._path = path
        self._text = text

    def __iter__(self) -> Iterator[RawRow | BadRow]:
        if not self._path.is_dir():
            yield from self._read(self._path, self.name)
            return
        folder = data_files(self._path, self.name)
        if folder.others:
            shown = ", ".join(path.relative_to(self._path).as_posix() for path in folder.others[:_SHOWN])
            more = len(folder.others) - _SHOWN
            names = shown if more <= 0 else f"{shown} and {more} more"
            self.files.append(SourceFile(self.name, f"not data by their names: {names}"))
        for file in folder.data:
            yield from self._read(file, f"{self.name}/{file.relative_to(self._path).as_posix()}")

    def _read(self, path: Path, name: str) -> Iterator[RawRow | BadRow]:
        seen = SourceFile(name)
        self.files.append(seen)
        with open_bytes(path, name, head=HEAD) as file:
            if not file.head:
                seen.format = "empty"
                return
            identity = identify(file.head, name, text=self._text)
            seen.format = ", ".join(filter(None, [identity.container, _encoding_name(identity), file.compression]))
            try:
                for row in _rows(file, path, name, identity):
                    seen.rows += 1
                    yield row
            except UnicodeError as error:
                raise UserError(
                    f"{name}: not {identity.encoding.upper()} text: {error}", hint="save it as UTF-8"
                ) from error

    def unrecorded(self) -> "RawRows":
        """The same rows, to iterate over without a trace in `files`."""
        return RawRows(self._path, self.name, self._text)

    def count_bad(self, row: BadRow) -> None:
        """Count a row as bad that its file's reader or format refused."""
        next(file for file in reversed(self.files) if file.name == row.file).bad += 1


def _encoding_name(identity: Identity) -> str:
    return "" if identity.encoding in ("", "utf-8") else identity.encoding[:6].upper()


def _rows(file: OpenFile, path: Path, name: str, identity: Identity) -> Iterator[RawRow | BadRow]:
    container = identity.container
    if container in ("Parquet", "Arrow file", "Arrow stream"):
        return read_columns(file, path, name, container)
    file.stream.read(identity.bom)
    stream = file.stream
    if identity.encoding != "utf-8":
        stream = io.BufferedReader(_Recoded(file.stream, identity.encoding))
    if container == "CSV":
        return read_csv(stream, name, file.head[identity.bom :].decode(identity.encoding, errors="replace"))
    if container in ("JSON array", "JSON"):
        return _read_json(stream, name, container)
    return _read_lines(stream, name, is_text=container == "text")


class _Recoded(io.RawIOBase):
    """A text in another encoding, as UTF-8."""

    def __init__(self, stream: io.BufferedReader, encoding: str) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._output = memoryview(b"")
        self._ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, target) -> int:  # type: ignore[no-untyped-def]
        while not self._output and not self._ended:
            chunk = self._stream.read(HEAD)
            self._ended = not chunk
            self._output = memoryview(self._decoder.decode(chunk, final=self._ended).encode())
        count = min(len(target), len(self._output))
        target[:count] = self._output[:count]
        self._output = self._output[count:]
        return count


def _read_lines(stream: io.BufferedReader, name: str, *, is_text: bool) -> Iterator[RawRow | BadRow]:
    for number, raw in enumerate(stream, 1):
        line = raw.strip(b" \t\r\n")
        if not line:
            continue
        row = RawRow(name, number, line.decode("utf-8", errors="replace"))
        try:
            content = line.decode("utf-8")
            yield row._replace(value=content if is_text else _parse_json(content))
        except UnicodeDecodeError:
            yield row.bad("not UTF-8 text")
        except UnicodeEncodeError:
            yield row.bad(_SURROGATE)
        except (ValueError, RecursionError):
            yield row.bad("not valid JSON")


def _parse_json(text: str) -> Any:
    value = json.loads(text, parse_constant=refuse_constant)
    if "\\ud" in text or "\\uD" in text:
        _refuse_surrogates(value)
    return value


def _refuse_surrogates(value: Any) -> None:
    json.dumps(value, ensure_ascii=False).encode()


def _read_json(stream: io.BufferedReader, name: str, container: Container) -> Iterator[RawRow | BadRow]:
    with io.TextIOWrapper(stream, encoding="utf-8") as text:
        reader = JsonReader(text, name)
        for line, value in reader.array() if container == "JSON array" else reader.objects(wraps=_wraps):
            row = RawRow(name, line, value)
            if container == "JSON" and _is_column_wise(value):
                raise UserError(
                    f"{name}:{line}: one JSON object of columns, not of rows",
                    hint="write rows, with pandas: frame.to_json(path, orient='records', lines=True)",
                )
            try:
                _refuse_surrogates(value)
                yield row
            except UnicodeEncodeError:
                yield RawRow(name, line, json.dumps(value)).bad(_SURROGATE)


def _is_column_wise(value: Any) -> bool:
    """Whether this is what pandas' `to_json` writes unless asked for rows."""
    return bool(value) and all(isinstance(column, dict) and "0" in column for column in value.values())


def _wraps(before: set[str], key: str, first: Any) -> bool:
    """Whether a list in a file's only object holds its rows: `{"data": [{…}, …]}`, also with other keys beside it."""
    return isinstance(first, dict) and not is_turn(first) and key not in ROW_KEYS and not ROW_KEYS.intersection(before)
