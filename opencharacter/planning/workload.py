"""What each stage does, in rows, calls and tokens: synthesis, mixture, training and evaluation."""

import math
from collections import defaultdict
from dataclasses import dataclass, field
from typing import NamedTuple

from opencharacter.cluster.spec import StepName
from opencharacter.config.run import RunConfig
from opencharacter.evaluation.choosing import chosen_suite
from opencharacter.evaluation.evaluation_config import EvaluateConfig
from opencharacter.evaluation.judges.canaries import KINDS
from opencharacter.evaluation.judges.standing import FEWEST_CHARACTERS, ORIGINALS
from opencharacter.evaluation.measures.protocol import ATTEMPTS
from opencharacter.evaluation.references import Named
from opencharacter.mixing.mix_config import MixConfig
from opencharacter.planning.figures import Assumptions
from opencharacter.planning.inputs import InputCount, mean_persona_tokens
from opencharacter.planning.suite_workload import CallVolume, rehearse_suites, scored_tokens
from opencharacter.planning.tokens import Dialogues, TextLengths, TokenEstimates
from opencharacter.records.evaluation import GRID
from opencharacter.records.models import HELD_OUT_CELLS, Cell
from opencharacter.synthesis.profile_prompt import ProfilePrompt
from opencharacter.synthesis.synthesis_config import QualityConfig, ResponsesConfig
from opencharacter.training import SftConfig

MODELS_MEASURED = 2
"""Base and challenger; a champion in the registry makes it three."""

CELLS: tuple[Cell, ...] = ("train", *HELD_OUT_CELLS)

_JSON_TOKENS = 8
"""What R's reply holds around its answers."""


@dataclass(frozen=True)
class StageWorkload:
    """What a stage does."""

    step: StepName
    rows: int
    what: str
    """What the rows are."""
    calls_by_engine: dict[str, CallVolume] = field(default_factory=dict)
    """Calls to the run's engines, by name."""
    own: CallVolume = field(default_factory=CallVolume)
    """Calls to the models under evaluation."""
    trained_tokens: float = 0
    optimizer_steps: int = 0
    scored_tokens: float = 0
    stored_bytes: float = 0
    """What the stage leaves in the workspace, not compressed."""

    @property
    def total(self) -> CallVolume:
        """All chat calls."""
        return sum(self.calls_by_engine.values(), self.own)


@dataclass(frozen=True)
class Mixture:
    """The expected rows of each cell; the draws of the split make them differ a little."""

    cells: dict[Cell, float]
    row_tokens: float
    """Mean tokens of a training row."""
    strategies: int
    """Ways in which one character may have played one session."""


def stage_workloads(
    config: RunConfig, inputs: list[InputCount], assumptions: Assumptions, lengths: TextLengths
) -> dict[StepName, StageWorkload]:
    """What the stages that handle rows do, by step and in order."""
    limits: dict[str, float] = {}
    if not config.inputs.dataset:
        limits["longest_answer"] = config.responses.generate_sampling.max_tokens
    if config.inputs.personas:
        limits["longest_profile"] = config.profiles.sampling.max_tokens
    texts = TokenEstimates(
        assumptions, lengths, persona=mean_persona_tokens(inputs), system_prompt=config.system_prompt, **limits
    )
    workloads, dialogues = _synthesis(config, inputs, texts)
    if config.quality:
        workloads.append(_judging(config.quality, dialogues, texts))
    mix_workload, mixed = _mixture(config.mix, inputs, dialogues, texts)
    cast = sum(count.rows for count in inputs if count.what in ("personas", "characters"))
    workloads += [mix_workload, _training(config.sft, mixed), _evaluation(config, mixed, cast, texts)]
    return {workload.step: workload for workload in workloads}


