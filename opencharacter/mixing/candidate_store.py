"""The candidates on disk, spread over files by hash, so that a data set of any size is grouped in little memory."""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Generic, Self, TextIO, TypeVar

from pydantic import BaseModel

from opencharacter.mixing.candidates import Candidate
from opencharacter.mixing.duplicates import remove_duplicates
from opencharacter.mixing.lengths import TokenCounter
from opencharacter.mixing.mix_config import MixConfig
from opencharacter.mixing.row_builder import RowBuilder
from opencharacter.progress import progress
from opencharacter.records.models import TrainingRow

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


class CandidateStore(Buckets[Candidate]):
    """Candidates in the files of a folder: put in inside a `with` block, cleaned after it, once."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, Candidate)
        self.characters: set[str] = set()
        self.sessions: set[str] = set()
        """Keys of all sessions (`split.session_key`)."""

    def put(self, candidate: Candidate | None) -> None:
        """Add a candidate, where there is one, to its group."""
        if candidate is None:
            return
        self.sessions.add(candidate.session_key)
        if candidate.character_id is not None:
            self.characters.add(candidate.character_id)
        self.add(candidate.group, candidate)

    def clean(
        self, config: MixConfig, row_builder: RowBuilder, counter: TokenCounter, dropped: Counter[str]
    ) -> Iterator[tuple[Candidate, TrainingRow, int]]:
        """The candidates that are no duplicates, forge no turn and are not too long, each with its row and tokens."""
        with progress("mix", total=self.rows) as shown:
            for bucket in self.read():
                groups = [[row for _, row in group] for _, group in groupby(bucket, key=itemgetter(0))]
                kept = [row for group in groups for row in remove_duplicates(group, config.answer_similarity, dropped)]
                rows = [row_builder.row(candidate) for candidate in kept]
                lengths = counter.count([[turn.model_dump() for turn in row.messages] for row in rows])
                for candidate, row, tokens in zip(kept, rows, lengths, strict=True):
                    if tokens is None:
                        dropped["control_token"] += 1
                    elif tokens > config.max_tokens:
                        dropped["too_long"] += 1
                    else:
                        yield candidate, row, tokens
                shown.advance(rows=len(bucket))
