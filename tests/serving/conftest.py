"""A model folder as training writes it, without weights."""

import json
from pathlib import Path

import pytest

from opencharacter.templates import load_template

CHAT_TEMPLATE = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    template = load_template("system.md")
    (folder / "opencharacter").mkdir()
    (folder / "opencharacter" / "system.md").write_text(template.text, encoding="utf-8")
    (folder / "opencharacter" / "model.json").write_text(json.dumps({"prompt_hash": template.hash}))
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE)
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|im_end|>"}))
    added = [{"content": token, "special": True} for token in ("<|im_start|>", "<|im_end|>", "<filename>")]
    (folder / "tokenizer.json").write_text(json.dumps({"added_tokens": added}))
    return folder
