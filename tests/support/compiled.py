"""A compiled pipeline as the tests look at it: by step, and in a form that a reader can compare."""

from pathlib import Path
from typing import Any

import yaml

from opencharacter.cluster.loading import load_cluster
from opencharacter.config.loading import load_run_config
from opencharacter.pipelines.compile import compile_pipeline


class Compiled:
    """The two documents of an IR file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        documents = list(yaml.load_all(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader))
        self.spec: dict[str, Any] = documents[0]
        self.platform: dict[str, Any] = documents[1] if len(documents) > 1 else {}

    @property
    def dags(self) -> dict[str, dict[str, Any]]:
        """The root, the loops' bodies and the branch, by component name."""
        parts = {"root": self.spec["root"]} | self.spec["components"]
        return {name: part["dag"] for name, part in parts.items() if "dag" in part}

    @property
    def tasks(self) -> dict[str, dict[str, Any]]:
        """The tasks that are steps, in loops and branches too."""
        found = {name: task for dag in self.dags.values() for name, task in dag["tasks"].items()}
        return {name: task for name, task in found.items() if f"exec-{name}" in self.executors}

    @property
    def executors(self) -> dict[str, dict[str, Any]]:
        """Containers by executor label."""
        executors = self.spec["deploymentSpec"]["executors"]
        return {label: executor["container"] for label, executor in executors.items()}

    def container(self, step: str) -> dict[str, Any]:
        """Image, command, resources and environment of a step."""
        return self.executors[f"exec-{step}"]

    def environment(self, step: str) -> dict[str, str]:
        """Plain variables of a step."""
        return {entry["name"]: entry["value"] for entry in self.container(step).get("env", [])}

    def kubernetes(self, step: str) -> dict[str, Any]:
        """Platform settings of a step."""
        settings: dict[str, Any] = self.platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
        return settings[f"exec-{step}"]


def compile_for(
    folder: Path, preset: str, profile: str | None = None, *overrides: str, run: tuple[str, ...] = ()
) -> Compiled:
    """Compile a recipe, for a shipped profile with overrides or for none."""
    placed = load_cluster(profile, overrides) if profile else None
    path = folder / f"{preset}-{profile}.yaml"
    return Compiled(compile_pipeline(load_run_config(preset=preset, overrides=run), path, cluster=placed))


# What KFP writes twice, for servers of before; the other of each pair is looked at.
_OLD_FORMS = {"cpuLimit", "cpuRequest", "memoryLimit", "memoryRequest", "secretNameParameter", "configMapNameParameter"}


def placement_of(compiled: Compiled) -> dict[str, Any]:
    """Image of each step, and below it the pods: one entry for all steps that ask for the same."""
    steps = sorted(compiled.tasks)
    groups: list[dict[str, Any]] = []
    for step in steps:
        pod = _pod(compiled, step)
        group = next((group for group in groups if group["pod"] == pod), None)
        if group is None:
            groups.append(group := {"steps": [], "pod": pod})
        group["steps"].append(step)
    uncached = [step for step in steps if not compiled.tasks[step].get("cachingOptions", {}).get("enableCache")]
    return {
        "images": {step: compiled.container(step)["image"] for step in steps},
        "never cached": uncached,
        "pods": groups,
    }


def _pod(compiled: Compiled, step: str) -> dict[str, Any]:
    pod: dict[str, Any] = _without(
        {
            "env": compiled.environment(step),
            "kubernetes": compiled.kubernetes(step),
            "resources": compiled.container(step).get("resources", {}),
            "retries": compiled.tasks[step].get("retryPolicy", {}),
        },
        _OLD_FORMS,
    )
    return pod


def wiring_of(compiled: Compiled) -> dict[str, Any]:
    """Which task waits for which and where its inputs come from."""
    return {
        name: {task: _wires(spec) for task, spec in sorted(dag["tasks"].items())}
        for name, dag in sorted(compiled.dags.items())
    }


def _wires(task: dict[str, Any]) -> dict[str, Any]:
    inputs = task.get("inputs", {})
    told: dict[str, Any] = {
        "inputs": {name: _source(source) for part in sorted(inputs) for name, source in sorted(inputs[part].items())}
    }
    told["runs"] = task["componentRef"]["name"]
    if after := task.get("dependentTasks"):
        told["after"] = sorted(after)
    if loop := task.get("parameterIterator"):
        told["for each"] = loop["items"]["inputParameter"]
    if "triggerPolicy" in task:
        told["if"] = task["triggerPolicy"]["condition"]
    return told


def _source(source: dict[str, Any]) -> str:
    if output := source.get("taskOutputArtifact") or source.get("taskOutputParameter"):
        return f"{output['producerTask']}.{output.get('outputArtifactKey') or output['outputParameterKey']}"
    if "runtimeValue" in source:
        return repr(source["runtimeValue"]["constant"])
    key = source.get("parameterExpressionSelector", "").removeprefix("parseJson(string_value)")
    return f"{source.get('componentInputParameter') or source.get('componentInputArtifact')}{key}"


def without_placement(value: Any) -> Any:
    """An IR without images, platform settings and limits of loops: what must be the same wherever it is to run."""
    return _without(value, {"image", "resources", "env", "retryPolicy", "iteratorPolicy"})


def _without(value: Any, keys: set[str]) -> Any:
    if isinstance(value, dict):
        return {key: _without(part, keys) for key, part in value.items() if key not in keys}
    return [_without(part, keys) for part in value] if isinstance(value, list) else value
