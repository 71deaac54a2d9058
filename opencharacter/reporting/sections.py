"""Sections of the report: the stages, the training, the data and where they come from, the registered version."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from opencharacter.evaluation.subjects import short_identity
from opencharacter.records.mixture import CellStatistics, MixtureStatistics
from opencharacter.records.models import Cell, Usage
from opencharacter.reporting import charts
from opencharacter.reporting.formats import duration, number
from opencharacter.reporting.inputs import ReportInputs
from opencharacter.storage.kinds import LINEAGE, LOSS, STATISTICS, SUMMARY
from opencharacter.storage.workspace import Artifact

# Which shards did the work of a gathering stage.
_SHARD_KIND = {"characters": "profiles_rows", "dialogues": "responses_rows"}
_TURNED_AWAY = ("rejected", "bad", "duplicates", "dropped_", "skipped")
_PURPOSE = {
    "personas": "one-line personas read",
    "sessions": "instruction sessions read",
    "characters": "profiles imagined from personas",
    "dialogues": "sessions played by characters (R, G)",
    "mixture": "training set and held-out grid",
    "model": "supervised fine-tuning",
    "evaluation": "questions scored",
    "deployment": "InferenceService",
}


@dataclass(frozen=True)
class Stage:
    """One row of the table."""

    name: str
    purpose: str
    shards: int
    made: Mapping[str, int]
    turned_away: Mapping[str, int]
    wall_s: float | None
    share: float
    usage: Usage | None
    tokens_per_s: float | None
    digest: str


def stage_table(stages: Mapping[str, Artifact], shards: Sequence[Artifact]) -> list[Stage]:
    """The stages that exist. The times of a stage's shards are added up; its calls are those that its rows needed.

    `share` is a stage's part of the longest one's time, for its bar.
    """
    lines = [_stage(name, ref, [s for s in shards if s.kind == _SHARD_KIND.get(name)]) for name, ref in stages.items()]
    longest = max((line.wall_s or 0.0 for line in lines), default=0.0) or 1.0
    return [replace(line, share=(line.wall_s or 0.0) / longest) for line in lines]


def _stage(name: str, ref: Artifact, shards: Sequence[Artifact]) -> Stage:
    walls = [float(part.stats["wall_s"]) for part in (ref, *shards) if part.stats.get("wall_s") is not None]
    usage = ref.stats.get("usage")
    return Stage(
        name=name,
        purpose=_PURPOSE[ref.kind],
        shards=len(shards),
        made={key: count for key, count in ref.counts.items() if count and not key.startswith(_TURNED_AWAY)},
        turned_away=_turned_away(ref),
        wall_s=sum(walls) if walls else None,
        share=0.0,
        usage=Usage.model_validate(usage) if usage else None,
        tokens_per_s=_speed(ref, shards),
        digest=ref.digest[:12],
    )


def total_usage(table: list[Stage]) -> Usage:
    """Calls and tokens of all stages."""
    return sum((stage.usage for stage in table if stage.usage), Usage())


def _turned_away(ref: Artifact) -> dict[str, int]:
    """Rows that are not in the output, by what happened to them and why."""
    found: dict[str, int] = {}
    for key, count in ref.counts.items():
        if not count or not key.startswith(_TURNED_AWAY):
            continue
        reasons = ref.stats.get(f"{key}_by_reason") or {}
        found |= {f"{key}: {reason}": times for reason, times in reasons.items()}
        if not reasons:
            found[key.replace("dropped_", "dropped: ")] = count
    return found


def _speed(ref: Artifact, shards: Sequence[Artifact]) -> float | None:
    """Tokens of a second, as the stage measured it; for shards, the average of one."""
    if ref.stats.get("tokens_per_s"):
        return float(ref.stats["tokens_per_s"])
    made = sum(shard.stats["usage"]["completion_tokens"] for shard in shards)
    seconds = sum(shard.stats["wall_s"] for shard in shards)
    return made / seconds if made and seconds else None


@dataclass(frozen=True)
class TrainingView:
    """The loss curve and the facts beside it, as label and value."""

    chart: str | None
    facts: list[tuple[str, str]]


def training_view(model: Artifact) -> TrainingView:
    """Read the loss curve of a trained model."""
    points = [(row["step"], row["loss"]) for row in LOSS.read_raw(model)]
    facts: list[tuple[str, str]] = []
    if points:
        facts = [("optimizer steps", number(points[-1][0])), ("first loss", number(points[0][1], 3))]
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


_GRID: tuple[tuple[str, Cell, Cell], ...] = (
    ("characters seen", "train", "seen_character_held_out_session"),
    ("characters held out", "held_out_character_seen_session", "held_out_both"),
)
_TAGS = (
    "base_model",
    "mixture_digest",
    "system_prompt",
    "prompt_hash",
    "licences",
    "previous_champion",
    "promotion_reason",
)


@dataclass(frozen=True)
class DataView:
    """A mixture's statistics; `grid` holds a label and the figures of two cells."""

    grid: list[tuple[str, CellStatistics, CellStatistics]]
    statistics: MixtureStatistics


def data_view(mixture: Artifact) -> DataView:
    """Read a mixture's statistics."""
    statistics = STATISTICS.read(mixture)
    cells = statistics.cells
    return DataView(
        grid=[(label, cells[seen], cells[held_out]) for label, seen, held_out in _GRID], statistics=statistics
    )


def models_used(run: ReportInputs, teachers: set[str]) -> list[tuple[str, str]]:
    """Who did what in this run, as label and value."""
    judge = SUMMARY.read(run.evaluation).judge if run.evaluation else None
    has_lineage = run.model is not None and LINEAGE.exists(run.model)
    student = LINEAGE.read(run.model).base_model if run.model and has_lineage else None
    models = {"teacher": ", ".join(sorted(teachers)), "student": student, "judge": judge and short_identity(judge)}
    return [(label, model) for label, model in models.items() if model]


def registered_facts(registered: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What identifies a registered version, as label and value."""
    facts = [(key, registered.get(key)) for key in ("name", "version", "uri", "digest")]
    facts += [(key, registered.get("tags", {}).get(key)) for key in _TAGS]
    return [(key.replace("_", " "), str(value)) for key, value in facts if value]
