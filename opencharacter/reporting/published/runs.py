"""Publishes an evaluation: a run of the suite, and nested in it one for each model and judge."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opencharacter.records.evaluation import LOSS, SWAP_GAP, ScoreRow, Summary
from opencharacter.registry.client import mlflow_client
from opencharacter.reporting.published.names import (
    EVALUATION_TAG,
    GROUP,
    KIND_TAG,
    LOWER,
    NO_JUDGE,
    OVERALL,
    SCORES,
    metric_name,
)
from opencharacter.reporting.published.traces import log_traces
from opencharacter.storage.artifacts import Artifact
from opencharacter.storage.kinds import SCORES as SCORES_FILE
from opencharacter.storage.kinds import SUMMARY
from opencharacter.tracking import make_experiment

if TYPE_CHECKING:
    from mlflow import MlflowClient

TRACES = 20
"""Questions whose answers become traces, by default."""


@dataclass(frozen=True)
class _Measured:
    """One model's scores by one judge."""

    model: str
    identity: str
    judge: str
    rows: Sequence[ScoreRow]
    """Of all models, since a worst score may be another one's."""


def publish_evaluation(
    evaluation: Artifact, *, experiment: str, parent_run: str | None = None, traces: int = TRACES, seed: int = 0
) -> list[str]:
    """Publish the evaluation of a suite to the MLflow server that MLFLOW_TRACKING_URI names.

    A run for each model and judge holds the metrics `SUITE/TASK/mean`, `low`, `high` and `n`, and as parameters what
    must be equal for two runs to be compared. Where several judges scored, a further run holds their mean. What is
    published already stays as it is.

    Args:
        evaluation: An output of kind `evaluation`.
        experiment: The experiment of the runs; it is created if there is none.
        parent_run: Id of the run that they are nested in; default: a run of the suite's own.
        traces: Of how many questions the answers and judgements become traces, which MLflow's pages for generative
            models show. 0 for servers older than 3.0.
        seed: Decides which questions these are.

    Returns:
        The ids of the nested runs.

    Raises:
        UserError: MLFLOW_TRACKING_URI is not set, or the experiment is deleted.
        OpenCharacterError: The server can't be reached, refuses the account or fails.
    """
    summary = SUMMARY.read(evaluation)
    rows = list(SCORES_FILE.read(evaluation))
    with mlflow_client() as client:
        experiment_id = make_experiment(client, experiment)
        known = {_key(run.data.params): str(run.info.run_id) for run in _published(client, experiment_id, evaluation)}
        measured = list(_measured(summary, rows))
        missing = [each for each in measured if (each.model, each.judge) not in known]
        if missing:
            parent = parent_run or _parent(client, experiment_id, summary, evaluation)
            for each in missing:
                known[each.model, each.judge] = _log(client, experiment_id, parent, summary, each, evaluation)
            if traces:
                by_identity = {each.identity: known[each.model, each.judge] for each in reversed(measured)}
                log_traces(experiment_id, evaluation, by_identity, count=traces, seed=seed)
        return [known[each.model, each.judge] for each in measured]


def _published(client: "MlflowClient", experiment_id: str, evaluation: Artifact) -> list[Any]:
    where = f"tags.`{EVALUATION_TAG}` = '{evaluation.digest}' and tags.`{KIND_TAG}` = '{SCORES}'"
    return list(client.search_runs([experiment_id], where, max_results=1000))


def _key(params: Mapping[str, str]) -> tuple[str, str]:
    return params["model"], params["judge"]


def _measured(summary: Summary, rows: Sequence[ScoreRow]) -> Iterator[_Measured]:
    """The sets of rows that have a mean of their own: of each judge, of all judges, and what needs no judge."""
    judges = sorted({row.judge for row in rows if row.judge})
    sets: list[tuple[str, list[ScoreRow]]] = [(judge, [row for row in rows if row.judge == judge]) for judge in judges]
    if len(judges) > 1:
        sets.append((" + ".join(judges), [row for row in rows if row.judge]))
    sets.append((NO_JUDGE, [row for row in rows if not row.judge]))
    for judge, part in sets:
        for model, identity in summary.models.items():
            if any(row.model == identity for row in part):
                yield _Measured(model, identity, judge, part)


def _parent(client: "MlflowClient", experiment_id: str, summary: Summary, evaluation: Artifact) -> str:
    where = f"tags.`{EVALUATION_TAG}` = '{evaluation.digest}' and tags.`{KIND_TAG}` = '{GROUP}'"
    if found := client.search_runs([experiment_id], where, max_results=1):
        return str(found[0].info.run_id)
    tags = {KIND_TAG: GROUP, EVALUATION_TAG: evaluation.digest}
    run = client.create_run(experiment_id, run_name=f"evaluate {summary.suite}", tags=tags)
    client.set_terminated(run.info.run_id)
    return str(run.info.run_id)


def _log(
    client: "MlflowClient",
    experiment_id: str,
    parent: str,
    summary: Summary,
    measured: _Measured,
    evaluation: Artifact,
) -> str:
    from mlflow.entities import Metric, Param

    figures = _figures(summary, measured)
    params = {
        "suite": summary.suite,
        "suite_digest": summary.suite_digest or "",
        "items_digest": summary.items_digest or "",
        "judge": measured.judge,
        "model": measured.model,
        "model_identity": measured.identity,
        "system_prompt": summary.system_prompt,
        LOWER: str(all(summary.scoring.scale(task).lower_is_better for task in _overall(summary, measured))),
    }
    now = time.time_ns() // 1_000_000
    run = client.create_run(
        experiment_id,
        run_name=f"{measured.model} by {measured.judge}"[:200],
        # Without its scores a run is not on the leaderboard, and is made again.
        tags={"mlflow.parentRunId": parent},
    )
    run_id = str(run.info.run_id)
    client.log_batch(
        run_id,
        metrics=[Metric(name, value, now, 0) for name, value in figures.items()],
        params=[Param(name, value[:6000]) for name, value in params.items()],
    )
    client.set_terminated(run_id)
    client.set_tag(run_id, EVALUATION_TAG, evaluation.digest)
    client.set_tag(run_id, KIND_TAG, SCORES)
    return run_id


def _overall(summary: Summary, measured: _Measured) -> list[str]:
    """The tasks that the overall score averages: those of which more is better or, where there are none, less."""
    from opencharacter.evaluation.measures.turns import DRIFT

    tasks = sorted({row.metric for row in measured.rows} - {LOSS, SWAP_GAP, DRIFT})
    return [task for task in tasks if not summary.scoring.scale(task).lower_is_better] or tasks


def _figures(summary: Summary, measured: _Measured) -> dict[str, float]:
    """Mean, interval, questions and clusters of each task, and of all tasks that a judge or program scored."""
    from opencharacter.evaluation.comparison import sample_of

    sample = sample_of(measured.rows, measured.identity, summary.scoring)
    held_out = sample.where(cells=[cell for cell in sample.cells if cell != "train"])
    tasks = {task: held_out.where(tasks=[task]) for task in held_out.tasks}
    if scored := _overall(summary, measured):
        tasks[OVERALL] = held_out.where(tasks=scored)
    figures: dict[str, float] = {}
    for task, part in tasks.items():
        if (estimate := part.estimate()) is None:
            continue
        interval = estimate.interval(summary.confidence)
        values = {"mean": estimate.mean, "n": float(part.n), "clusters": float(estimate.clusters)}
        if interval is not None:
            values |= {"low": interval[0], "high": interval[1]}
        figures |= {metric_name(summary.suite, task, figure): value for figure, value in values.items()}
    return figures
