"""The file `suite.yaml`: how a suite's items are asked and measured."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from opencharacter.characters.prompt import PromptView
from opencharacter.engines.engine_config import Sampling
from opencharacter.records.evaluation import Status


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TakeConfig(_Settings):
    """Which of the items are asked: the first ones of each group, in the order of the file."""

    first: int = Field(ge=1)
    per: tuple[Literal["character_id", "session_id", "task", "cell"], ...] = ()


class ItemsConfig(_Settings):
    """Where the items come from: a file of the suite, or a generator."""

    path: str | None = Field(default=None, description="JSONL file in the suite's folder")
    generator: Literal["grid", "arithmetic"] | None = Field(
        default=None,
        description="grid: the held-out rows of a run's mixture; arithmetic: made by seed, after the items of `path`",
    )
    suite: str | None = Field(
        default=None, description="another suite, whose items, characters and way of asking are taken"
    )
    count: int = Field(default=40, ge=1, description="questions that the generator `arithmetic` makes")
    draw: int = Field(
        default=0, ge=0, description="another number makes other questions, and takes the next items with `take`"
    )
    take: TakeConfig | None = None

    @model_validator(mode="after")
    def _one_source(self) -> "ItemsConfig":
        if self.path is None and self.generator is None and self.suite is None:
            raise ValueError("give `path`, a JSONL file of the suite, `generator`, or `suite`")
        return self


class AnswerConfig(_Settings):
    """How a model is asked for its answers."""

    temperature: float = Field(default=0.9, ge=0, le=2)
    top_p: float = Field(default=1.0, gt=0, le=1)
    max_tokens: int = Field(default=1024, ge=1)
    repeats: int = Field(default=1, ge=1, description="answers to each item; they are averaged first")

    @property
    def sampling(self) -> Sampling:
        """The same for a chat engine."""
        return Sampling(temperature=self.temperature, top_p=self.top_p, max_tokens=self.max_tokens)


class _MeasureSettings(_Settings):
    only: tuple[str, ...] = Field(default=(), description="only items with one of these tags; none: all items")


class RubricMeasure(_MeasureSettings):
    """A judge scores each answer by a rubric of the item's task."""

    kind: Literal["rubric"]
    scale: tuple[int, int] = (1, 5)
    tasks: dict[str, str] = Field(
        min_length=1, description="rubric file of each task; an item without a task is scored by each of them"
    )
    examples: str | None = Field(default=None, description="file with the prompt that makes an example for each score")
    examples_by: str | None = Field(default=None, description="the judge that writes them; none: the first one")
    prompt: str | None = Field(default=None, description="file with the judge's prompt; none: the packaged one")
    temperature: float = Field(default=0.0, ge=0, le=2)
    top_p: float = Field(default=1.0, gt=0, le=1)
    max_tokens: int = Field(default=512, ge=1, description="of the judge's reply")

    @property
    def sampling(self) -> Sampling:
        """The same for a chat engine."""
        return Sampling(temperature=self.temperature, top_p=self.top_p, max_tokens=self.max_tokens)


class TurnsMeasure(RubricMeasure):
    """A judge scores every answer of a conversation whose history is the model's own.

    A task's score is the mean over the turns; `drift` is the slope over them, points of the scale a turn.
    """

    kind: Literal["turns"]  # type: ignore[assignment]


class LikelihoodMeasure(_MeasureSettings):
    """The loss of the item's reference answer, by a forward pass of the model itself."""

    kind: Literal["likelihood"]
    swap_gap: bool = Field(default=True, description="also measure the loss under a wrong character's profile")


class ChecksMeasure(_MeasureSettings):
    """A program checks the answer; the score is the share of the item's checks that pass."""

    kind: Literal["checks"]


class RefusalMeasure(_MeasureSettings):
    """Whether the answer refuses, by a guard model and a pattern; the item's tags say whether it should."""

    kind: Literal["refusal"]
    classifier: str | None = Field(default=None, description="key of `judges` of a guard model; none: the pattern only")


class PairwiseMeasure(_MeasureSettings):
    """A judge compares the answers of two models, in both orders; a flip is a tie."""

    kind: Literal["pairwise"]
    prompt: str | None = Field(default=None, description="file with the judge's prompt; none: the packaged one")
    max_tokens: int = Field(default=512, ge=1, description="of the judge's reply")


class PersonagymMeasure(_MeasureSettings):
    """PersonaGym's own scoring, byte for byte and with its faults, from the texts of a user's copy (`faithful`).

    A judge scores up to five answers of one character and task in one call; a reply without a score counts as 0.
    """

    kind: Literal["personagym"]
    rubrics: dict[str, str] = Field(min_length=1, description="rubric file of each task")
    judge_system: str = Field(description="file with the judge's system message")
    judge_prompt: str = Field(description="file with the prompt that holds the filled rubrics")
    example: str = Field(description="file with the request for the example answers of one rubric")
    examples: str = Field(description="file with the prompt that holds that request")
    examples_by: str | None = Field(default=None, description="the judge that writes them; none: the first one")
    batch: int = Field(default=5, ge=1, description="answers in one call")
    max_tokens: int = Field(default=3000, ge=1, description="of a reply")


Measure = Annotated[
    RubricMeasure
    | TurnsMeasure
    | LikelihoodMeasure
    | ChecksMeasure
    | RefusalMeasure
    | PairwiseMeasure
    | PersonagymMeasure,
    Field(discriminator="kind"),
]


class ScoreConfig(_Settings):
    """What is averaged, and what may not be taken for independent."""

    unit: Literal["character_id", "session_id", "question_id"] = "character_id"
    within: tuple[Literal["task", "cell"], ...] = ()
    clusters: tuple[Literal["character_id", "session_id"], ...] = ("character_id",)


class SuiteConfig(_Settings):
    """The file `suite.yaml`."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,60}$")
    description: str = ""
    license: str = ""
    source: str = Field(default="", description="where the items come from")
    items: ItemsConfig
    character: PromptView | Literal["none"] = Field(
        default="persona_and_profile", description="what of the character the system prompt holds"
    )
    system_prompt: str = Field(
        default="own",
        description="own: each model's own template; immersive or paper: this one for all; else a file of the suite",
    )
    answer: AnswerConfig = AnswerConfig()
    history: Literal["own", "given"] = Field(
        default="given", description="own: an item's earlier answers are the model's own"
    )
    measures: tuple[Measure, ...] = Field(min_length=1)
    failures: dict[Status, float | Literal["judge"]] = Field(
        default={}, description="the score of a failure; default: the worst of the scale, and truncated is judged"
    )
    score: ScoreConfig = ScoreConfig()
    decides: bool = Field(
        default=True,
        description="false: the scores are for comparison with published tables only, which every page says, and the"
        " gate refuses the suite",
    )

    @property
    def notice(self) -> str:
        """What has to be said beside every score of the suite; mostly nothing."""
        return "" if self.decides else "for comparison with published tables only; it decides nothing"
