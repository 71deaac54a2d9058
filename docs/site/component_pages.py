"""Write each component's README from its KFP specification and its metadata.yaml: `make component-docs`."""

import importlib
import inspect
from pathlib import Path
from typing import Any

import yaml
from google.protobuf import json_format

from opencharacter.cluster.images import STEP_IMAGES, STEPS, StepName

COMPONENTS = Path(__file__).resolve().parents[2] / "components"


def folder_of(step: StepName) -> Path:
    """The step's folder."""
    return COMPONENTS / step.replace("-", "_")


def metadata_of(step: StepName) -> dict[str, Any]:
    """What the step's metadata.yaml says."""
    loaded: dict[str, Any] = yaml.safe_load((folder_of(step) / "metadata.yaml").read_text(encoding="utf-8"))
    return loaded


def specification(step: StepName) -> dict[str, Any]:
    """The step's interface as KFP compiles it, with its `description`."""
    name = folder_of(step).name
    component = getattr(importlib.import_module(f"opencharacter.components.{name}.component"), name)
    spec: dict[str, Any] = json_format.MessageToDict(component.pipeline_spec)
    found = spec["components"][f"comp-{step}"]
    order = [*inspect.signature(component.python_func).parameters, "Output"]
    # Protobuf's maps have no order.
    for definitions in (found["inputDefinitions"], found["outputDefinitions"]):
        for kind, entries in definitions.items():
            definitions[kind] = dict(sorted(entries.items(), key=lambda item: order.index(item[0])))
    return found | {"description": component.description}


def readme(step: StepName) -> str:
    """The page of a step."""
    spec, metadata = specification(step), metadata_of(step)
    name = folder_of(step).name
    summary, _, rest = spec["description"].partition("\n")
    parts = [
        f"# {step}",
        "<!-- `make component-docs` writes this page from component.py and metadata.yaml. -->",
        summary,
        " ".join(rest.split()),
        "## Inputs",
        _table(spec["inputDefinitions"]),
        "## Outputs",
        _table(spec["outputDefinitions"]),
        "## Use",
        f"```python\nfrom opencharacter.components.{name}.component import {name}\n```",
        f"Image: `{STEP_IMAGES[step]}`. Stability: {metadata['stability']}. Needs {_needs(metadata)}. "
        f"Last verified: {metadata['lastVerified']:%Y-%m-%d}. Tags: {', '.join(metadata['tags'])}.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _table(definitions: dict[str, Any]) -> str:
    rows = ["| Name | Type | Optional | Meaning |", "|---|---|---|---|"]
    for name, entry in (definitions.get("parameters", {}) | definitions.get("artifacts", {})).items():
        kind = entry.get("parameterType") or entry["artifactType"]["schemaTitle"]
        kind = f"list of {kind}" if entry.get("isArtifactList") else kind
        optional = "yes" if entry.get("isOptional") else "no"
        rows.append(f"| `{name}` | {kind} | {optional} | {' '.join(entry['description'].split())} |")
    return "\n".join(rows)


def _needs(metadata: dict[str, Any]) -> str:
    dependencies = metadata["dependencies"]
    needed = [
        *(
            (f"Kubeflow {each['name']}" if each["name"] != "KServe" else "KServe", each)
            for each in dependencies["kubeflow"]
        ),
        *((each["name"], each) for each in dependencies.get("external_services", [])),
    ]
    return ", ".join(f"{name} {each['version']}" if "version" in each else name for name, each in needed)


if __name__ == "__main__":
    for step in STEPS:
        (folder_of(step) / "README.md").write_text(readme(step), encoding="utf-8")
