"""Every row of the table of teachers' settings is what the engine does with a server of that behaviour."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.teachers import ANSWER, DATA, TEACHERS, THOUGHTS, serve_teacher

from opencharacter.engines import ChatFailed, EngineConfig, EngineDown, Sampling, open_engine

PAGE = Path(__file__).parents[2] / "docs" / "teachers.md"
ROW = re.compile(
    r"^\| `(?P<name>[^`]+)`: [^|]*\|[^|]*\| (?:`(?P<settings>[^`]+)` )?\| (?P<without>[^|]+) \|$", re.MULTILINE
)
ROWS = {row["name"]: row for row in ROW.finditer(PAGE.read_text(encoding="utf-8"))}

SYSTEM = {"role": "system", "content": "You keep a lighthouse."}
QUESTIONS = ["What do you do in the morning?", "Answer as JSON.", "Tell me about the great storm."]
SCHEMA = {
    "type": "object",
    "properties": {"answers": {"type": "array", "items": {"type": "string", "maxLength": 4000}}},
    "required": ["answers"],
}


def test_the_table_names_every_behaviour_that_is_tried() -> None:
    assert list(ROWS) == list(TEACHERS)


@pytest.mark.parametrize("name", TEACHERS)
async def test_with_the_settings_of_the_table_the_teacher_works(name: str) -> None:
    settings = yaml.safe_load(ROWS[name]["settings"] or "{}")
    outcome = await _outcome(name, settings, QUESTIONS[:2])
    assert outcome.startswith("works")


@pytest.mark.parametrize("name", TEACHERS)
async def test_without_them_it_does_what_the_table_says(name: str) -> None:
    assert await _outcome(name, {}, QUESTIONS) == ROWS[name]["without"].replace("`", "")


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if "stops" in row["without"]])
async def test_the_settings_that_its_messages_name_are_a_remedy(name: str) -> None:
    settings: dict[str, Any] = {}
    named: list[str] = []
    while hint := await _hint(name, settings):
        assert hint not in named, "a remedy that was followed is named again"
        named.append(hint)
        for key, value in yaml.safe_load(hint).items():
            settings[key] = settings[key] + value if isinstance(value, list) and key in settings else value
    assert named


async def _hint(name: str, settings: dict[str, Any]) -> str | None:
    """What the message of a run that stops says to set; none if it does not stop."""
    async with serve_teacher(TEACHERS[name]) as url, open_engine(_config(url, {"request": settings})) as engine:
        try:
            await engine.chat([SYSTEM, {"role": "user", "content": QUESTIONS[0]}], Sampling(), seed=7)
        except EngineDown as error:
            return (error.hint or "").partition("set request: ")[2]
    return None


async def _outcome(name: str, settings: dict[str, Any], questions: list[str]) -> str:
    """How calls end, in the words of the table."""
    schemas = True
    async with serve_teacher(TEACHERS[name]) as url, open_engine(_config(url, settings)) as engine:
        for question in questions:
            schema = SCHEMA if "JSON" in question else None
            messages = [SYSTEM, {"role": "user", "content": question}]
            try:
                reply = await engine.chat(messages, Sampling(), seed=7, json_schema=schema)
            except EngineDown as error:
                parameter = re.search(r"does not take '([^']+)'", str(error))
                return f"the run stops and names {parameter[1]}" if parameter else str(error)
            except ChatFailed as error:
                return f"rows are rejected: {error.reason}"
            if reply.problem:
                return f"rows are rejected: {reply.problem}"
            assert reply.text.strip() == (DATA if schema else ANSWER)
            assert THOUGHTS not in reply.text
            assert reply.usage.completion_tokens > 0
            schemas = schemas and (schema is None or reply.structured)
    return "works" if schemas else "works; schemas are left out"


def _config(url: str, settings: dict[str, Any]) -> EngineConfig:
    return EngineConfig.model_validate({"model": "fake", "base_url": url, "max_retries": 1} | settings)
