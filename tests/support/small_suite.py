"""A suite of a few items, as a user would write it."""

import json
from pathlib import Path
from typing import Any

import yaml

SUITE: dict[str, Any] = {
    "name": "small",
    "items": {"path": "items.jsonl"},
    "license": "CC0-1.0",
    "character": "persona",
    "answer": {"temperature": 0.9, "max_tokens": 200},
    "measures": [{"kind": "rubric", "tasks": {"voice": "voice.md", "facts": "facts.md"}}],
}
VOICE = "Voice: does it sound like the character?\n\n1: no.\n5: yes."
FACTS = "Facts: does it agree with the character?\n\n1: no.\n5: yes."
ITEMS: list[dict[str, Any]] = [
    {"id": "storm", "task": "voice", "character_id": "ferryman", "turns": [{"role": "user", "content": "A storm?"}]},
    {"id": "home", "task": "facts", "character_id": "ferryman", "turns": [{"role": "user", "content": "Your home?"}]},
    {"id": "tea", "task": "voice", "character": "A judge of teas.", "turns": [{"role": "user", "content": "Tea?"}]},
]
CHARACTERS: list[dict[str, Any]] = [{"id": "ferryman", "persona": "A ferryman who counts geese."}]


def write_suite(
    folder: Path,
    *,
    items: list[dict[str, Any]] | None = None,
    texts: dict[str, str] | None = None,
    **changes: Any,
) -> Path:
    """Write the suite, with other items, texts or keys. Returns its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "suite.yaml").write_text(yaml.safe_dump(SUITE | changes, sort_keys=False))
    write_lines(folder / "items.jsonl", ITEMS if items is None else items)
    write_lines(folder / "characters.jsonl", CHARACTERS)
    for name, text in ({"voice.md": VOICE, "facts.md": FACTS} | (texts or {})).items():
        (folder / name).write_text(text)
    return folder


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write rows as JSONL."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
