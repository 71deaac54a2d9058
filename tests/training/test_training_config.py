"""Settings that contradict each other are refused before anything runs."""

import pytest
from pydantic import ValidationError

from opencharacter.training import SftConfig


def test_accumulation_makes_up_the_global_batch() -> None:
    config = SftConfig(base_model="m", global_batch_size=24, per_device_batch_size=3, processes=2)
    assert config.gradient_accumulation_steps == 4


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"global_batch_size": 10, "per_device_batch_size": 2, "processes": 2}, "global_batch_size 10"),
        ({"global_batch_size": 1, "processes": 2}, "global_batch_size 1"),
        ({"learning_rate": 1e-6, "min_learning_rate": 1e-6}, "min_learning_rate"),
        ({"leaning_rate": 1e-6}, "leaning_rate"),
    ],
)
def test_contradictions_are_named(fields: dict[str, object], named: str) -> None:
    with pytest.raises(ValidationError, match=named):
        SftConfig.model_validate({"base_model": "m", **fields})
