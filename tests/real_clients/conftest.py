"""The transformer, as it stands before a model server, and the fake that answers for that."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.fake_llm import FakeLLM

from opencharacter.characters.profile import CharacterProfile
from opencharacter.serving import Server, run_transformer
from opencharacter.serving.endpoint.settings import EndpointSettings

ROOT = Path(__file__).parents[2]
MODEL = "opencharacter-demo"
ANSWER = "The wind, and what it brings."
ILSE = CharacterProfile(name="Ilse Brandt", persona="A lighthouse keeper who writes letters")

_CLIENTS = ROOT / ".tools" / "clients"
OTHERS_PYTHON = [str(_CLIENTS / "python" / "bin" / "python"), "-c"]
_QUIET = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "NO_PROXY": "127.0.0.1"}


def run_client(command: list[str], *, python_path: str = "") -> "subprocess.CompletedProcess[str]":
    """Run a program where Node.js finds its packages: it looks for them from the working folder on."""
    environment = os.environ | _QUIET | {"PYTHONPATH": python_path}
    return subprocess.run(command, cwd=_CLIENTS, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="session")
def llm() -> Iterator[FakeLLM]:
    with FakeLLM(answer=lambda request: ANSWER) as server:
        yield server


@pytest.fixture(scope="session")
def endpoint(llm: FakeLLM, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    model, characters = tmp_path_factory.mktemp("model"), tmp_path_factory.mktemp("characters")
    (characters / "ilse-brandt.json").write_text(ILSE.model_dump_json(exclude_none=True))
    with run_transformer(
        f"127.0.0.1:{llm.port}",
        MODEL,
        model_dir=model,
        allow_packaged_prompt=True,
        settings=EndpointSettings(characters_dir=characters),
    ) as server:
        yield server
