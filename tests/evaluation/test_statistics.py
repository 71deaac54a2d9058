import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opencharacter.evaluation.summary import bootstrap


def test_interval_of_a_normal_sample_agrees_with_theory() -> None:
    generator = random.Random(7)
    values = [generator.gauss(3.0, 2.0) for _ in range(400)]
    n, mean, low, high = bootstrap(values, resamples=4000)
    spread = math.sqrt(sum((value - mean) ** 2 for value in values) / (n - 1))
    half = 1.96 * spread / math.sqrt(n)
    assert low == pytest.approx(mean - half, abs=0.1 * half)
    assert high == pytest.approx(mean + half, abs=0.1 * half)


def test_a_wider_confidence_gives_a_wider_interval() -> None:
    values = [math.sin(i) for i in range(60)]
    narrow, wide = bootstrap(values, confidence=0.8), bootstrap(values, confidence=0.99)
    assert wide.low < narrow.low < narrow.mean < narrow.high < wide.high


def test_no_interval_without_two_values() -> None:
    assert bootstrap([]) == (0, None, None, None)
    assert bootstrap([4.0]) == (1, 4.0, None, None)


@settings(max_examples=40)
@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=40))
def test_interval_lies_within_the_values_and_is_repeatable(values: list[float]) -> None:
    estimate = bootstrap(values, resamples=200)
    slack = 1e-9 * max(map(abs, values))
    assert min(values) - slack <= estimate.low <= estimate.high <= max(values) + slack
    assert bootstrap(values, resamples=200) == estimate


def test_large_samples_are_drawn_in_blocks(monkeypatch) -> None:
    values = [math.cos(i) for i in range(50)]
    monkeypatch.setattr("opencharacter.evaluation.summary._BLOCK", 120)
    in_blocks = bootstrap(values, resamples=501)
    assert in_blocks.low < in_blocks.mean < in_blocks.high
