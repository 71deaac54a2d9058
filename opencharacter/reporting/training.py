"""What the report says about the training run."""

from dataclasses import dataclass
from typing import Any

from opencharacter.reporting import charts
from opencharacter.reporting.formats import duration, number
from opencharacter.storage.jsonl import read_jsonl
from opencharacter.storage.workspace import Artifact


@dataclass(frozen=True)
class TrainingView:
    """The loss curve and the facts beside it, as label and value."""

    chart: str | None
    facts: list[tuple[str, str]]


def training_view(model: Artifact) -> TrainingView:
    """Read the loss curve of a trained model."""
    points = [(row["step"], row["loss"]) for row in read_jsonl(model.file("loss.jsonl"))]
    facts: list[tuple[str, str]] = []
    if points:
        facts = [("optimiser steps", number(points[-1][0])), ("first loss", number(points[0][1], 3))]
        facts.append(("last loss", number(points[-1][1], 3)))
    facts += [(label, show(model.stats[key])) for key, label, show in _STATS if model.stats.get(key) is not None]
    return TrainingView(chart=charts.loss_curve(points) if points else None, facts=facts)


def _text(value: Any) -> str:
    return str(value)


_STATS = (
    ("wall_s", "time", duration),
    ("tokens_per_s", "tokens/s", lambda value: number(float(value), 0)),
    ("world_size", "processes", _text),
    ("mlflow_run_id", "MLflow run", _text),
)
