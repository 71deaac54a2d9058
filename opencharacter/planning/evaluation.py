"""Estimates an evaluation before it starts: calls, tokens, cost, time, and the smallest effect that it can show.

The calls are counted by a rehearsal: the code of the run itself makes them, and a stand-in answers.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

from opencharacter.engines import EngineConfig
from opencharacter.engines.spending import Budget, Price
from opencharacter.errors import UserError
from opencharacter.evaluation.measures import make_measure
from opencharacter.evaluation.narrowing import unit_of
from opencharacter.evaluation.noise import score_components
from opencharacter.evaluation.references import Named
from opencharacter.evaluation.results import all_results
from opencharacter.evaluation.statistics import LEVELS, PAPER, Components, Design, planned_effect
from opencharacter.evaluation.suite import Suite
from opencharacter.planning.cost import CostEstimator, TimeEstimator, resources_here
from opencharacter.planning.figures import Assumptions, Figures
from opencharacter.planning.plan import Assumption
from opencharacter.planning.suite_workload import Asked, Role, rehearse_suites
from opencharacter.records.models import Usage
from opencharacter.reporting.verdicts import MIN_CLUSTERS
from opencharacter.storage.kinds import ANSWERS, SCORES, SUMMARY
from opencharacter.storage.workspace import Workspace

EXAMPLE_MODEL = Named("of 8B", "a-model-8b")
EXAMPLE_JUDGE = Named("judge", "judge", EngineConfig(model="judge", base_url="https://judge.invalid/v1"))
"""Stand for a model and a judge that are not named."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


@dataclass(frozen=True)
class Earlier:
    """What earlier results of a suite say about the next ones."""

    answer_tokens: float | None = None
    """Mean tokens of an answer."""
    noise: Components | None = None
    """Variance components of a score; none where too few characters were measured."""


class AskedModel(_Strict):
    """What one model or judge is asked in one suite."""

    suite: str
    role: Role
    name: str
    calls: int = Field(description="if each first reply is usable")
    tokens_in: int
    tokens_out: int
    hours: float = Field(description="of its calls alone")
    cost: float | None = Field(description="none: a price is missing")


class SuitePlan(_Strict):
    """What a suite asks, and what it can show."""

    suite: str
    digest: str
    items: int
    clusters: int = Field(description="characters, or what else `score.unit` names")
    scores: int = Field(description="scores of one model by one judge or program")
    smallest_effect: float | None = Field(
        description="smallest difference of two models that is shown with a chance of 80 % at one-sided 2.5 %; none: it"
        " is not estimated for this measure, or there are too few clusters"
    )
    notes: list[str] = []


class EvaluationPlan(_Strict):
    """The estimate of an evaluation."""

    currency: str
    as_of: str = Field(description="date of the prices and figures")
    suites: list[SuitePlan]
    asked: list[AskedModel]
    calls: int
    tokens_in: int
    tokens_out: int
    hours: float = Field(description="models and judges are asked one after the other")
    cost: float = Field(description="of those with a price")
    unpriced: list[str] = Field(description="keys of the prices file that have no price")
    assumptions: list[Assumption]


def plan_evaluation(
    suites: Sequence[Suite],
    models: Sequence[Named],
    judges: Sequence[Named],
    figures: Figures,
    *,
    seed: int = 0,
    earlier: Mapping[str, Earlier] | None = None,
) -> EvaluationPlan:
    """Estimate an evaluation. Nothing is called, downloaded or started.

    Args:
        suites: As `run` gets them.
        models: The models; one that is not given by an engine counts as served on this machine.
        judges: The judges.
        figures: Prices and throughput, from `load_figures`.
        seed: The seed of the run.
        earlier: What earlier results say, by suite, from `earlier_results`.

    Returns:
        Calls and tokens exactly as `run` makes them where each first reply is usable, but with answers of an assumed
        length; what they cost and take; and what the suites can show.

    Raises:
        UserError: A suite needs what was not given, or the size of a model is not known.
    """
    assumptions, earlier = Assumptions(figures), earlier or {}
    lengths = {name: found.answer_tokens for name, found in earlier.items()}
    asked = rehearse_suites(suites, models, judges, assumptions, seed=seed, answer_tokens=lengths)
    time, costs = TimeEstimator(assumptions), CostEstimator(figures)
    rows = [_asked(each, figures, time, costs) for each in asked]
    return EvaluationPlan(
        currency=figures.currency,
        as_of=figures.as_of.isoformat(),
        suites=[plan_suite(suite, judges=len(judges), earlier=earlier.get(suite.name)) for suite in suites],
        asked=rows,
        calls=sum(row.calls for row in rows),
        tokens_in=sum(row.tokens_in for row in rows),
        tokens_out=sum(row.tokens_out for row in rows),
        hours=sum(row.hours for row in rows),
        cost=sum(row.cost or 0 for row in rows),
        unpriced=costs.unpriced,
        assumptions=[
            Assumption(name=name, value=f"{amount.value:g}", source=amount.source)
            for name, amount in assumptions.used.items()
        ]
        + [_spread(suite.name, earlier.get(suite.name)) for suite in suites],
    )


