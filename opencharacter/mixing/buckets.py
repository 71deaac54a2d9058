"""Rows spread over files by hash, so that a data set of any size is grouped and sorted in little memory."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Generic, Self, TextIO, TypeVar

from pydantic import BaseModel

M = TypeVar("M", bound=BaseModel)

_BUCKETS = 64
"""Memory is that of the largest bucket: for the published release (306 k rows, 1.2 GB) about 20 MB of JSON."""


class Buckets(Generic[M]):
    """Rows under hexadecimal keys of one length: added in any order, read back sorted by key, then by their JSON text.

    A context manager: rows are added inside the block and read after it, once. Reading removes the files one by one,
    so that the disk holds the rows once.
    """

    def __init__(self, folder: Path, model: type[M]) -> None:
        folder.mkdir()
        self._paths = [folder / f"{number:02}.jsonl" for number in range(_BUCKETS)]
        self._model = model
        self._streams: list[TextIO] = []
        self._stack = ExitStack()
        self.rows = 0

    def __enter__(self) -> Self:
        self._streams = [
            self._stack.enter_context(path.open("w", encoding="utf-8", newline="\n")) for path in self._paths
        ]
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def add(self, key: str, row: M) -> None:
        """Put a row under a key, a hash in hexadecimal digits."""
        number = int(key[:2], 16) * _BUCKETS // 256
        self._streams[number].write(f"{key} {row.model_dump_json()}\n")
        self.rows += 1

    def read(self) -> Iterator[list[tuple[str, M]]]:
        """The rows with their keys, bucket by bucket, in the order of the keys."""
        for path in self._paths:
            with path.open(encoding="utf-8", newline="\n") as stream:
                lines = sorted(stream)
            path.unlink()
            yield [(key, self._model.model_validate_json(row)) for key, row in (line.split(" ", 1) for line in lines)]
