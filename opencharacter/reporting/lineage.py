"""Where the training data come from, and what the registry knows of the model."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from opencharacter.reporting.inputs import ReportInputs
from opencharacter.storage.workspace import Artifact

_GRID = (
    ("characters seen", "train", "seen_character_held_out_session"),
    ("characters held out", "held_out_character_seen_session", "held_out_both"),
)
_TAGS = ("base_model", "mixture_digest", "prompt_hash", "licences", "previous_champion", "promotion_reason")


@dataclass(frozen=True)
class DataView:
    """The mixture as its statistics describe it; `grid` holds a label and the figures of two cells."""

    grid: list[tuple[str, Mapping[str, Any], Mapping[str, Any]]]
    sources: list[Mapping[str, Any]]
    licences: Mapping[str, int]
    dropped: Mapping[str, int]
    warnings: list[str]


def data_view(mixture: Artifact) -> DataView:
    """Read a mixture's statistics."""
    statistics = json.loads(mixture.file("statistics.json").read_text(encoding="utf-8"))
    cells = statistics["cells"]
    return DataView(
        grid=[(label, cells[seen], cells[held_out]) for label, seen, held_out in _GRID],
        sources=statistics["sources"],
        licences=statistics["licences"],
        dropped=statistics["dropped"],
        warnings=statistics["warnings"],
    )


def models_used(run: ReportInputs, teachers: set[str]) -> list[tuple[str, str]]:
    """Who did what in this run, as label and value."""
    judge = None
    if run.evaluation:
        judge = json.loads(run.evaluation.file("summary.json").read_text(encoding="utf-8"))["judge"]
    base = _lineage(run.model).get("base_model") if run.model else None
    found = {"teacher": ", ".join(sorted(teachers)), "student": base, "judge": judge}
    return [(label, value) for label, value in found.items() if value]


def _lineage(model: Artifact) -> dict[str, Any]:
    path = model.file("model/opencharacter/model.json")
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def registered_facts(registered: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What identifies a registered version, as label and value."""
    facts = [(key, registered.get(key)) for key in ("name", "version", "uri", "digest")]
    facts += [(key, registered.get("tags", {}).get(key)) for key in _TAGS]
    return [(key.replace("_", " "), str(value)) for key, value in facts if value]
