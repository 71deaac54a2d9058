"""The mix step: dialogues and general instructions in, a training set and the held-out cells of its split grid out."""

import functools
import logging
import time
from collections import Counter

from opencharacter.characters import DEFAULT_PROMPT, PromptName, load_prompt
from opencharacter.engines import localize_model
from opencharacter.errors import UserError
from opencharacter.hashing import digest
from opencharacter.library import fingerprint
from opencharacter.mixing import frozen
from opencharacter.mixing.build import build
from opencharacter.mixing.card import write_card
from opencharacter.mixing.frozen import frozen_texts
from opencharacter.mixing.general import GeneralSet, read_general
from opencharacter.mixing.lengths import TokenCounter, tokenizer_digest
from opencharacter.mixing.mix_config import MixConfig
from opencharacter.mixing.statistics import Figures
from opencharacter.records.mixture import MixtureStatistics
from opencharacter.records.models import HELD_OUT_CELLS
from opencharacter.storage.kinds import CARD, MIXTURE_PROMPT, QUARANTINE, STATISTICS
from opencharacter.storage.workspace import Artifact, Workspace

_log = logging.getLogger(__name__)


def mix(
    config: MixConfig,
    dialogues: Artifact,
    characters: Artifact,
    *,
    base_model: str,
    workspace: Workspace,
    seed: int,
    system_prompt: PromptName = DEFAULT_PROMPT,
) -> Artifact:
    """Clean, split and weigh the dialogues of `characters`; `base_model` is the student, whose tokens are counted.

    The output (kind `mixture`) holds a file of `TrainingRow` for each cell of the split grid (`train.jsonl.zst` and so
    on, empty where the cell is), the profiles of its characters, `statistics.json`, the card `README.md`, and
    `system.md`, the template of its rows' system prompt, which training and evaluation take from there. Its bytes do
    not depend on the order of the input rows. Characters and questions of the packaged suites, and of
    `config.frozen_suites`, are dropped. Counts: rows of each cell, and `dropped_*` by reason. Raises `UserError`
    if no row is left to train on, saying what the rows were dropped for.

    Memory: all profiles, the keys of all sessions and 1/64 of the rows (more where one character has more than that).
    Disk while it runs: about twice the size of the rows, not compressed.
    """
    template = load_prompt(system_prompt)
    student = localize_model(base_model, weights=False)
    general = [GeneralSet.fetched(source) for source in config.general]
    kept_out = frozen_texts(config.frozen_suites)
    key = digest(
        {
            "step": "mix",
            "config": config.model_dump(mode="json"),
            "dialogues": dialogues.digest,
            "characters": characters.digest,
            "general": [general_set.digest() for general_set in general],
            "tokenizer": tokenizer_digest(student),
            "prompt": template.hash,
            "frozen": kept_out.digest,
            "seed": seed,
            "library": fingerprint(),
        }
    )
    if found := workspace.lookup("mixture", key):
        return found
    started = time.monotonic()
    with workspace.create("mixture", key) as draft:
        dropped: Counter[str] = Counter()
        warnings: list[str] = []
        instructions = read_general(
            general,
            dropped,
            warnings,
            bad_rows=draft.path / QUARANTINE.name,
            max_bad_share=config.max_bad_share,
            seed=seed,
            keep_file=functools.partial(workspace.quarantine, name=f"mixture-{key[:12]}.jsonl"),
        )
        counter = TokenCounter(student)
        figures = build(
            config,
            dialogues,
            characters,
            instructions,
            counter,
            draft.path,
            dropped=dropped,
            seed=seed,
            template=template,
            kept_out=kept_out,
        )
        if not figures.cells["train"].rows:
            raise _nothing_to_train_on(config, +dropped)
        statistics = {"system_prompt": system_prompt} | figures.dump(
            dropped=+dropped, warnings=[*_warnings(config, figures), *warnings]
        )
        MIXTURE_PROMPT.write(draft.path, template.text)
        STATISTICS.write(draft.path, MixtureStatistics.model_validate(statistics))
        write_card(draft.path / CARD.name, statistics, config, base_model=base_model)
        draft.counts = {cell: of_cell.rows for cell, of_cell in figures.cells.items()}
        draft.counts |= {f"dropped_{reason}": rows for reason, rows in statistics["dropped"].items()}
        draft.stats = {key: statistics[key] for key in ("licences", "warnings")}
        draft.stats["wall_s"] = round(time.monotonic() - started, 3)
    return draft.committed()


def _nothing_to_train_on(config: MixConfig, dropped: Counter[str]) -> UserError:
    if dropped and not dropped.keys() - {frozen.CHARACTER, frozen.SESSION}:
        return UserError(
            f"the mixture has no row to train on: all {dropped.total()} are of characters or questions that are kept"
            f" for evaluation (suites {', '.join([*frozen.SUITES, *config.frozen_suites])})",
            hint="train on other personas and sessions: a model must not know what it will be measured with",
        )
    reasons = ", ".join(f"{reason} {rows}" for reason, rows in sorted(dropped.items())) or "none"
    return UserError(
        f"the mixture has no row to train on; rows dropped: {reasons}",
        hint="ask for more dialogues, or loosen what drops them: mix.max_tokens, mix.weights, mix.commercial_only",
    )


def _warnings(config: MixConfig, figures: Figures) -> list[str]:
    shares = config.held_out
    expected = {
        "seen_character_held_out_session": shares.sessions > 0,
        "held_out_character_seen_session": shares.characters > 0,
        "held_out_both": shares.characters > 0 and shares.sessions > 0,
    }
    warnings = [
        f"the cell {cell} is empty: no row fell into it, or none was left of those that did"
        for cell in HELD_OUT_CELLS
        if expected[cell] and not figures.cells[cell].rows
    ]
    for warning in warnings:
        _log.warning(warning)
    return warnings