def _synthesis(
    config: RunConfig, inputs: list[InputCount], texts: TokenEstimates
) -> tuple[list[StageWorkload], list[Dialogues]]:
    """The stages up to the dialogues, and the dialogues."""
    if config.inputs.dataset:
        return _release(config, inputs, texts)
    corpora = [count for count in inputs if count.what == "sessions"]
    stages, characters = _characters(config, inputs, texts)
    calls_by_engine: defaultdict[str, CallVolume] = defaultdict(CallVolume)
    made: list[Dialogues] = []
    for corpus, count in zip(config.inputs.corpora, corpora, strict=True):
        cast = min(corpus.n, characters)
        for strategy in dict.fromkeys(corpus.strategies):
            volume_of = _rewritten if strategy == "R" else _generated
            dialogues, volume = volume_of(config.responses, count, cast, texts)
            calls_by_engine[corpus.teacher] += volume
            made.append(dialogues)
    answered = [
        Dialogues(
            group.strategy,
            _kept(group.rows, texts),
            group.turns,
            group.text_tokens,
            _weight(config.mix, group.strategy),
        )
        for group in made
    ]
    kept_rows = sum(group.rows for group in answered)
    read = sum(count.rows for count in inputs if count.what in ("personas", "sessions"))
    read_tokens = sum(count.user_tokens + (count.answer_tokens or 0) for count in inputs)
    rows = sum(group.rows for group in made)
    what = "sessions" if config.inputs.characters else "personas and sessions"
    stages = [
        StageWorkload("ingest", read, what, stored_bytes=texts.bytes(read_tokens, read)),
        *stages,
        StageWorkload(
            "generate-dialogues", rows, "dialogues", dict(calls_by_engine), stored_bytes=_stored(made, texts)
        ),
        StageWorkload("collect-dialogues", kept_rows, "dialogues", stored_bytes=_stored(answered, texts)),
    ]
    return stages, answered


def _characters(config: RunConfig, inputs: list[InputCount], texts: TokenEstimates) -> tuple[list[StageWorkload], int]:
    """The stages that make or import the characters, and the number of characters."""
    if config.inputs.characters:
        characters = sum(count.rows for count in inputs if count.what == "characters")
        stored = texts.bytes(characters * texts.profile, characters)
        return [StageWorkload("import-characters", characters, "characters", stored_bytes=stored)], characters
    personas = sum(count.rows for count in inputs if count.what == "personas")
    examples = ProfilePrompt.load(config.profiles)
    shown = texts.template(examples.examples.name) / len(examples.shown)
    ask = 2 * texts.template("profile.md") + shown
    profiles = CallVolume(
        calls=personas,
        # Each attempt may be followed by a repair.
        calls_at_most=personas * config.profiles.attempts * 2,
        tokens_in=personas * (ask + texts.persona + 3 * texts.assumed("mark_tokens")),
        tokens_out=personas * texts.profile,
    )
    characters, stored = _kept(personas, texts), texts.bytes(profiles.tokens_out, personas)
    calls = {config.profiles.teacher: profiles}
    stages = [
        StageWorkload("generate-profiles", personas, "profiles", calls, stored_bytes=stored),
        StageWorkload("collect-profiles", characters, "characters", stored_bytes=stored),
    ]
    return stages, characters


def _rewritten(
    settings: ResponsesConfig, count: InputCount, cast: int, texts: TokenEstimates
) -> tuple[Dialogues, CallVolume]:
    """R asks once for a session's answers, whatever its turns; sessions without answers have no row."""
    rows = cast * count.answered_rows
    if not rows:
        return Dialogues("R", 0, 1, 0), CallVolume()
    turns = count.answered_turns / count.answered_rows
    asked = count.user_tokens / count.turns * turns
    if count.answer_tokens is None:
        before = after = turns * texts.assumed("answer_tokens")
    else:
        before = count.answer_tokens / count.answered_rows
        after = before * texts.assumed("rewrite_growth")
    most = settings.rewrite_sampling.max_tokens * (turns if settings.rewrite_room == "session" else 1)
    prompt = texts.template("rewrite.md") + texts.persona + texts.profile + asked + before
    volume = CallVolume(
        calls=rows,
        calls_at_most=rows * settings.attempts,
        tokens_in=rows * (prompt + texts.assumed("mark_tokens")),
        tokens_out=rows * min(after + _JSON_TOKENS, most),
    )
    return Dialogues("R", rows, turns, asked + min(after, most)), volume


def _generated(
    settings: ResponsesConfig, count: InputCount, cast: int, texts: TokenEstimates
) -> tuple[Dialogues, CallVolume]:
    """G asks once for each user turn, and sends the turns before it again."""
    turns, mark = cast * count.turns, texts.assumed("mark_tokens")
    asked, system = count.user_tokens / count.turns, texts.system({"persona_and_profile": 1})
    again = cast * count.earlier_turns * (asked + texts.answer + 2 * mark)
    calls = round(turns)
    volume = CallVolume(
        calls=calls,
        calls_at_most=calls * settings.attempts,
        tokens_in=turns * (system + asked + 3 * mark) + again,
        tokens_out=turns * texts.answer,
    )
    of_row = count.turns / count.rows
    return Dialogues("G", cast * count.rows, of_row, of_row * (asked + texts.answer)), volume


