"""Building the mixture's files: rows are taken in any order, cleaned group by group, and written in a fixed order."""

import shutil
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import get_args

from opencharacter.mixing.candidate_store import Buckets, CandidateStore
from opencharacter.mixing.candidates import CandidateFilter
from opencharacter.mixing.duplicates import find_duplicate_personas
from opencharacter.mixing.frozen import FrozenTexts
from opencharacter.mixing.lengths import TokenCounter
from opencharacter.mixing.mix_config import GeneralSource, MixConfig
from opencharacter.mixing.row_builder import RowBuilder
from opencharacter.mixing.split import make_split
from opencharacter.mixing.statistics import Figures
from opencharacter.progress import progress
from opencharacter.records.models import Cell, Session, TrainingRow
from opencharacter.storage.kinds import CELLS, CHARACTERS, DIALOGUES
from opencharacter.storage.workspace import Artifact
from opencharacter.templates import Template


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
    template: Template,
    kept_out: FrozenTexts,
) -> Figures:
    """Write a file of rows for each cell, and the profiles of their characters, into `folder`.

    `dropped` counts the rows left out, by reason; `template` is the system prompt's; `kept_out` is what nobody trains
    on. Returns the figures of the rows written.
    """
    everyone = {profile.id: profile for profile in CHARACTERS.read(characters)}
    duplicates = find_duplicate_personas(everyone.values(), config.persona_similarity)
    kept = {key: profile for key, profile in everyone.items() if key not in duplicates}
    figures = Figures(duplicate_personas=len(duplicates))
    scratch = folder / ".scratch"
    scratch.mkdir()
    candidate_filter = CandidateFilter(config, kept, duplicates, dropped, kept_out)
    with CandidateStore(scratch / "candidates") as candidate_store, progress("mix: read") as shown:
        for dialogue in DIALOGUES.read(dialogues):
            candidate_store.put(candidate_filter.dialogue(dialogue))
            shown.advance(rows=1)
        for source, session in general:
            candidate_store.put(candidate_filter.general(session, source))
            shown.advance(rows=1)
    split = make_split(candidate_store.characters, candidate_store.sessions, config.held_out, seed=seed)
    row_builder = RowBuilder(config, split, kept, seed=seed, template=template)
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
        CELLS[cell].write(folder, (row for bucket in buckets.read() for _, row in bucket))
    shutil.rmtree(scratch)
    CHARACTERS.write(folder, (kept[key] for key in sorted(figures.characters)))
    return figures
