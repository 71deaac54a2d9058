"""Moving bad rows into quarantine while a source is read."""

import operator
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from pydantic import BaseModel

from opencharacter.errors import UserError
from opencharacter.records import BadRow

OUTCOMES = ("ok", "bad", "duplicates")
"""The outcomes of reading a row."""

SHOWN_BAD_ROWS = 5
"""Bad rows that a message shows."""


Row = TypeVar("Row", bound=BaseModel)


class Quarantine(AbstractContextManager["Quarantine"]):
    """The file of bad rows, and the count of rows by outcome for each source.

    The file is written as the rows are read. If there are too many bad rows, `keep_file` moves it out of the unfinished
    output and returns its address.
    """

    def __init__(self, path: Path, *, max_bad_share: float, keep_file: Callable[[Path], str]) -> None:
        self._path = path
        self._max_bad_share = max_bad_share
        self._keep = keep_file
        self._file = path.open("w", encoding="utf-8")
        self._seen: set[str] = set()
        self.reasons: Counter[str] = Counter()
        self.sources: dict[str, Counter[str]] = {}

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def filter_rows(
        self, rows: Iterable[Row | BadRow], name: str, *, identity: Callable[[Any], str] = operator.attrgetter("id")
    ) -> Iterator[Row]:
        """The good rows of the source `name`; of rows with one identity, over all sources, only the first.

        After the last row, raises `UserError` if there were none, or if more than the allowed share was bad.
        """
        counts = self.sources.setdefault(name, Counter(dict.fromkeys(OUTCOMES, 0)))
        first_bad: list[BadRow] = []
        for row in rows:
            if isinstance(row, BadRow):
                self._write(row)
                counts["bad"] += 1
                if len(first_bad) < SHOWN_BAD_ROWS:
                    first_bad.append(row)
            elif (key := identity(row)) in self._seen:
                counts["duplicates"] += 1
            else:
                self._seen.add(key)
                counts["ok"] += 1
                yield row
        self._check_share(name, counts, first_bad)

    def totals(self) -> dict[str, int]:
        """Rows of all sources by outcome: ok, bad, duplicates."""
        return {outcome: sum(counts[outcome] for counts in self.sources.values()) for outcome in OUTCOMES}

    def _write(self, row: BadRow) -> None:
        self._file.write(row.model_dump_json() + "\n")
        self.reasons[row.reason] += 1

    def _check_share(self, name: str, counts: Counter[str], first_bad: list[BadRow]) -> None:
        if fault := source_fault(name, counts.total(), counts["bad"], self._max_bad_share, first_bad):
            self._file.close()
            kept = f"\nall are in {self._keep(self._path)}" if counts["bad"] else ""
            raise UserError(f"{fault}{kept}", hint=fault.hint)


def source_fault(name: str, read: int, bad: int, max_bad_share: float, first_bad: Iterable[BadRow]) -> UserError | None:
    """Why a source of which all rows were read is refused: it has none, or too many are bad. None if it is not."""
    if not read:
        return UserError(f"{name}: the data set is empty")
    if bad <= max_bad_share * read and bad < read:
        return None
    shown = "".join(f"\n  {row.file}:{row.line}: {row.reason}" for row in first_bad)
    return UserError(
        f"{name}: {bad} of {read} rows are bad (max_bad_share is {max_bad_share:g}); the first:{shown}",
        hint="name the right `format` (`text` for personas as plain lines), correct the rows, or raise max_bad_share",
    )
