"""Texts that are needed again, out of memory."""

import os
import tempfile
from array import array

_BUFFER = 1 << 20


class Spool:
    """Texts in a temporary file, which is gone with the object; any thread may read."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(buffering=_BUFFER)  # noqa: SIM115
        self._ends = array("Q", [0])

    def __len__(self) -> int:
        """Number of texts."""
        return len(self._ends) - 1

    def append(self, text: str) -> None:
        """Add a text; texts are numbered from 0."""
        data = text.encode()
        self._file.write(data)
        self._ends.append(self._ends[-1] + len(data))

    def __getitem__(self, number: int) -> str:
        """The text of that number."""
        start, end = self._ends[number], self._ends[number + 1]
        self._file.flush()
        return os.pread(self._file.fileno(), end - start, start).decode()
