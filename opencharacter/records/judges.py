"""What is known of a judge: canaries, order, length, repeats, agreement; and the comparisons that it made."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

CanaryKind = Literal["empty", "off_character", "other_character", "ai_disclosure", "profile_pasted", "padded"]
JudgeVerdict = Literal["passed", "refused", "unknown"]

ENOUGH_LABELS = 100
"""Labelled pairs from which a judge counts as calibrated."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)


class Figure(_Record):
    """A figure and its two-sided 95 % interval."""

    value: float | None = Field(description="none: nothing to measure it by")
    low: float | None = None
    high: float | None = None
    n: int = Field(description="what it is counted over")
    clusters: int | None = Field(default=None, description="characters, where these are the independent units")

    def __contains__(self, value: float) -> bool:
        """Whether the interval holds a value."""
        return self.low is not None and self.high is not None and self.low <= value <= self.high

    def __str__(self) -> str:
        """The figure for people: `0.62 (0.55 to 0.69)`."""
        if self.value is None:
            return "–"
        return f"{self.value:.2f}" + ("" if self.low is None else f" ({self.low:.2f} to {self.high:.2f})")


class Kappa(_Record):
    """Quadratically weighted kappa of two raters."""

    first: str
    second: str
    kappa: Figure


class Agreement(_Record):
    """Agreement of raters, judges or people, in one task."""

    task: str
    raters: tuple[str, ...]
    alpha: Figure = Field(description="Krippendorff's alpha for ordinal data: 1 is agreement, 0 is chance")
    kappas: tuple[Kappa, ...]


class CanaryResult(_Record):
    """How a judge ranks the canaries."""

    wrong: Figure = Field(description="share of canaries that the judge ranks wrongly; a tie is half wrong")
    by_kind: dict[CanaryKind, Figure]
    unrankable: int = Field(description="originals with the worst score: no canary can be worse")
    verdict: JudgeVerdict
    reason: str


class OrderBias(_Record):
    """What the order of the answers does to a judge's verdicts."""

    flip_rate: Figure = Field(description="share of pairs whose winner changes with the order")
    first_place_rate: Figure = Field(description="share of decided verdicts for the answer shown first; fair is 0.5")
    verdict: JudgeVerdict
    reason: str


class PairResult(_Record):
    """Two models compared by one judge."""

    judge: str
    first: str
    second: str
    win_rate: Figure = Field(description="of the first model, ties half; cluster-robust t interval")
    length_controlled: Figure = Field(description="win rate at equal length, by logistic regression")
    length_slope: Figure = Field(description="log odds of winning for twice the length")
    order: OrderBias
    unreadable: int = Field(description="pairs without a verdict in both orders, left out")


class Standing(_Record):
    """A model in the ranking of three or more."""

    model: str
    strength: Figure = Field(description="log odds (Bradley-Terry); the mean over all models is 0")
    win_rate: Figure = Field(description="expected against the other models")
    best_rank: int = Field(description="the best rank that the intervals leave open")
    worst_rank: int


class Arena(_Record):
    """All comparisons of an evaluation."""

    pairs: list[PairResult]
    ranking: dict[str, list[Standing]] = Field(description="by judge, for three models or more")


class Calibrated(_Record):
    """The difference of two models as a judge has it, raw and corrected by people's labels."""

    judge: Figure = Field(description="the judge's difference over all items")
    people: Figure = Field(description="the people's over the labelled items")
    judge_minus_people: Figure = Field(description="the judge's error, over the labelled items")
    corrected: Figure = Field(description="the judge's difference minus its error")

    @property
    def enough(self) -> bool:
        """Whether there are labels enough to decide by the corrected difference."""
        return self.people.n >= ENOUGH_LABELS


class JudgeStanding(_Record):
    """What a run found of one of its judges."""

    judge: str = Field(description="identity, as in the score rows")
    name: str
    canaries: CanaryResult | None = Field(default=None, description="none: it was asked about none")
    order: OrderBias | None = Field(default=None, description="none: it compared no answers")
    related: tuple[str, ...] = Field(default=(), description="subjects with its weights, or of its family")

    @property
    def refusals(self) -> list[str]:
        """What of its conduct forbids a decision; empty if nothing does."""
        return [part.reason for part in (self.canaries, self.order) if part and part.verdict == "refused"]


class JudgesReport(_Record):
    """The file `judges.json` of an evaluation."""

    standings: list[JudgeStanding]
    agreement: list[Agreement] = Field(default=[], description="by task, where there are two judges or more")
    arena: Arena | None = None


class JudgeCard(_Record):
    """What `judge-check` finds of a judge; each figure has its interval."""

    judge: str
    name: str
    family: str | None
    material: str = Field(description="whose answers it was asked about")
    items: int
    answers: int
    characters: int
    calls: int
    unreadable: Figure = Field(description="share of replies without a score or verdict")
    refused: Figure = Field(description="share of replies that decline to judge")
    scores: dict[int, int] = Field(description="how often each score was given")
    repeatability: Figure = Field(description="chance that two scores of one answer are equal")
    repeat_variance: Figure = Field(description="variance of the scores of one answer: the judge's noise")
    length_effect: Figure = Field(description="what empty words of an answer's own length add to its score")
    canaries: CanaryResult
    order: OrderBias
    length_preference: Figure = Field(
        description="log odds of preferring an answer of twice the length; better answers may be longer"
    )
    people: list[Agreement] = Field(default=[], description="agreement of the judge with people")
    raters: list[Agreement] = Field(default=[], description="agreement of the people with each other")
    compared: tuple[str, str] | None = Field(default=None, description="the two models that people compared")
    calibration: Calibrated | None = Field(default=None, description="the second of them minus the first")

    @property
    def verdict(self) -> JudgeVerdict:
        """Whether a decision may rest on the judge."""
        verdicts = {self.canaries.verdict, self.order.verdict}
        return "refused" if "refused" in verdicts else "unknown" if "unknown" in verdicts else "passed"
