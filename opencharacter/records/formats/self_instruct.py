"""Self-instruct seed tasks: an instruction with instances, each of which is a conversation."""

from typing import Any

from opencharacter.records.formats.alpaca import question_and_answer
from opencharacter.records.formats.fields import first_of, has_text, list_of, optional_text_of, text_of
from opencharacter.records.models import Turn
from opencharacter.records.rows import InvalidRow

FORM = '{"instruction": …, "instances": [{"input": …, "output": …}]}'


def matches(row: dict[str, Any]) -> bool:
    """Whether a row looks like this format."""
    first = first_of(row, "instances")
    return has_text(row, "instruction") and isinstance(first, dict) and "output" in first


def parse(row: dict[str, Any]) -> list[list[Turn]]:
    """A conversation for each instance. Raises `InvalidRow`."""
    instruction = text_of(row, "instruction")
    instances = list_of(row, "instances")
    if not instances or not all(isinstance(instance, dict) for instance in instances):
        raise InvalidRow("'instances' is not a list of input and output")
    return [
        question_and_answer(instruction, optional_text_of(instance, "input"), text_of(instance, "output"))
        for instance in instances
    ]
