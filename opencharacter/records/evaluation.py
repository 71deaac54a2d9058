"""The files of evaluation: scores by question and metric, the answers that were judged, and the summary."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from opencharacter.records.models import Cell, Turn, Usage

Role = Literal["base", "challenger", "champion"]

GRID = "grid"
"""The suite that measures a run's own split grid."""

LOSS = "loss"
"""Nats per response token; lower is better."""
SWAP_GAP = "profile_swap_gap"
"""Loss under a wrong character's profile minus `loss`; higher is better."""

Status = Literal[
    "ok",
    "too_long",  # the row has more tokens than max_length
    "not_finite",  # the loss is not a number: the model has diverged
    "no_other_character",  # there is no other character to swap the profile with
    "engine_failure",  # the model or the judge could not be asked
    "empty_answer",  # the model said nothing
    "truncated",  # the answer was cut off at max_tokens; it may have a score
    "no_answer",  # the dimension was not judged, since there is no answer to judge
    "parse_failure",  # the judge's reply holds no score
    "refusal",  # the judge refused
]

MODEL_FAILURES: frozenset[Status] = frozenset({"too_long", "not_finite", "empty_answer", "no_answer"})
"""A model's own failures: each counts as the worst score of its measure, never as a missing value."""

JUDGE_FAILURES: frozenset[Status] = frozenset({"parse_failure", "refusal", "engine_failure"})
"""Failures of a judge, or of the way to it: asked again, then left out for both models of a comparison."""

ENGINE_FAILURE: Status = "engine_failure"

TOKEN_LIMIT = "length"
"""The `finish_reason` of an answer that was cut off at `max_tokens`."""


class Check(BaseModel):
    """What a program can check of an answer: a kind and its arguments, such as `{kind: max_words, value: 50}`."""

    model_config = ConfigDict(extra="allow")

    kind: str


class Item(BaseModel):
    """One question of a suite: who is played, and what is said to it."""

    model_config = ConfigDict(extra="forbid")

    id: str
    suite: str
    task: str = Field(default="", description="part of the suite, such as `expected_action`; scores are compared in it")
    character_id: str | None = Field(default=None, description="none: the model is asked without a character")
    session_id: str = Field(description="items of one session are one cluster")
    cell: Cell | None = Field(default=None, description="of the split grid; none outside the grid")
    turns: list[Turn] = Field(
        description="what is said, without the system message; ends in a user turn. Where the history is the model's"
        " own, user turns only"
    )
    view: Literal["persona_and_profile", "profile", "persona", "none"] | None = Field(
        default=None, description="what of the character the system prompt holds; none given: as the suite says"
    )
    reference: str | None = Field(default=None, description="a good answer, whose loss is measured")
    wrong_character_id: str | None = Field(
        default=None,
        description="whose profile the swap gap shows; none: outside the grid another of the suite",
    )
    checks: list[Check] = []
    tags: list[str] = []
    source: str = ""
    license: str = ""


def is_final(label: str) -> bool:
    """Whether a stored row with this status is final; a call that failed in transit is made again."""
    return label != ENGINE_FAILURE


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid")

    suite: str = GRID
    question_id: str = Field(description="the item's id; in the suite `grid` the row id in the mixture")
    character_id: str | None
    session_id: str
    cell: Cell | None = Field(description="none outside the split grid")
    model: str = Field(description="the model's identity: digest of the weights, or what an endpoint says of itself")
    repeat: int = Field(default=0, ge=0, description="which of several answers to the same item")
    status: Status


class ScoreRow(_Row):
    """One measurement (docs/design.md, decision 12). A score exists only where the status is ok."""

    metric: str = Field(description="`loss`, `profile_swap_gap`, or the task that was judged or checked")
    judge: str | None = Field(default=None, description="identity of the judge")
    score: float | None = None
    tokens: int | None = Field(default=None, description="response tokens that the loss is a mean of")
    note: str | None = Field(default=None, description="the judge's reason, or what went wrong")

    @model_validator(mode="after")
    def _failures_have_no_score(self) -> "ScoreRow":
        if (self.status == "ok") != (self.score is not None):
            raise ValueError(f"status {self.status} with score {self.score}")
        return self


