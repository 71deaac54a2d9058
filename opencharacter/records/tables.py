"""Reading tables: Parquet, Arrow and CSV."""

import csv
import io
import itertools
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

from opencharacter.errors import UserError
from opencharacter.records.compression import OpenFile
from opencharacter.records.identify import bare_suffix, delimiter_of, header_fields
from opencharacter.records.rows import BadRow, RawRow

_BATCH = 1024
_LONGEST_FIELD = 1 << 27
_IN_MEMORY = 1 << 26
_END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"


def read_columns(file: OpenFile, path: Path, name: str, container: str) -> Iterator[RawRow]:
    """The rows of a Parquet or Arrow file. Raises `UserError` naming it if it is damaged."""
    try:
        import pyarrow
        import pyarrow.ipc
        import pyarrow.parquet
    except ImportError as error:
        raise UserError(
            f"{name}: reading a {container} file needs pyarrow", hint="pip install 'opencharacter[inputs]'"
        ) from error
    try:
        with ExitStack() as stack:
            if container == "Parquet":
                table = stack.enter_context(pyarrow.parquet.ParquetFile(_seekable(file, path, stack)))
                batches = table.iter_batches(batch_size=_BATCH)
            elif container == "Arrow file":
                arrow = stack.enter_context(pyarrow.ipc.open_file(_seekable(file, path, stack)))
                batches = (arrow.get_batch(index) for index in range(arrow.num_record_batches))
            else:
                batches = stack.enter_context(pyarrow.ipc.open_stream(_whole_stream(file, path, name)))
            number = itertools.count(1)
            for batch in batches:
                for start in range(0, batch.num_rows, _BATCH):
                    for value in batch.slice(start, _BATCH).to_pylist():
                        yield RawRow(name, next(number), value)
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:
        raise UserError(
            f"{name}: not a valid {container} file: {error}",
            hint="it is damaged or cut off: write or download it again",
        ) from error


def _seekable(file: OpenFile, path: Path, stack: ExitStack) -> Path | IO[bytes]:
    if not file.compression:
        return path
    copy = stack.enter_context(tempfile.SpooledTemporaryFile(_IN_MEMORY))  # noqa: SIM115
    shutil.copyfileobj(file.stream, copy)
    copy.seek(0)
    return copy


def _whole_stream(file: OpenFile, path: Path, name: str) -> io.BufferedReader:
    # A reader takes a stream that was cut between two batches for a whole one; writers end it with a mark.
    if not file.compression:
        with path.open("rb") as tail:
            tail.seek(-min(len(_END_OF_STREAM), path.stat().st_size), io.SEEK_END)
            if tail.read() != _END_OF_STREAM:
                raise UserError(f"{name}: the Arrow file is cut off", hint="write or download it again")
    return file.stream


def read_csv(stream: io.BufferedReader, name: str, start: str) -> Iterator[RawRow | BadRow]:
    """The rows of a CSV file with a header line, as objects. An empty field is null.

    `start` is the file's beginning. Raises `UserError` naming file and line where it is not CSV.
    """
    delimiter = "\t" if bare_suffix(name) == ".tsv" else delimiter_of(start)
    # pandas writes an index as a column without a name.
    header = [field or f"column {number}" for number, field in enumerate(header_fields(start, delimiter), 1)]
    if len(set(header)) < len(header):
        raise UserError(
            f"{name}: the header line has two columns with the same name: {', '.join(header)[:200]}",
            hint="expected a first line that names each column, such as: persona",
        )
    csv.field_size_limit(_LONGEST_FIELD)
    with io.TextIOWrapper(stream, encoding="utf-8", newline="") as text:
        reader = csv.reader(text, delimiter=delimiter)
        next((fields for fields in reader if any(map(str.strip, fields))), None)
        before = reader.line_num
        try:
            for fields in reader:
                line, before = before + 1, reader.line_num
                if fields:
                    yield _csv_row(RawRow(name, line, dict(itertools.zip_longest(header, fields))), header, fields)
        except csv.Error as error:
            raise UserError(
                f"{name}:{before + 1}: not valid CSV: {error}", hint="write it again as CSV (UTF-8)"
            ) from error


def _csv_row(row: RawRow, header: list[str], fields: list[str]) -> RawRow | BadRow:
    if len(fields) != len(header):
        more = "more" if len(fields) > len(header) else "fewer"
        return row._replace(value=fields).bad(
            f"the line has {more} fields than the header; quote texts that hold a comma"
        )
    values: dict[str, Any] = {column: field or None for column, field in zip(header, fields, strict=True)}
    return row._replace(value=values)
