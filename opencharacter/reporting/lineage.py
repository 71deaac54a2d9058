"""Where the training data come from, and what the registry knows of the model."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from opencharacter.storage.workspace import Ref

_GRID = (
    ("characters seen", "train", "seen_character_held_out_session"),
    ("characters held out", "held_out_character_seen_session", "held_out_both"),
)
_TAGS = ("base_model", "mixture_digest", "prompt_hash", "weights_digest", "weights_uri", "licences")


@dataclass(frozen=True)
class DataView:
    """Rows of each cell of the split grid, and rows by licence."""

    grid: list[tuple[str, int, int]]
    licences: list[tuple[str, int]]


def data_view(mixture: Ref) -> DataView:
    """Read a mixture's statistics."""
    statistics = json.loads((mixture.path / "statistics.json").read_text(encoding="utf-8"))
    rows = {**mixture.counts}
    grid = [(label, rows.get(seen, 0), rows.get(held_out, 0)) for label, seen, held_out in _GRID]
    return DataView(grid=grid, licences=sorted(statistics["licences"].items()))


def registered_facts(registered: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What identifies a registered version, as label and value."""
    facts = [(key, registered.get(key)) for key in ("name", "version", "uri", "digest")]
    facts += [(key, registered.get("tags", {}).get(key)) for key in _TAGS]
    return [(key.replace("_", " "), str(value)) for key, value in facts if value]
