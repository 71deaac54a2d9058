"""Card and statistics: what is said of the rows is true, and the folder loads as a data set."""

import json

import yaml
from support.rows import make_character, make_grid, read_mixture

from opencharacter.mixing.statistics import token_figures


def test_the_folder_loads_as_a_data_set(run_mix, tmp_path):
    from datasets import load_dataset

    characters = [make_character(number) for number in range(6)]
    mixture = run_mix(make_grid(characters, range(6)), characters, held_out={"characters": 0.3, "sessions": 0})

    loaded = load_dataset(str(mixture.path), cache_dir=str(tmp_path / "cache"))

    cells = {cell: rows for cell, rows in read_mixture(mixture).items() if rows}
    assert set(loaded) == set(cells) == {"train", "held_out_character_seen_session"}
    for cell, rows in cells.items():
        assert loaded[cell].to_list() == [row.model_dump(mode="json") for row in rows]


def test_card_and_statistics_agree_with_the_rows(run_mix):
    characters = [make_character(number) for number in range(6)]
    mixture = run_mix(
        make_grid(characters, range(8)), characters, weights={"R": 2}, held_out={"characters": 0.3, "sessions": 0.3}
    )

    statistics = json.loads((mixture.path / "statistics.json").read_text())
    header, text = (mixture.path / "README.md").read_text().removeprefix("---\n").split("\n---\n", 1)
    for cell, rows in read_mixture(mixture).items():
        figures = statistics["cells"][cell]
        assert figures["rows"] == mixture.counts[cell] == len(rows)
        assert figures["characters"] == len({row.character_id for row in rows})
        assert sum(figures["strategies"].values()) == len(rows)
        assert sum(bin["rows"] for bin in figures["tokens"]["histogram"]) == len(rows)
        assert f"| `{cell}` | {len(rows)} | {figures['characters']} |" in text
    card = yaml.safe_load(header)
    assert card["license"] == "cc0-1.0"
    assert card["task_categories"] == ["text-generation"]
    assert "| sessions | sessions | CC0-1.0 |" in text
    assert "| characters | personas | CC0-1.0 |" in text


def test_several_licences_are_other_to_the_hub(run_mix):
    characters = [make_character(1)]
    rows = make_grid(characters, range(4), "G")
    rows[0] = rows[0].model_copy(update={"licence": "house rules"})

    mixture = run_mix(rows, characters, held_out={"characters": 0, "sessions": 0})

    card = yaml.safe_load((mixture.path / "README.md").read_text().split("---")[1])
    assert (card["license"], card["license_name"]) == ("other", "CC0-1.0; house rules")


def test_token_figures():
    assert token_figures([]) == {"total": 0}
    figures = token_figures([*range(1, 100), 1000])
    assert figures["total"] == 5950
    assert figures["percentiles"] == {"p5": 5, "p25": 25, "p50": 50, "p75": 75, "p95": 95, "p99": 99, "p100": 1000}
    assert figures["histogram"] == [
        {"up_to": 32, "rows": 32},
        {"up_to": 64, "rows": 32},
        {"up_to": 128, "rows": 35},
        {"up_to": 1024, "rows": 1},
    ]
