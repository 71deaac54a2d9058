"""The model server behind the transformer, which fails as a message says."""

from collections.abc import Iterator

import pytest
from serving.endpoint.scripted_predictor import ScriptedPredictor


@pytest.fixture(scope="module")
def predictor() -> Iterator[ScriptedPredictor]:
    server = ScriptedPredictor()
    server.start()
    yield server
    server.close()
