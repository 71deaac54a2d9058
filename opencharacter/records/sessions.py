"""Reading instruction sessions from any known format."""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from opencharacter.errors import UserError
from opencharacter.hashing import digest
from opencharacter.records.file_formats import RawRows, SourceFile
from opencharacter.records.formats import FORMATS, detect
from opencharacter.records.formats.unread import is_preference, refuse_unread, system_prompt_of
from opencharacter.records.models import Session, Turn
from opencharacter.records.rows import BadRow, InvalidRow, RawRow
from opencharacter.records.sampling import take_rows
from opencharacter.texts import text_fault

_DETECT_ROWS = 50


class SessionReader:
    """The sessions of a file or folder, and a `BadRow` for each row without a session. Iterate over it once.

    A system prompt, a leading turn or a column of its own, is dropped and counted: in training and serving the system
    message is the character's.
    Raises `UserError` at once if the file cannot be read or its format is unknown.
    """

    def __init__(
        self,
        raw: RawRows,
        *,
        corpus: str,
        source: str,
        licence: str,
        format: str,
        limit: int | None,
        sample_seed: int | None,
    ) -> None:
        self._raw = raw
        rows = take_rows(raw, limit, sample_seed)
        head = list(itertools.islice(rows, _DETECT_ROWS))
        self.format = _resolve(format, head, raw.name)
        self.system_turns_dropped = 0
        self._rows = itertools.chain(head, rows)
        self._origin = {"corpus": corpus, "source": source, "licence": licence}

    def __iter__(self) -> Iterator[Session | BadRow]:
        for row in self._rows:
            if isinstance(row, BadRow):
                self._raw.count_bad(row)
                yield row
                continue
            try:
                conversations = [self._checked(turns, row.value) for turns in self._parse(row.value)]
            except InvalidRow as problem:
                bad = row.bad(str(problem))
                self._raw.count_bad(bad)
                yield bad
                continue
            for turns in conversations:
                yield Session(id=session_id(self._origin["corpus"], turns), turns=turns, **self._origin)

    def _parse(self, value: Any) -> list[list[Turn]]:
        if not isinstance(value, dict):
            raise InvalidRow("not a JSON object")
        refuse_unread(value)
        return FORMATS[self.format].parse(value)

    def _checked(self, turns: Sequence[Turn], row: dict[str, Any]) -> tuple[Turn, ...]:
        has_system_turn = bool(turns) and turns[0].role == "system"
        turns = turns[1:] if has_system_turn else turns
        if not turns:
            raise InvalidRow("no turns")
        for turn in turns:
            if fault := text_fault(turn.content):
                raise InvalidRow(f"a turn {fault}")
        if turns[0].role != "user":
            raise InvalidRow("the first turn is not the user's")
        for before, after in itertools.pairwise(turns):
            if after.role == "system":
                raise InvalidRow("a system turn stands inside the conversation")
            if before.role == after.role:
                raise InvalidRow(f"two {after.role} turns in a row")
        self.system_turns_dropped += has_system_turn or bool(system_prompt_of(row))
        return tuple(turns)


def session_id(corpus: str, turns: Sequence[Turn]) -> str:
    """A session's content address (16 hex digits)."""
    return digest([corpus, [[turn.role, turn.content] for turn in turns]])[:16]


def read_sessions(
    path: Path,
    *,
    corpus: str,
    licence: str,
    source: str | None = None,
    format: str = "auto",
    limit: int | None = None,
    sample_seed: int | None = None,
    name: str | None = None,
    files: list[SourceFile] | None = None,
) -> SessionReader:
    """Read the sessions of a file or folder: JSON Lines, JSON, CSV, Parquet or Arrow, also compressed.

    `format` is one of `FORMATS`, or `auto` (or `parquet`) to detect it from the first rows. `limit` takes the first
    rows only or, with `sample_seed`, a sample of all rows (see `take_rows`). `source` is the data set's name for the
    lineage (default: the file's name). Messages call the file `name` (default: its path). `files` is filled with what
    is read of each file. Raises as `SessionReader` does.
    """
    return SessionReader(
        RawRows(path, name or str(path), False, files),
        corpus=corpus,
        source=source or path.name,
        licence=licence,
        format=format,
        limit=limit,
        sample_seed=sample_seed,
    )


def _resolve(format: str, head: Sequence[RawRow | BadRow], name: str) -> str:
    if not head:
        raise UserError(f"{name}: the data set is empty")
    if format in FORMATS:
        return format
    if format not in ("auto", "parquet"):
        raise UserError(f"{name}: unknown format '{format}'; known: auto, {', '.join(FORMATS)}")
    detected = detect(row.value for row in head if isinstance(row, RawRow))
    if detected is None:
        if any(isinstance(row.value, dict) and is_preference(row.value) for row in head if isinstance(row, RawRow)):
            raise UserError(
                f"{name}: preference data (rows with 'chosen' and 'rejected' answers), which is not read",
                hint=f"write one conversation a row, with the answers that you want: {FORMATS['messages'].form}",
            )
        raise UserError(
            f"{name}: unknown format; {_describe(head[0])}",
            hint="expected rows of one of these forms:\n"
            + "\n".join(f"  {known}: {FORMATS[known].form}" for known in FORMATS),
        )
    return detected


def _describe(row: RawRow | BadRow) -> str:
    if isinstance(row, BadRow):
        return f"line {row.line} is {row.reason}"
    if isinstance(row.value, dict):
        return f"the row at line {row.line} has the keys {', '.join(map(repr, row.value))}"
    return f"the row at line {row.line} is not a JSON object"
