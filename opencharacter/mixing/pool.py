"""The candidates, on disk, grouped by what their duplicates share."""

from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from opencharacter.mixing.buckets import Buckets
from opencharacter.mixing.candidates import Candidate
from opencharacter.mixing.config import MixConfig
from opencharacter.mixing.duplicates import remove_duplicates
from opencharacter.mixing.lengths import TokenCounter
from opencharacter.mixing.placement import Placement
from opencharacter.progress import progress
from opencharacter.records.models import TrainingRow


class Pool(Buckets[Candidate]):
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
        self, config: MixConfig, placement: Placement, counter: TokenCounter, dropped: Counter[str]
    ) -> Iterator[tuple[Candidate, TrainingRow, int]]:
        """The candidates that are neither duplicates nor too long, each with its row and the row's tokens."""
        with progress("mix", total=self.rows) as shown:
            for bucket in self.read():
                groups = [[row for _, row in group] for _, group in groupby(bucket, key=itemgetter(0))]
                kept = [row for group in groups for row in remove_duplicates(group, config.answer_similarity, dropped)]
                rows = [placement.row(candidate) for candidate in kept]
                lengths = counter.count([[turn.model_dump() for turn in row.messages] for row in rows])
                for candidate, row, tokens in zip(kept, rows, lengths, strict=True):
                    if tokens > config.max_tokens:
                        dropped["too_long"] += 1
                    else:
                        yield candidate, row, tokens
                shown.advance(rows=len(bucket))
