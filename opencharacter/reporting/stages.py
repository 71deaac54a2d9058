"""The table of stages: what each made, what it turned away and why, and what it cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from opencharacter.records.models import Usage
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
    """The stages that exist. The times of a stage's shards are added up; its calls are all that its rows rest on.

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
        purpose=_PURPOSE[name],
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
