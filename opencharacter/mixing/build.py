"""Building the mixture's files: rows are taken in any order, cleaned group by group, and written in a fixed order."""

import shutil
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import get_args

from opencharacter.characters import CharacterProfile
from opencharacter.mixing.candidate_store import Buckets, CandidateStore
from opencharacter.mixing.candidates import CandidateFilter
from opencharacter.mixing.duplicates import find_duplicate_personas
from opencharacter.mixing.lengths import TokenCounter
from opencharacter.mixing.mix_config import GeneralSource, MixConfig
from opencharacter.mixing.row_builder import RowBuilder
from opencharacter.mixing.split import make_split
from opencharacter.mixing.statistics import Figures
from opencharacter.progress import progress
from opencharacter.records.models import Cell, DialogueRow, Session, TrainingRow
from opencharacter.storage.jsonl import read_models, write_jsonl
from opencharacter.storage.workspace import Artifact

CHARACTERS_FILE = "characters.jsonl.zst"
DIALOGUES_FILE = "dialogues.jsonl.zst"


def build(
    config: MixConfig,
    dialogues: Artifact,
    characters: Artifact,
    general: Iterable[tuple[GeneralSource, Session]],
    counter: TokenCounter,
    folder: Path,
    *,
    dropped: Counter[str],
    seed: int,
) -> Figures:
    """Write a file of rows for each cell, and the profiles of their characters, into `folder`.

    `dropped` counts the rows left out, by reason. Returns the figures of the rows written.
    """
    everyone = {profile.id: profile for profile in read_models(characters.file(CHARACTERS_FILE), CharacterProfile)}
    duplicates = find_duplicate_personas(everyone.values(), config.persona_similarity)
    kept = {key: profile for key, profile in everyone.items() if key not in duplicates}
    figures = Figures(duplicate_personas=len(duplicates))
    scratch = folder / ".scratch"
    scratch.mkdir()
    candidate_filter = CandidateFilter(config, kept, duplicates, dropped)
    with CandidateStore(scratch / "candidates") as candidate_store, progress("mix: read") as shown:
        for dialogue in read_models(dialogues.file(DIALOGUES_FILE), DialogueRow):
            candidate_store.put(candidate_filter.dialogue(dialogue))
            shown.advance(rows=1)
        for source, session in general:
            candidate_store.put(candidate_filter.general(session, source))
            shown.advance(rows=1)
    split = make_split(candidate_store.characters, candidate_store.sessions, config.held_out, seed=seed)
    row_builder = RowBuilder(config, split, kept, seed=seed)
    cells = {cell: Buckets(scratch / cell, TrainingRow) for cell in get_args(Cell)}
    with ExitStack() as stack:
        for buckets in cells.values():
            stack.enter_context(buckets)
        for candidate, row, tokens in candidate_store.clean(config, row_builder, counter, dropped):
            copies = list(row_builder.copies(row, candidate.weight))
            dropped["weight_draw"] += not copies
            for copy in copies:
                cells[copy.cell].add(row_builder.order(copy), copy)
                figures.add(copy, candidate, tokens, kept.get(candidate.character_id or ""))
    for cell, buckets in cells.items():
        write_jsonl(folder / rows_file(cell), (row for bucket in buckets.read() for _, row in bucket))
    shutil.rmtree(scratch)
    write_jsonl(folder / CHARACTERS_FILE, (kept[key] for key in sorted(figures.characters)))
    return figures


def rows_file(cell: str) -> str:
    """Name of the file that holds a cell's rows."""
    return f"{cell}.jsonl.zst"
