"""A plan, as `--json` prints it and as the table is drawn from."""

from pydantic import BaseModel, ConfigDict, Field

from opencharacter.cluster.checks import Lack
from opencharacter.cluster.spec import StepName
from opencharacter.planning.inputs import InputCount


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Where(_Strict):
    """What a stage runs on."""

    image: str
    pods: int = Field(description="pods at the same time")
    gpus: int = Field(description="of one pod")
    gpu: str | None = Field(default=None, description="a key of the figures' `gpus`; none: no GPU")
    cores: float = Field(description="of one pod")
    queue: str | None = None
    spot: bool = False


class Stage(_Strict):
    """One step of the pipeline. A cost of none means that a price is missing, see the plan's `unpriced`."""

    step: StepName
    rows: int | None = Field(description="rows that the step makes or looks at; none: it handles references only")
    what: str = Field(description="what the rows are")
    calls: int = Field(description="chat calls, if every first answer is usable")
    calls_at_most: int = Field(description="chat calls that the configured attempts allow")
    tokens_in: int
    tokens_out: int
    trained_tokens: int = 0
    optimiser_steps: int = 0
    models: list[str] = Field(default=[], description="chat models that the step calls, or the model that it trains")
    where: Where
    hours: float = Field(
        description="wall-clock time; 0 where it is not estimated: steps that neither hold nor ask a model"
    )
    gpu_hours: float
    cost: float | None


class Storage(_Strict):
    """Bytes in one place."""

    what: str
    place: str = Field(description="`workspace`, or `scratch of STEP`, for one pod")
    bytes: int


class Assumption(_Strict):
    """A number that was not counted, and where it comes from."""

    name: str
    value: str
    source: str


class Totals(_Strict):
    """Sums over the stages. Costs are those that have a price."""

    calls: int
    calls_at_most: int
    tokens_in: int
    tokens_out: int
    hours: float = Field(description="the stages follow each other")
    gpu_hours: float
    cost: float = Field(description="of the stages that are priced")


class Plan(_Strict):
    """What a run will do, before anything runs."""

    name: str
    cluster: str | None = Field(description="the cluster's name; none: no cluster")
    currency: str
    as_of: str = Field(description="date of the prices and figures")
    inputs: list[InputCount]
    stages: list[Stage]
    totals: Totals
    unpriced: list[str] = Field(description="keys of the prices file that have no price, though the run needs them")
    storage: list[Storage]
    assumptions: list[Assumption]
    lacks: list[Lack]
