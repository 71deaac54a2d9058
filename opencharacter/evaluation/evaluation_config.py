"""Settings of the evaluation and of the promotion gate."""

from typing import Literal

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


class EvaluateConfig(BaseModel):
    """What is measured: suites, and who judges. All keys but `suites` and `judges` are those of the suite `grid`."""

    model_config = ConfigDict(extra="forbid")

    suites: list[str] = Field(
        default=[GRID],
        min_length=1,
        description="what to measure with: names of packaged suites, folders, s3:// prefixes or hf:// ids; `grid` is"
        " the run's own split grid",
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
    def _suites_differ(self) -> "EvaluateConfig":
        if len(set(self.suites)) < len(self.suites):
            raise ValueError(f"suites: each one once, got {self.suites}")
        return self


class GateConfig(BaseModel):
    """When a challenger may become champion (docs/design.md, decision 12)."""

    model_config = ConfigDict(extra="forbid")

    metric: Literal["loss", "profile_swap_gap", "judge"] = "loss"
    confidence: float = Field(default=0.95, gt=0.5, lt=1, description="of the two-sided interval that must exclude 0")
    min_questions: int = Field(default=10, ge=2, description="fewest held-out questions for a decision")
    resamples: int = Field(default=2000, ge=100)
