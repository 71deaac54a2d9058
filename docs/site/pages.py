"""Pages of the site that are made from the code or lie outside docs/: mkdocs runs these hooks while it builds.

Commands come from typer, configuration keys from the pydantic models, chart values from the chart's README; files at
the top of the repository (CHANGELOG.md and the like) become pages. Links to anything else outside docs/ lead to the
repository.
"""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]

TOP_LEVEL = {
    "CHANGELOG.md": "changelog.md",
    "CODE_OF_CONDUCT.md": "code-of-conduct.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "charts/opencharacter/README.md": "reference/chart.md",
}
"""Files outside docs/ that are pages, and where."""

_LINK = re.compile(r"(?<=\]\()(?!\w+:|#|/)([^)\s#]+)(#[^)\s]*)?(?=\))")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are no files of docs/."""
    for source, page in TOP_LEVEL.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    made: dict[str, Callable[[], str]] = {
        "reference/commands.md": commands,
        "reference/configuration.md": run_configuration,
        "reference/cluster.md": cluster_specification,
    }
    for page, make in made.items():
        files.append(File.generated(config, page, content=make()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links between the repository's files, as links of the site."""
    origins = {target: source for source, target in TOP_LEVEL.items()}
    uri = page.file.src_uri
    origin = origins.get(uri, f"docs/{uri}")

    def link(match: re.Match[str]) -> str:
        target = os.path.normpath(os.path.join(os.path.dirname(origin), match[1]))
        anchor = match[2] or ""
        if target in TOP_LEVEL:
            goal = TOP_LEVEL[target]
        elif target.startswith("docs/"):
            goal = target.removeprefix("docs/")
        else:
            if not (ROOT / target).exists():
                return match[0]  # mkdocs reports it
            return f"{config.repo_url.rstrip('/')}/blob/main/{target}{anchor}"
        return os.path.relpath(goal, os.path.dirname(uri) or ".") + anchor

    return _LINK.sub(link, markdown)


def commands() -> str:
    """Every command with its arguments and options."""
    import typer
    from typer.cli import get_docs_for_click

    from opencharacter.cli.app import app

    command = typer.main.get_command(app)
    context = command.make_context("opencharacter", ["--help"], resilient_parsing=True)
    return str(get_docs_for_click(obj=command, ctx=context, name="opencharacter", title="Commands"))


def run_configuration() -> str:
    """Every key of a run configuration."""
    from opencharacter.config.run import RunConfig

    return _keys_page(
        "Run configuration",
        "Every key of a run's YAML. `opencharacter config schema` prints the same as JSON schema, and"
        " `opencharacter config show demo` a whole file to start from.",
        RunConfig.model_json_schema(),
    )


def cluster_specification() -> str:
    """Every key of a cluster file."""
    from opencharacter.cluster.spec import Cluster

    return _keys_page(
        "Cluster",
        "Every key of a cluster's YAML, which says where each step runs and with what."
        " `opencharacter cluster schema` prints the same as JSON schema. See [the guide](../clusters.md).",
        Cluster.model_json_schema(),
    )


def _keys_page(title: str, introduction: str, schema: dict[str, Any]) -> str:
    definitions = schema.get("$defs", {})
    parts = [f"# {title}\n\n{introduction}\n"]
    parts += ["\n## The file\n\n", *_table(schema, definitions)]
    for name, definition in definitions.items():
        if definition.get("properties"):
            parts += [
                f"\n## {name}\n\n",
                f"{definition.get('description', '').strip()}\n\n",
                *_table(definition, definitions),
            ]
    return "".join(parts)


def _table(schema: dict[str, Any], definitions: dict[str, Any]) -> Iterator[str]:
    yield "| Key | Type | Default | Meaning |\n|---|---|---|---|\n"
    required = set(schema.get("required", ()))
    for key, value in schema["properties"].items():
        default = "required" if key in required else _default(value.get("default"))
        section = definitions.get(value.get("$ref", "").rpartition("/")[2], {})
        meaning = " ".join((value.get("description") or section.get("description", "")).split()).replace("|", "\\|")
        yield f"| `{key}` | {_type(value)} | {default} | {meaning} |\n"


def _default(value: Any) -> str:
    if value is None or isinstance(value, dict) or value == []:
        return ""
    text = str(value).replace("|", "\\|").replace("\n", " ")
    return f"`{text}`" if len(text) <= 60 else f"`{text[:57]}…`"


def _type(value: dict[str, Any]) -> str:
    if "$ref" in value:
        name = value["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "enum" in value:
        return " or ".join(f"`{one}`" for one in value["enum"])
    if "const" in value:
        return f"`{value['const']}`"
    for word in ("anyOf", "oneOf", "allOf"):
        if word in value:
            kinds = [_type(one) for one in value[word] if one.get("type") != "null"]
            return " or ".join(dict.fromkeys(kinds))
    kind = value.get("type", "any")
    if kind == "array":
        return f"list of {_type(value['items'])}" if value.get("items") else "list"
    if kind == "object" and isinstance(value.get("additionalProperties"), dict):
        return f"map to {_type(value['additionalProperties'])}"
    return {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}.get(kind, kind)