class AnswerRow(_Row):
    """A sample answer, as it was judged."""

    conversation: list[Turn] = Field(
        description="what came before, without the system message; ends in a user turn. Holds the model's own earlier"
        " answers where the history is its own"
    )
    answer: str | None
    finish_reason: str | None = None
    usage: Usage = Field(default=Usage(), description="of all calls that made the answer")
    system_prompt_hash: str | None = Field(default=None, description="content hash of the system message")
    reported_model: str | None = Field(default=None, description="as the server named itself in its reply")
    note: str | None = Field(default=None, description="what went wrong")

    @property
    def is_cut(self) -> bool:
        """Whether the answer was cut off at `max_tokens`."""
        return self.status == "truncated" or self.finish_reason == TOKEN_LIMIT


class Judgement(BaseModel):
    """What a judge said of an answer, or of two."""

    model_config = ConfigDict(extra="forbid")

    suite: str
    question_id: str
    metric: str
    model: str = Field(description="whose answer is judged")
    rival: str | None = Field(default=None, description="whose answer it is compared with, which is shown second")
    repeat: int = 0
    turn: int | None = Field(default=None, description="which answer of the conversation, from 1; none: the last one")
    judge: str = Field(description="identity of the judge")
    rubric_hash: str
    status: Status
    score: float | None = None
    reason: str | None = None
    reply: str | None = Field(default=None, description="the judge's words, where they could not be read")


class Scale(BaseModel, extra="forbid", frozen=True):
    """The ends of a score, and which one is better."""

    low: float | None = Field(default=None, description="none: there is no lowest score")
    high: float | None = None
    lower_is_better: bool = False

    @property
    def worst(self) -> float | None:
        """The score of a model's own failure; none: the worst one that was measured."""
        return self.high if self.lower_is_better else self.low


RATING = Scale(low=1, high=5)
"""Of a judge."""
SHARE = Scale(low=0, high=1)
"""Of checks that pass, of answers that refuse."""


class Scoring(BaseModel):
    """What the statistics need to know of a suite. The default is the suite `grid`, also of releases without suites."""

    model_config = ConfigDict(extra="forbid")

    scales: dict[str, Scale] = Field(
        default={LOSS: Scale(lower_is_better=True), SWAP_GAP: Scale()}, description="by metric"
    )
    other_scale: Scale = Field(default=RATING, description="of metrics that are not in `scales`")
    failures: dict[Status, float] = Field(default={}, description="score of a model's own failure; else the worst")
    pairs: bool = Field(default=True, description="rows of one character and session are one question, as of R and G")
    unit: Literal["character_id", "session_id", "question_id"] = "character_id"
    clusters: tuple[Literal["character_id", "session_id"], ...] = ("character_id", "session_id")

    def scale(self, metric: str) -> Scale:
        """The scale of a metric."""
        return self.scales.get(metric, self.other_scale)


class Score(BaseModel):
    """A model's mean in one cell, or over the held-out cells, which weigh equally, with its clustered t interval.

    It is a mean over characters of the mean over their questions. The model's own failures count as the worst score.
    """

    model: str = Field(description="role or name")
    cell: Cell | Literal["held_out", "all"] = Field(description="all: items outside the split grid")
    metric: str
    n: int = Field(description="questions, failures of the model included")
    mean: float | None
    low: float | None = Field(description="none for fewer than two clusters")
    high: float | None
    failures: dict[Status, int] = Field(description="rows without a score, by status")
    clusters: int | None = Field(default=None, description="see `Difference`")


class Difference(BaseModel):
    """Challenger minus another model over the same questions, with the clustered t interval."""

    against: str = Field(description="role or name")
    cell: Cell | Literal["held_out", "all"] = Field(description="all: items outside the split grid")
    metric: str
    n: int
    difference: float | None
    low: float | None
    high: float | None
    clusters: int | None = Field(
        default=None, description="independent groups (characters or sessions, whichever are fewer); none: not counted"
    )
    p: float | None = Field(default=None, description="two-sided p-value of the clustered t-test against zero")


