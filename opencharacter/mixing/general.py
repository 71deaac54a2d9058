"""General-instruction sets: sessions that are mixed in as they are, without a character."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from opencharacter.mixing.mix_config import GeneralSource
from opencharacter.records import Session, SessionReader, read_sessions
from opencharacter.records.sampling import sample_seed
from opencharacter.sources.inputs import fetch, input_digest, source_name
from opencharacter.sources.quarantine import Quarantine


class GeneralSet(NamedTuple):
    """One set, on this machine."""

    source: GeneralSource
    path: Path

    @classmethod
    def fetched(cls, source: GeneralSource) -> "GeneralSet":
        """The set, fetched if needed. Raises `UserError` if the file or folder does not exist."""
        return cls(source, fetch(source.uri))

    def digest(self) -> str:
        """Digest of the set's content."""
        return input_digest(self.path)

    def read(self, seed: int) -> SessionReader:
        """The set's sessions and bad rows; `seed` decides which rows its limit takes."""
        return read_sessions(
            self.path,
            name=self.source.uri,
            corpus=self.source.name,
            source=source_name(self.source.uri),
            licence=self.source.license,
            format=self.source.format,
            limit=self.source.limit,
            sample_seed=sample_seed(self.source.sample, self.source.limit, seed),
        )


def read_general(
    sets: Sequence[GeneralSet],
    dropped: Counter[str],
    warnings: list[str],
    *,
    bad_rows: Path,
    max_bad_share: float,
    seed: int,
    keep_file: Callable[[Path], str],
) -> Iterator[tuple[GeneralSource, Session]]:
    """The sessions of all sets; rows that can't be read go to the file `bad_rows`, and are counted like equal sessions.

    `warnings` gets a line for each set with system prompts, which are left out.

    Raises `UserError` if more than `max_bad_share` of a set's rows are bad; the bad rows are then given to `keep_file`.
    """
    if not sets:
        return
    with Quarantine(bad_rows, max_bad_share=max_bad_share, keep_file=keep_file) as quarantine:
        for general_set in sets:
            sessions = general_set.read(seed)
            for session in quarantine.filter_rows(sessions, general_set.source.name):
                yield general_set.source, session
            if prompts := sessions.system_turns_dropped:
                warnings.append(f"general set {general_set.source.name}: {prompts} system prompts are left out")
        totals = quarantine.totals()
    dropped["bad_row"] += totals["bad"]
    dropped["exact_duplicate"] += totals["duplicates"]
