"""The supported layouts of instruction data, one module each."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from opencharacter.records.formats import alpaca, lima, messages, persona_hub, self_instruct, sharegpt
from opencharacter.records.formats.fields import without_nulls
from opencharacter.records.models import Turn

Row = dict[str, Any]


class Format(NamedTuple):
    """A layout: how to detect it, and how to read a row, which may hold several conversations."""

    form: str
    matches: Callable[[Row], bool]
    parse: Callable[[Row], list[list[Turn]]]


FORMATS: dict[str, Format] = {
    "self_instruct": Format(self_instruct.FORM, self_instruct.matches, self_instruct.parse),
    "alpaca": Format(alpaca.FORM, alpaca.matches, alpaca.parse),
    "lima": Format(lima.FORM, lima.matches, lima.parse),
    "sharegpt": Format(sharegpt.FORM, sharegpt.matches, sharegpt.parse),
    "messages": Format(messages.FORM, messages.matches, messages.parse),
    "persona_hub_instruction": Format(persona_hub.FORM, persona_hub.matches, persona_hub.parse),
}


def detect(rows: Iterable[Any]) -> str | None:
    """The name of the most frequent format of the rows, if any row matches one. Keys without a value don't count."""
    objects = [without_nulls(row) for row in rows if isinstance(row, dict)]
    names = [name for row in objects for name in FORMATS if FORMATS[name].matches(row)]
    return max(FORMATS, key=names.count) if names else None