class PublishedScore(BaseModel):
    """A cell of the table that a published benchmark prints: it gives no interval."""

    n: int = Field(description="characters")
    mean: float
    sd: float = Field(description="standard deviation over characters, of the population")


class Summary(BaseModel):
    """The file `summary.json`."""

    models: dict[str, str] = Field(description="identity by role or name: digest of the weights, or an endpoint's")
    judge: str | None
    suite: str = GRID
    suite_digest: str | None = Field(default=None, description="version of the suite")
    items_digest: str | None = Field(default=None, description="of the items: only equal ones are compared")
    system_prompt: str = Field(default="", description="own: each model's own; else the one that all models had")
    judges: dict[str, str] = Field(default={}, description="identity of those that scored, by name")
    families: dict[str, str] = Field(default={}, description="what models and judges descend from, by name, if known")
    confidence: float
    scores: list[Score]
    differences: list[Difference]
    overall: list[Score] = Field(
        default=[],
        description="mean over characters of the mean over all tasks, where a suite has several of one scale; the"
        " metric is `PersonaScore` in PersonaGym's suites",
    )
    scoring: Scoring = Scoring()
    endpoints: dict[str, str] = Field(
        default={}, description="what answered behind each endpoint, since when, and whether its name holds a date"
    )
    notice: str = Field(default="", description="what has to be said beside every score of the suite")
    published: dict[str, dict[str, PublishedScore]] = Field(
        default={}, description="by model and task, where the suite scores as a published benchmark does"
    )


Outcome = Literal["passed", "not shown", "undecidable"]


class GateFinding(BaseModel):
    """One comparison of the gate: the primary, or a guard. Its figures are the metric's: of a loss, less is better."""

    name: str = Field(description="primary, or what the guard guards")
    suite: str
    metric: str
    outcome: Outcome
    margin: float = Field(description="primary: gain that must be shown; guard: loss that must be excluded")
    difference: float | None = Field(default=None, description="challenger minus the other")
    interval: tuple[float, float] | None = Field(default=None, description="two-sided; its worse end decides")
    bounds: tuple[float, float] | None = Field(
        default=None, description="of the difference, whatever the scores are that the judge did not give"
    )
    n: int = Field(default=0, description="questions")
    clusters: int = Field(default=0, description="characters or sessions, whichever are fewer")
    mde: float | None = Field(default=None, description="smallest gain that this sample shows with chance 80 %")
    lost: float = Field(default=0.0, description="share of judgements that are missing for one of the two models")
    labels: int = Field(default=0, description="items by whose labels the judge's difference is corrected; 0: by none")
    judge_difference: float | None = Field(default=None, description="what the judge has, where labels correct it")
    text: str = ""


class LedgerPosition(BaseModel):
    """How often these items have decided against this champion."""

    comparison: int = Field(description="1 for the first one")
    alpha: float = Field(description="one-sided level that this comparison gets")
    items: str = Field(description="digest")


class GateDecision(BaseModel):
    """Whether the challenger may become champion, and why."""

    passed: bool
    metric: str = Field(description="of the primary: `loss`, `profile_swap_gap`, `judge` (all tasks) or a task")
    against: Literal["base", "champion"]
    difference: float | None = Field(default=None, description="challenger minus the other, as the suite weighs it")
    interval: tuple[float, float] | None = None
    confidence: float = Field(description="of the interval")
    n: int = Field(description="questions of the primary")
    reason: str
    challenger_digest: str
    champion_digest: str | None = Field(
        default=None, description="none if there was no champion and the challenger was compared with the base model"
    )
    outcome: Outcome | None = Field(default=None, description="none in decisions of releases that had no outcome")
    primary: GateFinding | None = None
    guards: list[GateFinding] = []
    clusters: int | None = None
    mde: float | None = None
    ledger: LedgerPosition | None = None
    judges: list[str] = Field(default=[], description="identities of the judges that decided")
    remedy: str | None = Field(default=None, description="what would decide it")
    notes: list[str] = Field(default=[], description="what a reader should know of the decision's ground")
