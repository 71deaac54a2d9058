"""Settings of the evaluation and of the promotion gate."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from opencharacter.engines.engine_config import Sampling
from opencharacter.records.evaluation import GRID

Dimension = Literal[
    "expected_action", "toxicity_control", "linguistic_habits", "persona_consistency", "action_justification"
]


class JudgeConfig(BaseModel):
    """How sample answers of the suite `grid` are judged: on five dimensions, 1 to 5. Other suites say it themselves."""

    model_config = ConfigDict(extra="forbid")

    engine: str = Field(default="judge", description="key of the run's `engines`")
    questions_per_cell: int = Field(default=20, ge=1, description="of each held-out cell's scored rows")
    dimensions: list[Dimension] = [
        "expected_action",
        "toxicity_control",
        "linguistic_habits",
        "persona_consistency",
        "action_justification",
    ]
    answer_sampling: Sampling = Sampling(temperature=0.0, top_p=1.0, max_tokens=1024)
    judge_sampling: Sampling = Sampling(temperature=0.0, top_p=1.0, max_tokens=256)


class SuiteChoice(BaseModel):
    """A suite, with what of it this run measures."""

    model_config = ConfigDict(extra="forbid")

    suite: str = Field(description="name of a packaged suite, a folder, an s3:// prefix or an hf:// id")
    first: int | None = Field(
        default=None, ge=1, description="items of each character and task that are asked, the first ones; none: all"
    )
    draw: int | None = Field(
        default=None,
        ge=0,
        description="another number takes fresh items: with `first` the next ones; none: as the suite",
    )
    judges: list[str] | None = Field(
        default=None,
        description="those of `evaluate.judges` who judge it; none: all; an empty list: no judge",
    )


class EvaluateConfig(BaseModel):
    """What is measured: suites, and who judges. All keys but `suites` and `judges` are those of the suite `grid`."""

    model_config = ConfigDict(extra="forbid")

    suites: list[str | SuiteChoice] = Field(
        default=[GRID],
        min_length=1,
        description="what to measure with: names of packaged suites, folders, s3:// prefixes or hf:// ids, or objects"
        " that hold one as `suite`; `grid` is the run's own split grid",
    )
    judges: list[str] = Field(
        default=[], description="keys of the run's `engines`; every suite that needs a judge asks each of them"
    )
    rows_per_cell: int | None = Field(default=None, ge=1, description="seeded sample of each cell; none: all rows")
    train_rows: int = Field(default=64, ge=1, description="rows of the train cell that are scored (memorisation check)")
    max_length: int = Field(default=4096, ge=32, description="tokens")
    batch_size: int = Field(default=1, ge=1)
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    judge: JudgeConfig | None = Field(
        default=None, description="sample answers of `grid`; none: judged as by default where there are `judges`"
    )

    @model_validator(mode="after")
    def _judges_include_the_one_of_grid(self) -> "EvaluateConfig":
        judge = self.judge
        if self.judges and (judge is None or "engine" not in judge.model_fields_set):
            judge = (judge or JudgeConfig()).model_copy(update={"engine": self.judges[0]})
        if judge:
            self.judge, self.judges = judge, list(dict.fromkeys([judge.engine, *self.judges]))
        return self

    @model_validator(mode="after")
    def _suites_fit(self) -> "EvaluateConfig":
        names = [choice.suite for choice in self.choices]
        if len(set(names)) < len(names):
            raise ValueError(f"suites: each one once, got {names}")
        for choice in self.choices:
            if unknown := set(choice.judges or ()) - set(self.judges):
                raise ValueError(f"suites: {choice.suite}: '{min(unknown)}' is not one of `judges`: {self.judges}")
        return self

    @property
    def choices(self) -> list[SuiteChoice]:
        """The suites, each as an object with its judges."""
        found = [SuiteChoice(suite=suite) if isinstance(suite, str) else suite for suite in self.suites]
        return [
            choice if choice.judges is not None else choice.model_copy(update={"judges": self.judges})
            for choice in found
        ]

    def choice(self, suite: str) -> SuiteChoice:
        """What is measured of a suite, with its judges."""
        return next(
            (choice for choice in self.choices if choice.suite == suite), SuiteChoice(suite=suite, judges=self.judges)
        )


class PrimaryConfig(BaseModel):
    """The one comparison that the challenger must win, declared before the scores are seen."""

    model_config = ConfigDict(extra="forbid")

    suite: str = Field(default=GRID, description="a suite of `evaluate.suites`")
    metric: str = Field(
        default="judge", description="judge: all tasks that have a scale; loss; profile_swap_gap; or one task"
    )
    delta: float = Field(default=0.0, ge=0, description="gain that must be exceeded, in units of the metric")


Guard = Literal["tasks", "new_characters", "loss_alone", "suites", "truncation", "judges"]


class GuardsConfig(BaseModel):
    """What must not get worse, and by how much it may. Margins are in units of the metric.

    A margin that is not given is 0.2 on a scale of 1 to 5 (a twentieth of any scale), 0.1 on a share and 0.05 nats.
    """

    model_config = ConfigDict(extra="forbid")

    tasks: float | None = Field(default=None, ge=0, description="margin of each task of the primary")
    new_characters: float | None = Field(default=None, ge=0, description="margin of characters not seen in training")
    loss_alone: float | None = Field(
        default=None, ge=0, description="margin of swap gap and judge where the primary is a loss"
    )
    suites: dict[str, float | dict[str, float]] = Field(
        default={},
        description="margin by further suite, or of it by metric (`judge`: all of which more is better); `safety` and"
        " `assistant` are guards wherever they are measured",
    )
    truncation: float = Field(default=0.05, ge=0, description="margin of the share of answers that are cut off")
    skip: list[Guard] = Field(default=[], description="guards that are left out")


class GateConfig(BaseModel):
    """When a challenger may become champion (docs/promote.md)."""

    model_config = ConfigDict(extra="forbid")

    primary: PrimaryConfig | None = Field(
        default=None,
        description="none: as `metric` says; else by judge on `frozen`, `personagym` or `grid`, or, where nothing is"
        " judged, by loss on `frozen` or `grid`",
    )
    metric: Literal["loss", "profile_swap_gap", "judge"] | None = Field(
        default=None, description="short for a primary on the suite `grid`"
    )
    guards: GuardsConfig = GuardsConfig()
    labels: list[str] = Field(
        default=[],
        description="files with people's labels of the compared models' answers (JSONL or CSV, also s3://); labels of"
        " 100 pairs or more correct the judge's difference",
    )
    confidence: float = Field(default=0.95, gt=0.5, lt=1, description="of two-sided intervals, whose worse end decides")
    min_questions: int = Field(default=10, ge=2, description="with fewer the decision is undecidable")
    min_clusters: int = Field(
        default=20,
        ge=2,
        description="with fewer characters or sessions the decision is undecidable; under 20 nothing is promised",
    )
    max_lost: float = Field(
        default=0.02, ge=0, lt=1, description="with a larger share of missing judgements the decision is undecidable"
    )

    @property
    def alpha(self) -> float:
        """Level of each one-sided test."""
        return (1 - self.confidence) / 2

    @model_validator(mode="before")
    @classmethod
    def _drop_resamples(cls, data: Any) -> Any:
        # The gate of 0.1 was a bootstrap; its configurations are still read.
        return {key: value for key, value in data.items() if key != "resamples"} if isinstance(data, dict) else data

    @model_validator(mode="after")
    def _one_primary(self) -> "GateConfig":
        if self.primary is not None and self.metric is not None:
            raise ValueError(
                "give `primary` or `metric`, not both: `metric` is short for a primary on the suite 'grid'"
            )
        return self
