"""Persona Hub's instructions: a request that a persona would make, without a public answer."""

from typing import Any

from opencharacter.records.formats.fields import has_text, text_of
from opencharacter.records.models import Turn

FORM = '{"input persona": …, "synthesized text": …}'


def matches(row: dict[str, Any]) -> bool:
    """Whether a row looks like this format."""
    return has_text(row, "synthesized text")


def parse(row: dict[str, Any]) -> list[list[Turn]]:
    """The request alone; the persona is the asker's, not the answering character's. Raises `InvalidRow`."""
    return [[Turn(role="user", content=text_of(row, "synthesized text").strip())]]