def _release(
    config: RunConfig, inputs: list[InputCount], texts: TokenEstimates
) -> tuple[list[StageWorkload], list[Dialogues]]:
    [count] = [count for count in inputs if count.what == "dialogues"]
    answer = texts.answer if count.answer_tokens is None else count.answer_tokens / count.rows
    dialogues = [Dialogues("G", count.rows, 1, count.user_tokens / count.rows + answer, _weight(config.mix, "G"))]
    stored = _stored(dialogues, texts)
    return [StageWorkload("import-dataset", count.rows, "dialogues", stored_bytes=stored)], dialogues


def _judging(settings: QualityConfig, dialogues: list[Dialogues], texts: TokenEstimates) -> StageWorkload:
    """The judge of the dialogues: a judgement of each; a repair and another judgement of each as the most."""
    rows = sum(group.rows for group in dialogues)
    prompt = texts.template("quality.md") + texts.persona + texts.profile + texts.assumed("mark_tokens")
    prompt += texts.text(settings.rubric) if settings.rubric else texts.template("quality_rubric.md")
    volume = CallVolume(
        calls=rows,
        calls_at_most=rows * (3 if settings.repair else 1),
        tokens_in=sum(group.rows * (prompt + group.text_tokens) for group in dialogues),
        tokens_out=rows * min(texts.assumed("judgement_tokens"), settings.judge_sampling.max_tokens),
    )
    calls = {settings.engine: volume}
    return StageWorkload("judge-dialogues", rows, "dialogues", calls, stored_bytes=_stored(dialogues, texts))


def _stored(dialogues: list[Dialogues], texts: TokenEstimates) -> float:
    rows = sum(group.rows for group in dialogues)
    return texts.bytes(sum(group.rows * group.text_tokens for group in dialogues), rows)


def _kept(rows: int, texts: TokenEstimates) -> int:
    return round(rows * (1 - texts.assumed("rejected_share")))


def _weight(mix: MixConfig, strategy: str) -> float:
    return next((weight for name, weight in mix.weights.items() if name == strategy), 1.0)


def _mixture(
    mix: MixConfig, inputs: list[InputCount], dialogues: list[Dialogues], texts: TokenEstimates
) -> tuple[StageWorkload, Mixture]:
    """The mix step."""
    parts = [*dialogues, *_general(mix, inputs, texts)]
    cells: dict[Cell, float] = dict.fromkeys(CELLS, 0.0)
    stored = trained = 0.0
    views = mix.prompt_views
    for part in parts:
        if part.weight == 0:
            continue
        shares = _shares(mix, part)
        rows = part.rows * (1 - texts.assumed("filtered_share"))
        tokens = texts.row(part, views)
        for cell in CELLS:
            cells[cell] += rows * shares[cell]
        trained += rows * shares["train"] * tokens
        stored += texts.bytes(rows * sum(shares.values()) * tokens, rows * sum(shares.values()))
    strategies = {part.strategy for part in dialogues if part.weight > 0}
    mixed = Mixture(cells, trained / cells["train"] if cells["train"] else 0.0, len(strategies) or 1)
    return StageWorkload("mix", round(sum(cells.values())), "rows", stored_bytes=stored), mixed


def _training(sft: SftConfig, mixed: Mixture) -> StageWorkload:
    """The sft step; steps are counted as the trainer counts them, with packs taken to be full."""
    rows = round(mixed.cells["train"])
    of_row = min(mixed.row_tokens, sft.max_length)
    packs = math.ceil(rows * of_row / sft.max_length) if sft.packing else rows
    batches = math.ceil(packs / (sft.processes * sft.per_device_batch_size))
    steps = math.ceil(sft.epochs * math.ceil(batches / sft.gradient_accumulation_steps))
    tokens = sft.epochs * rows * of_row
    if sft.max_steps is not None:
        steps = sft.max_steps
        tokens = steps * sft.global_batch_size * (sft.max_length if sft.packing else of_row)
    return StageWorkload("sft", rows, "training rows", trained_tokens=tokens, optimizer_steps=steps)


