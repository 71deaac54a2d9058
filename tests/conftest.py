"""Fixtures of the whole session: the fake model, the small real model and one real vLLM server."""

from collections.abc import Iterator

import pytest
from support.fake_llm import FakeLLM


@pytest.fixture
def fake_llm() -> Iterator[FakeLLM]:
    """A deterministic OpenAI-compatible server in a thread, without faults; set `faults` on it as needed."""
    with FakeLLM() as server:
        yield server
