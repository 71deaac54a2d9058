"""Estimates a run before it starts. A plan is what `--json` prints and the table shows."""

from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict, Field

from opencharacter.cluster.checks import Issue, check_compatibility, fatal_first
from opencharacter.cluster.spec import Cluster, StepName
from opencharacter.cluster.steps import Step, Steps, resolve_steps
from opencharacter.config.run import RunConfig
from opencharacter.planning.capacity import Storage, check_capacity, storage
from opencharacter.planning.cost import CostEstimator, StepResources, TimeEstimator, named_gpu, step_resources
from opencharacter.planning.deciding import require_deciding
from opencharacter.planning.figures import Assumptions, Figures
from opencharacter.planning.inputs import InputCount, count_inputs
from opencharacter.planning.models import require_whole_models
from opencharacter.planning.tokens import text_lengths
from opencharacter.planning.workload import MODELS_MEASURED, StageWorkload, stage_workloads


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


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
    optimizer_steps: int = 0
    models: list[str] = Field(default=[], description="chat models that the step calls, or the model that it trains")
    where: StepResources
    hours: float = Field(
        description="wall-clock time; 0 where it is not estimated: steps that neither hold nor call a model"
    )
    gpu_hours: float
    cost: float | None


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
    """The estimate of a run."""

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
    issues: list[Issue]


def make_plan(config: RunConfig, cluster: Cluster | None, figures: Figures) -> Plan:
    """Estimate a run. Local inputs are read; nothing is called, downloaded or started.

    Args:
        config: The run.
        cluster: Where it would run. Without one: on this machine, or on as many GPUs as the configuration asks for.
        figures: Prices, throughput and sizes, from `load_figures`.

    Returns:
        Rows, calls, tokens, hours, cost and storage of each step, and what is missing.

    Raises:
        UserError: The run would refuse an input or a local model, or the size of an input or model is not known.
    """
    require_whole_models(config)
    require_deciding(config)
    steps = resolve_steps(config, cluster)
    assumptions = Assumptions(figures)
    lengths = text_lengths(config.sft.base_model, assumptions)
    inputs = count_inputs(config, assumptions, lengths)
    workloads = stage_workloads(config, inputs, assumptions, lengths)
    time, costs = TimeEstimator(assumptions), CostEstimator(figures)
    stages = [_stage(step, workloads.get(name), time, costs, figures) for name, step in steps.items()]
    kept = storage(steps, workloads, assumptions)
    issues = list(_data_issues(workloads))
    if cluster:
        issues += check_compatibility(config, cluster, steps)
        issues += check_capacity(steps, {stage.step: stage.where for stage in stages}, kept, assumptions)
    return Plan(
        name=config.name,
        cluster=cluster.name if cluster else None,
        currency=figures.currency,
        as_of=figures.as_of.isoformat(),
        inputs=inputs,
        stages=stages,
        totals=Totals(
            calls=sum(stage.calls for stage in stages),
            calls_at_most=sum(stage.calls_at_most for stage in stages),
            tokens_in=sum(stage.tokens_in for stage in stages),
            tokens_out=sum(stage.tokens_out for stage in stages),
            hours=sum(stage.hours for stage in stages),
            gpu_hours=sum(stage.gpu_hours for stage in stages),
            cost=sum(stage.cost or 0 for stage in stages),
        ),
        unpriced=costs.unpriced,
        storage=kept,
        assumptions=_assumptions(steps, assumptions, stages),
        issues=fatal_first(issues),
    )


def _stage(
    step: Step, workload: StageWorkload | None, time: TimeEstimator, costs: CostEstimator, figures: Figures
) -> Stage:
    resources = step_resources(step, figures)
    workload = workload or StageWorkload(step.name, 0, "")
    hours = time.hours(workload, step, resources)
    gpu_hours = hours * resources.gpus * resources.pods
    total = workload.total
    called = [step.engines[name].model for name in workload.calls_by_engine]
    return Stage(
        step=step.name,
        rows=workload.rows if workload.what else None,
        what=workload.what,
        calls=total.calls,
        calls_at_most=total.calls_at_most,
        tokens_in=round(total.tokens_in),
        tokens_out=round(total.tokens_out),
        trained_tokens=round(workload.trained_tokens),
        optimizer_steps=workload.optimizer_steps,
        models=[step.training.base_model] if step.training else called,
        where=resources,
        hours=hours,
        gpu_hours=gpu_hours,
        cost=costs.cost(workload, step, resources, gpu_hours),
    )


def _data_issues(workloads: dict[StepName, StageWorkload]) -> Iterator[Issue]:
    if not workloads["sft"].rows:
        message = "no row to train on; R makes rows of sessions with answers only"
        yield Issue(step="sft", subject="run: inputs", state="fatal", message=message)


def _assumptions(steps: Steps, assumptions: Assumptions, stages: list[Stage]) -> list[Assumption]:
    default = assumptions.figures.default_gpu
    listed = [
        Assumption(name=name, value=f"{figure.value:g}", source=figure.source)
        for name, figure in assumptions.used.items()
    ]
    source = "base and challenger; a champion in the registry makes one more"
    listed.append(Assumption(name="models measured", value=str(MODELS_MEASURED), source=source))
    on_gpus = [stage for stage in stages if stage.where.gpu]
    if not all(step.on_cluster for step in steps.values()):
        source = "without a cluster: GPUs as the run configuration asks for, models below 1B on this machine"
        listed.append(Assumption(name="where", value="as configured", source=source))
    unnamed = [stage.step for stage in on_gpus if not named_gpu(steps[stage.step].placement, assumptions.figures)]
    if unnamed:
        source = f"nothing names the GPU of {', '.join(unnamed)}; a node selector of the cluster file could"
        listed.append(Assumption(name="default_gpu", value=default, source=source))
    if most := max((stage.where.gpus * stage.where.pods for stage in on_gpus), default=0):
        source = "where fewer are free, pods wait: the GPU-hours stay, the time grows"
        listed.append(Assumption(name="GPUs at once", value=str(most), source=source))
    return listed
