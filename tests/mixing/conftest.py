"""A mix step on a small workspace, with a student whose tokens are bytes."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.rows import commit_characters, commit_dialogues
from support.tiny_llama import byte_tokenizer

from opencharacter.characters import CharacterProfile, PromptName
from opencharacter.mixing import MixConfig, mix
from opencharacter.records.models import DialogueRow
from opencharacter.storage.workspace import Artifact, Workspace

Mix = Callable[..., Artifact]


@pytest.fixture(scope="session")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder without weights: all that mixing needs of the student."""
    folder = tmp_path_factory.mktemp("student")
    byte_tokenizer().save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    return folder


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace")


@pytest.fixture
def run_mix(workspace: Workspace, student: Path) -> Mix:
    """Mix dialogues of characters; keywords but `seed` and `into` are settings of `MixConfig`."""

    def run(
        dialogues: Sequence[DialogueRow],
        characters: Sequence[CharacterProfile],
        *,
        seed: int = 7,
        into: Workspace = workspace,
        system_prompt: PromptName = "immersive",
        **settings: Any,
    ) -> Artifact:
        config = MixConfig.model_validate({"max_tokens": 100_000, **settings})
        sources = (commit_dialogues(into, dialogues), commit_characters(into, characters))
        options = {"base_model": str(student), "workspace": into, "seed": seed, "system_prompt": system_prompt}
        return mix(config, *sources, **options)

    return run
