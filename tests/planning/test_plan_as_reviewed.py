"""Plans of shipped recipes on shipped clusters, number by number.

After a change that is meant, run `pytest tests/planning/test_plan_as_reviewed.py --update-golden` and review the diff.
"""

import json
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest

from opencharacter.cluster.loading import load_cluster
from opencharacter.config.loading import load_run_config
from opencharacter.planning import Plan, load_figures, make_plan
from opencharacter.system.cache import CACHE_VARIABLE

GOLDEN = Path(__file__).parent / "golden"


def figures_of(plan: Plan) -> dict[str, Any]:
    dumped = plan.model_dump(mode="json")
    figures = {key: dumped[key] for key in ("inputs", "stages", "totals", "unpriced", "storage", "assumptions")}
    for count in figures["inputs"]:
        count["uri"] = count["uri"].rpartition("/")[2]
        del count["files"]  # tested in test_sources.py
    figures["issues"] = sorted(([issue.step, issue.subject, issue.fatal] for issue in plan.issues), key=str)
    return figures


def rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return [rounded(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize(("preset", "cluster"), [("final", "pool"), ("a1", "node8"), ("demo", "cpu")])
def test_the_figures_of_a_plan_are_as_reviewed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, update_golden: bool, preset: str, cluster: str
) -> None:
    # No tokenizer may be found on this machine: texts are then counted by their characters.
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    figures = rounded(figures_of(make_plan(load_run_config(preset=preset), load_cluster(cluster), load_figures())))
    path = GOLDEN / f"{preset}-{cluster}.json"
    if update_golden:
        path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    assert figures == json.loads(path.read_text(encoding="utf-8"))