def _evaluation(config: RunConfig, mixed: Mixture, cast: int, texts: TokenEstimates) -> StageWorkload:
    """The evaluate step: what its suites ask together, each in a pod and with rows of its own."""
    settings, student = config.evaluate, config.sft.base_model
    models = [Named(f"model {number}", student) for number in range(MODELS_MEASURED)]
    questions, own, scored = 0, CallVolume(), 0.0
    by_judge: defaultdict[str, CallVolume] = defaultdict(CallVolume)
    for choice in settings.choices:
        judges = choice.judges or []
        if choice.suite == GRID:
            grid = _grid(settings, mixed, cast, texts)
            questions += grid.questions
            scored += MODELS_MEASURED * grid.scored_tokens
            own += grid.own if judges else CallVolume()
            for judge in judges:
                by_judge[judge] += grid.judged
            continue
        suite = chosen_suite(choice)
        questions += len(suite.items())
        scored += MODELS_MEASURED * scored_tokens(suite, texts)
        panel = [Named(judge, judge, config.engines[judge]) for judge in judges]
        lengths = {suite.name: texts.answer}
        for asked in rehearse_suites([suite], models, panel, texts.assumed, seed=config.seed, answer_tokens=lengths):
            if asked.role == "model":
                own += asked.volume
            else:
                by_judge[asked.named.name] += asked.volume
    return StageWorkload(
        "evaluate", questions, "questions", calls_by_engine=dict(by_judge), own=own, scored_tokens=scored
    )


class _GridWork(NamedTuple):
    """What the suite `grid` asks."""

    questions: int
    scored_tokens: float
    """Of one model."""
    own: CallVolume
    """Calls to all models."""
    judged: CallVolume
    """Calls to one judge about all models."""


def _grid(settings: EvaluateConfig, mixed: Mixture, cast: int, texts: TokenEstimates) -> _GridWork:
    """The suite `grid`: losses of every question under its own and a wrong profile, then answers and judgements."""
    rows = {cell: round(of_cell) for cell, of_cell in mixed.cells.items()}
    asked = {cell: min(rows[cell], settings.rows_per_cell or rows[cell]) for cell in HELD_OUT_CELLS}
    questions = min(rows["train"], settings.train_rows) + sum(asked.values())
    scored = questions * 2 * min(mixed.row_tokens, settings.max_length)
    judge = settings.judge
    if judge is None:
        return _GridWork(questions, scored, CallVolume(), CallVolume())
    # A session and a character that stand in R and in G are one question.
    items = sum(min(judge.questions_per_cell, math.ceil(asked[cell] / mixed.strategies)) for cell in HELD_OUT_CELLS)
    answers = items * MODELS_MEASURED
    answer = min(texts.answer, judge.answer_sampling.max_tokens)
    question = max(mixed.row_tokens - texts.answer, 0)
    rubrics = [f"judge_{name}.md" for name in judge.dimensions]
    # Few characters are shown no canaries; as many are taken to be among the questions as there are.
    canaries = min(ORIGINALS, answers) * (1 + len(KINDS)) if min(items, cast) >= FEWEST_CHARACTERS else 0
    calls = answers * len(rubrics) + canaries
    prompts = calls * (texts.template("judge.md") + question + answer) + canaries * texts.template("overall.md")
    prompts += answers * sum(texts.template(name) for name in rubrics)
    judged = calls * min(texts.assumed("judgement_tokens"), judge.judge_sampling.max_tokens)
    return _GridWork(
        questions,
        scored,
        CallVolume(answers, answers, answers * question, answers * answer),
        CallVolume(calls, calls * ATTEMPTS, prompts, judged),
    )


def _general(mix: MixConfig, inputs: list[InputCount], texts: TokenEstimates) -> list[Dialogues]:
    parts = []
    counts = [count for count in inputs if count.what == "general"]
    for source, count in zip(mix.general, counts, strict=True):
        answers = count.answer_tokens
        if answers is None:
            answers = count.turns * texts.assumed("answer_tokens")
        text = (count.user_tokens + answers) / count.rows
        parts.append(Dialogues("general", count.answered_rows, count.turns / count.rows, text, source.weight))
    return parts


def _shares(mix: MixConfig, part: Dialogues) -> dict[Cell, float]:
    """Expected share of each cell, copies in training included. General instructions have no character to hold out."""
    sessions = mix.held_out.sessions
    characters = 0.0 if part.strategy == "general" else mix.held_out.characters
    return {
        "train": (1 - characters) * (1 - sessions) * part.weight,
        "seen_character_held_out_session": (1 - characters) * sessions,
        "held_out_character_seen_session": characters * (1 - sessions),
        "held_out_both": characters * sessions,
    }
