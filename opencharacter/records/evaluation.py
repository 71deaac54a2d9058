"""The files of evaluation: scores by question and metric, the answers that were judged, and the summary."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from opencharacter.records.models import Cell, Turn

Role = Literal["base", "challenger", "champion"]
Metric = Literal[
    "loss",
    "profile_swap_gap",
    "expected_action",
    "toxicity_control",
    "linguistic_habits",
    "persona_consistency",
    "action_justification",
]
"""`loss`: nats per response token. `profile_swap_gap`: loss under a wrong character's profile minus that. The rest:
the paper's five dimensions, 1 to 5."""

Status = Literal[
    "ok",
    "too_long",  # the row has more tokens than max_length
    "not_finite",  # the loss is not a number: the model has diverged
    "no_other_character",  # there is no other character to swap the profile with
    "engine_failure",  # the model or the judge could not be asked
    "empty_answer",  # the model said nothing
    "no_answer",  # the dimension was not judged, since there is no answer to judge
    "parse_failure",  # the judge's reply holds no score
    "refusal",  # the judge refused
]


ENGINE_FAILURE: Status = "engine_failure"


def is_final(label: str) -> bool:
    """Whether a stored row with this status is final; a call that failed in transit is made again."""
    return label != ENGINE_FAILURE


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid")

    question_id: str = Field(description="row id in the mixture")
    character_id: str | None
    session_id: str
    cell: Cell
    model: str = Field(description="digest of the weights")
    status: Status


class ScoreRow(_Row):
    """One measurement (docs/design.md, decision 12). A score exists only where the status is ok."""

    metric: Metric
    judge: str | None = Field(default=None, description="model name of the judge")
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

    conversation: list[Turn] = Field(description="what was asked, without the system message; ends in a user turn")
    answer: str | None
    finish_reason: str | None = None


class Score(BaseModel):
    """Mean of a model's ok rows in one cell, or in all held-out cells together, with its bootstrap interval."""

    model: Role
    cell: Cell | Literal["held_out"]
    metric: Metric
    n: int
    mean: float | None
    low: float | None = Field(description="none for fewer than two questions")
    high: float | None
    failures: dict[Status, int] = Field(description="rows without a score, by status; means leave them out")


class Difference(BaseModel):
    """Challenger minus another model over the questions that both have a score for (paired bootstrap)."""

    against: Literal["base", "champion"]
    cell: Cell | Literal["held_out"]
    metric: Metric
    n: int
    difference: float | None
    low: float | None
    high: float | None


class Summary(BaseModel):
    """The file `summary.json`."""

    models: dict[Role, str] = Field(description="digest of the weights by role")
    judge: str | None
    confidence: float
    scores: list[Score]
    differences: list[Difference]


class GateDecision(BaseModel):
    """Whether the challenger may become champion, and why."""

    passed: bool
    metric: Literal["loss", "profile_swap_gap", "judge"]
    against: Literal["base", "champion"]
    difference: float | None = Field(default=None, description="challenger minus the other, mean over questions")
    interval: tuple[float, float] | None = None
    confidence: float
    n: int = Field(description="questions that both have a score for")
    reason: str
    challenger_digest: str
    champion_digest: str | None = Field(
        default=None, description="none if there was no champion and the challenger was compared with the base model"
    )
