"""The transformer, as it stands before a model server, and the fake that answers for that."""

from collections.abc import Iterator

import pytest
from support.fake_llm import FakeLLM

from opencharacter.characters.profile import CharacterProfile
from opencharacter.serving import Server, run_transformer

MODEL = "opencharacter-demo"
ANSWER = "The wind, and what it brings."
ILSE = CharacterProfile(name="Ilse Brandt", persona="A lighthouse keeper who writes letters")


@pytest.fixture(scope="session")
def llm() -> Iterator[FakeLLM]:
    with FakeLLM(answer=lambda request: ANSWER) as server:
        yield server


@pytest.fixture(scope="session")
def endpoint(llm: FakeLLM, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("model")
    with run_transformer(f"127.0.0.1:{llm.port}", MODEL, model_dir=folder, allow_packaged_prompt=True) as server:
        yield server
