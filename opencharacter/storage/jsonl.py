"""Reading and writing JSONL data sets (`.jsonl`, `.jsonl.zst`, `.jsonl.gz`)."""

import gzip
import io
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO, TypeVar

import zstandard
from pydantic import BaseModel

from opencharacter.errors import UserError

M = TypeVar("M", bound=BaseModel)


def write_jsonl(path: Path, rows: Iterable[BaseModel | dict[str, Any]]) -> int:
    """Write rows, one JSON object a line. The file name's suffix sets the compression. Returns the number of rows."""
    count = 0
    with _open_text(path, "w") as stream:
        for row in rows:
            value = row.model_dump(mode="json") if isinstance(row, BaseModel) else row
            stream.write(json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n")
            count += 1
    return count


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a JSONL file that this library wrote. Raises `UserError` naming file and line."""
    return (row for _, row in read_lines(path))


def read_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """`read_jsonl`, each row with the text of its line."""
    with _open_text(path, "r") as stream:
        for number, line in enumerate(stream, 1):
            try:
                yield line, json.loads(line)
            except ValueError as error:
                raise UserError(f"{path}:{number}: not a JSON object: {error}") from error


def read_models(path: Path, model: type[M]) -> Iterator[M]:
    """The rows of a JSONL file, validated as `model`."""
    return (model.model_validate(row) for row in read_jsonl(path))


@contextmanager
def _open_text(path: Path, mode: str) -> Iterator[TextIO]:
    openers: dict[str, Any] = {".zst": zstandard.open, ".gz": gzip.open}
    with (
        openers.get(path.suffix, open)(path, mode + "b") as raw,
        io.TextIOWrapper(raw, encoding="utf-8", newline="\n") as text,
    ):
        yield text
