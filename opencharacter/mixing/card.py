"""The mixture's data set card, in the hub's format: `datasets.load_dataset(folder)` reads the splits that it names."""

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from opencharacter.mixing.licences import hub_id
from opencharacter.mixing.mix_config import MixConfig
from opencharacter.storage.kinds import CELLS

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def write_card(path: Path, statistics: Mapping[str, Any], config: MixConfig, *, base_model: str) -> None:
    """Write `README.md` from the content of `statistics.json`."""
    from huggingface_hub import DatasetCard, DatasetCardData

    rows = {cell: figures["rows"] for cell, figures in statistics["cells"].items()}
    licences = list(statistics["licences"])
    known = hub_id(licences[0]) if len(licences) == 1 else None
    data = DatasetCardData(
        # The hub takes one of its own identifiers, or `other` with a name.
        license=known or "other",
        license_name=None if known else "; ".join(licences),
        task_categories=["text-generation"],
        size_categories=[next((name for limit, name in _SIZES if sum(rows.values()) < limit), "1M<n<10M")],
        pretty_name="OpenCharacter mixture",
        tags=["role-play", "synthetic", "opencharacter"],
        configs=[
            {
                "config_name": "default",
                "default": True,
                # Readers infer a split's columns from its rows, so an empty file can't be one.
                "data_files": [{"split": cell, "path": CELLS[cell].name} for cell, count in rows.items() if count],
            }
        ],
    )
    template = resources.files(__package__) / "card.md"
    card = DatasetCard.from_template(
        data,
        template_str=template.read_text(encoding="utf-8"),
        statistics=statistics,
        settings=config,
        base_model=base_model,
    )
    path.write_text(str(card), encoding="utf-8", newline="\n")
