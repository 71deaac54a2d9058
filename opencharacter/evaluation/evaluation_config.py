"""Settings of the evaluation and of the promotion gate."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from opencharacter.engines.engine_config import Sampling

Dimension = Literal[
    "expected_action", "toxicity_control", "linguistic_habits", "persona_consistency", "action_justification"
]


class JudgeConfig(BaseModel):
    """How sample answers are judged: on the paper's five dimensions, 1 to 5."""

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
    answer_sampling: Sampling = Sampling(temperature=0.0, top_p=1.0, max_tokens=256)
    judge_sampling: Sampling = Sampling(temperature=0.0, top_p=1.0, max_tokens=256)


class EvaluateConfig(BaseModel):
    """What is measured on every cell of the split grid."""

    model_config = ConfigDict(extra="forbid")

    rows_per_cell: int | None = Field(default=None, ge=1, description="seeded sample of each cell; none: all rows")
    train_rows: int = Field(default=64, ge=1, description="rows of the train cell that are scored (memorisation check)")
    max_length: int = Field(default=4096, ge=32, description="tokens")
    batch_size: int = Field(default=1, ge=1)
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    judge: JudgeConfig | None = Field(default=None, description="none: no judging")


class GateConfig(BaseModel):
    """When a challenger may become champion (docs/design.md, decision 12)."""

    model_config = ConfigDict(extra="forbid")

    metric: Literal["loss", "profile_swap_gap", "judge"] = "loss"
    confidence: float = Field(default=0.95, gt=0.5, lt=1, description="of the two-sided interval that must exclude 0")
    min_questions: int = Field(default=10, ge=2, description="fewest held-out questions for a decision")
    resamples: int = Field(default=2000, ge=100)
