"""Mixture, training and evaluation: expected rows of each cell of the split grid, steps, and what is measured."""

import math
from dataclasses import dataclass

from opencharacter.config.run import RunConfig
from opencharacter.planning.inputs import InputCount
from opencharacter.planning.work import Dialogues, Load, Texts, Work
from opencharacter.records.models import HELD_OUT_CELLS, Cell

MODELS_MEASURED = 2
"""Base and challenger; a champion in the registry makes it three."""

CELLS: tuple[Cell, ...] = ("train", *HELD_OUT_CELLS)


@dataclass(frozen=True)
class Mixture:
    """The expected rows of each cell; the draws of the split make them differ a little."""

    cells: dict[Cell, float]
    row_tokens: float
    """Mean tokens of a training row."""
    strategies: int
    """Ways in which one character may have played one session."""


def mixture(
    config: RunConfig, inputs: list[InputCount], dialogues: list[Dialogues], texts: Texts
) -> tuple[Work, Mixture]:
    """The mix step."""
    parts = [*dialogues, *_general(config, inputs, texts)]
    cells: dict[Cell, float] = dict.fromkeys(CELLS, 0.0)
    stored = trained = 0.0
    views = config.mix.prompt_views
    for part in parts:
        if part.weight == 0:
            continue
        shares = _shares(config, part)
        rows = part.rows * (1 - texts.assumed("filtered_share"))
        tokens = texts.row(part, views)
        for cell in CELLS:
            cells[cell] += rows * shares[cell]
        trained += rows * shares["train"] * tokens
        stored += texts.bytes(rows * sum(shares.values()) * tokens, rows * sum(shares.values()))
    strategies = {part.strategy for part in dialogues if part.weight > 0}
    found = Mixture(cells, trained / cells["train"] if cells["train"] else 0.0, len(strategies) or 1)
    return Work("mix", round(sum(cells.values())), "rows", stored_bytes=stored), found


def training(config: RunConfig, mixed: Mixture) -> Work:
    """The sft step; steps are counted as the trainer counts them, with packs taken to be full."""
    sft, rows = config.sft, round(mixed.cells["train"])
    of_row = min(mixed.row_tokens, sft.max_length)
    packs = math.ceil(rows * of_row / sft.max_length) if sft.packing else rows
    batches = math.ceil(packs / (sft.processes * sft.per_device_batch_size))
    steps = math.ceil(sft.epochs * math.ceil(batches / sft.gradient_accumulation_steps))
    tokens = sft.epochs * rows * of_row
    if sft.max_steps is not None:
        steps = sft.max_steps
        tokens = steps * sft.global_batch_size * (sft.max_length if sft.packing else of_row)
    return Work("sft", rows, "training rows", trained_tokens=tokens, optimiser_steps=steps)


def evaluation(config: RunConfig, mixed: Mixture, texts: Texts) -> Work:
    """The evaluate step: losses of every question under its own and a wrong profile, then answers and judgements."""
    settings = config.evaluate
    rows = {cell: round(of_cell) for cell, of_cell in mixed.cells.items()}
    asked = {cell: min(rows[cell], settings.rows_per_cell or rows[cell]) for cell in HELD_OUT_CELLS}
    questions = min(rows["train"], settings.train_rows) + sum(asked.values())
    scored = questions * 2 * MODELS_MEASURED * min(mixed.row_tokens, settings.max_length)
    judge = settings.judge
    if judge is None:
        return Work("evaluate", questions, "questions", scored_tokens=scored)
    # A session and a character that stand in R and in G are one question.
    chosen = sum(min(judge.questions_per_cell, math.ceil(asked[cell] / mixed.strategies)) for cell in HELD_OUT_CELLS)
    answers, aspects = chosen * MODELS_MEASURED, len(judge.dimensions)
    answer = min(texts.answer, judge.answer_sampling.max_tokens)
    question = max(mixed.row_tokens - texts.answer, 0)
    asking = aspects * (texts.template("judge.md") + question + answer)
    asking += sum(texts.template(f"judge_{name}.md") for name in judge.dimensions)
    reason = min(texts.assumed("judgement_tokens"), judge.judge_sampling.max_tokens)
    judgements = answers * aspects
    return Work(
        "evaluate",
        questions,
        "questions",
        loads={judge.engine: Load(judgements, judgements, answers * asking, judgements * reason)},
        own=Load(answers, answers, answers * question, answers * answer),
        scored_tokens=scored,
    )


def _general(config: RunConfig, inputs: list[InputCount], texts: Texts) -> list[Dialogues]:
    parts = []
    counts = [count for count in inputs if count.what == "general"]
    for source, count in zip(config.mix.general, counts, strict=True):
        answers = count.answer_tokens
        if answers is None:
            answers = count.turns * texts.assumed("answer_tokens")
        text = (count.user_tokens + answers) / count.rows
        parts.append(Dialogues("general", count.answered_rows, count.turns / count.rows, text, source.weight))
    return parts


def _shares(config: RunConfig, part: Dialogues) -> dict[Cell, float]:
    """Expected share of each cell, copies in training included. General instructions have no character to hold out."""
    sessions = config.mix.held_out.sessions
    characters = 0.0 if part.strategy == "general" else config.mix.held_out.characters
    return {
        "train": (1 - characters) * (1 - sessions) * part.weight,
        "seen_character_held_out_session": (1 - characters) * sessions,
        "held_out_character_seen_session": characters * (1 - sessions),
        "held_out_both": characters * sessions,
    }