def _spread(suite: str, earlier: Earlier | None) -> Assumption:
    """The standard deviations behind a suite's smallest effect."""
    noise = earlier.noise if earlier and earlier.noise else None
    parts = [f"{level} {math.sqrt(part):.2f}" for level in LEVELS if (part := getattr(noise or PAPER, level))]
    source = "results of this workspace" if noise else "the paper's PersonaGym scores; none are measured here yet"
    return Assumption(name=f"{suite}, standard deviations", value=", ".join(parts), source=source)


def plan_suite(suite: Suite, *, judges: int = 1, earlier: Earlier | None = None) -> SuitePlan:
    """What a suite asks and can show. Raises `UserError` if its items come from a run."""
    items = suite.items()
    measures = suite.config.measures
    rubrics = [measure for measure in measures if measure.kind in ("rubric", "turns")]
    scores = sum(
        (1 if item.task in measure.tasks else len(measure.tasks)) for item in items for measure in rubrics
    ) or len(items)
    clusters = len({unit_of(item, suite) for item in items})
    notes = [suite.config.notice] if suite.config.notice else []
    if not judges and any(make_measure(measure).needs_judges for measure in measures):
        notes.append("no judge is given: only what needs none is measured")
    if any(measure.kind == "likelihood" for measure in measures):
        notes.append("losses take no calls, and their time is not estimated")
    if clusters < MIN_CLUSTERS:
        notes.append(f"{clusters} clusters: a comparison cannot decide on fewer than {MIN_CLUSTERS}")
    effect = None
    decided = suite.config.decides and any(measure.kind != "likelihood" for measure in measures)
    if decided and clusters >= MIN_CLUSTERS:
        repeats = suite.config.answer.repeats
        design = Design(clusters, scores / clusters, repeats, judges if rubrics and judges else 1)
        effect = planned_effect(design, earlier.noise if earlier and earlier.noise else PAPER)
    return SuitePlan(
        suite=suite.name,
        digest=suite.digest,
        items=len(items),
        clusters=clusters,
        scores=scores,
        smallest_effect=effect,
        notes=notes,
    )


def _asked(asked: Asked, figures: Figures, time: TimeEstimator, costs: CostEstimator) -> AskedModel:
    engine, volume = asked.named.asked, asked.volume
    served = engine.base_url is None
    resources = resources_here(engine, figures)
    hours = time.call_seconds(engine, volume, resources, served=served) / 3600
    gpu_hours = hours * resources.gpus
    return AskedModel(
        suite=asked.suite,
        role=asked.role,
        name=asked.named.name,
        calls=volume.calls,
        tokens_in=round(volume.tokens_in),
        tokens_out=round(volume.tokens_out),
        hours=hours,
        cost=costs.gpu_cost(resources, gpu_hours) if served else costs.api_cost(engine.model, volume),
    )


def earlier_results(suites: Sequence[Suite], workspace: Workspace) -> dict[str, Earlier]:
    """What the newest results of each suite say, of however few characters; suites without results are left out."""
    found: dict[str, Earlier] = {}
    names = {suite.name for suite in suites}
    for artifact in all_results(workspace):
        if (summary := SUMMARY.read(artifact)).suite in names:
            before = found.get(summary.suite, Earlier())
            used = sum((row.usage for row in ANSWERS.read(artifact)), Usage())
            tokens = used.completion_tokens / used.calls if used.calls else None
            noise = score_components(SCORES.read(artifact), summary.scoring, fewest=MIN_CLUSTERS)
            found[summary.suite] = Earlier(tokens or before.answer_tokens, noise or before.noise)
    return found


def budget_of(amount: float, asked: Sequence[Named], figures: Figures) -> Budget:
    """A budget for endpoints. Raises `UserError` if one of them has no price."""
    prices: dict[str, Price] = {}
    for engine in (named.engine for named in asked if named.engine is not None and named.engine.base_url is not None):
        known = figures.model(engine.model)
        if known.input_per_million is None or known.output_per_million is None:
            raise UserError(
                f"--budget: the price of '{engine.model}' is not known",
                hint=f"give it in a --prices file: models: {{{json.dumps(engine.model)}: {{input_per_million: 2.5, "
                "output_per_million: 10}}",
            )
        prices[engine.model] = Price(known.input_per_million, known.output_per_million)
    return Budget(amount, prices, currency=figures.currency)
