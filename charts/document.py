"""Write the table of values in the chart's README from the comments in its values.yaml: `make chart-docs`.

A value is described by the comment line `# -- …` right above its key, as helm-docs has it.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

CHART = Path(__file__).resolve().parent / "opencharacter"
BEGIN, END = "<!-- values: begin -->", "<!-- values: end -->"


class Value(NamedTuple):
    """One documented value."""

    key: str
    default: Any
    description: str | None


def values(chart: Path = CHART) -> Iterator[Value]:
    """Every leaf of values.yaml, in order; what has a description of its own counts as a leaf."""
    text = (chart / "values.yaml").read_text(encoding="utf-8")
    lines = text.splitlines()
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode)
    yield from _walk(root, lines, ())


def _walk(node: yaml.MappingNode, lines: list[str], path: tuple[str, ...]) -> Iterator[Value]:
    for key, value in node.value:
        here = (*path, key.value)
        found = re.match(r"\s*# -- (.+)", lines[key.start_mark.line - 1]) if key.start_mark.line else None
        if isinstance(value, yaml.MappingNode) and value.value and not found:
            yield from _walk(value, lines, here)
        else:
            default = yaml.SafeLoader("").construct_object(value, deep=True)
            yield Value(".".join(here), default, found[1] if found else None)


def table(chart: Path = CHART) -> str:
    """The table in Markdown."""
    rows = ["| Key | Default | Meaning |", "|---|---|---|"]
    rows += [f"| `{each.key}` | `{json.dumps(each.default)}` | {each.description} |" for each in values(chart)]
    return "\n".join(rows)


def with_table(readme: str, chart: Path = CHART) -> str:
    """The README with its table regenerated."""
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table(chart)}\n{END}{after}"


if __name__ == "__main__":
    page = CHART / "README.md"
    page.write_text(with_table(page.read_text(encoding="utf-8")), encoding="utf-8")
