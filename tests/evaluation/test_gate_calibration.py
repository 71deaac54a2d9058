"""The gate's errors in seeded simulations of equal models, and of models that differ by its smallest effect."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from opencharacter.evaluation.ledger import share_of_alpha

_PATH = Path(__file__).parents[2] / "benchmarks" / "gate_errors.py"


def load_benchmark() -> ModuleType:
    specification = importlib.util.spec_from_file_location("gate_errors", _PATH)
    assert specification is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules["gate_errors"] = module  # dataclasses look their module up
    specification.loader.exec_module(module)
    return module


errors = load_benchmark()
DESIGNS = {design.name: design for design in errors.designs()}
FEW = {
    "10 characters x 1",
    "10 characters x 30, ICC 0.20",
    "5 characters x 60, ICC 0.20",
    "grid of 12 x 30, ICC 0.10, 10% held out",
    "grid of 100 x 300, ICC 0.10, 10% held out",  # ten new characters
}


@pytest.mark.parametrize("name", sorted(DESIGNS.keys() - FEW))
def test_false_promotion_and_power_are_as_promised(name: str) -> None:
    design = DESIGNS[name]
    found = errors.rates(design, draws=1200 if len(design.character) < 2000 else 500, seed=1)
    assert 0.01 <= found.false <= 0.04
    assert found.power >= 0.75


@pytest.mark.parametrize("name", sorted(FEW))
def test_few_clusters_are_undecidable(name: str) -> None:
    found = errors.rates(DESIGNS[name], draws=1)
    assert found.clusters < 20
    assert found.false is None


def test_ten_tries_on_the_same_questions_have_one_level_together() -> None:
    assert errors.repeated_tries(10, 250, lambda _: errors.ALPHA, seed=2) > 0.08
    assert errors.repeated_tries(10, 500, lambda k: share_of_alpha(errors.ALPHA, k), seed=2) <= 0.04
