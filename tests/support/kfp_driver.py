"""A walk over a compiled pipeline as the driver of Kubeflow Pipelines 2.17 walks it, for there is no server here.

The rules are those of `backend/src/v2`: `driver/resolve.go` (where inputs come from, loops, collected outputs, types),
`driver/dag.go` (loops and conditions) and `component/launcher_v2.go` (outputs). Steps do nothing, or are the real
components, run by the SDK's own executor as a pod runs them.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.compiled import Compiled
from support.kfp_values import Json, Refused, holds, items_of, parsed, recorded, selected, taken, wire

Artifact = dict[str, Any]
RunStep = Callable[[str, dict[str, Any]], dict[str, Any]]
"""Step and its executor input to its executor output: `parameterValues` and `artifacts`, as the SDK writes them."""

_SAMPLES = {
    "STRING": "text",
    "NUMBER_DOUBLE": 0.5,
    "NUMBER_INTEGER": 3,
    "BOOLEAN": True,
    "LIST": [],
    "STRUCT": {"passed": True},
}


def do_nothing(step: str, executor_input: dict[str, Any]) -> dict[str, Any]:
    """A step that leaves a sample of each output."""
    return {}


@dataclass
class Ran:
    """A step that ran: its name in the pipeline and the inputs that it got."""

    step: str
    parameters: dict[str, Json]
    artifacts: dict[str, list[Artifact]]


@dataclass
class _Execution:
    component: dict[str, Any]
    parameters: dict[str, Json]
    artifacts: dict[str, list[Artifact]] = field(default_factory=dict)
    made_parameters: dict[str, Json] = field(default_factory=dict)
    made_artifacts: dict[str, Artifact] = field(default_factory=dict)
    children: dict[str, "_Execution"] = field(default_factory=dict)
    iterations: list["_Execution"] | None = None

    @property
    def is_dag(self) -> bool:
        return "dag" in self.component


class Walk:
    """A run of a compiled pipeline. Raises `Refused` where the server would fail it, with the task's name."""

    def __init__(self, compiled: Compiled, folder: Path, run_step: RunStep = do_nothing) -> None:
        self._spec = compiled.spec
        self._folder = folder
        self._run_step = run_step
        self._count = 0
        self.ran: list[Ran] = []

    def run(self, **arguments: Json) -> list[Ran]:
        """Run with these arguments over the parameters' defaults; returns the steps that ran, in order."""
        root = self._spec["root"]
        given: dict[str, Json] = {}
        for name, declared in root.get("inputDefinitions", {}).get("parameters", {}).items():
            if name not in arguments and "defaultValue" not in declared and not declared.get("isOptional"):
                raise Refused(f"parameter {name} is required")
            if name in arguments or "defaultValue" in declared:
                given[name] = wire(arguments.get(name, declared.get("defaultValue")))
        self._run_dag(_Execution(root, given))
        return self.ran

    def of(self, step: str) -> list[Ran]:
        """The runs of one step."""
        return [ran for ran in self.ran if ran.step == step]

    def _run_dag(self, dag: _Execution) -> None:
        tasks = dag.component["dag"]["tasks"]
        for name in _in_order(tasks):
            try:
                self._run_task(name, tasks, dag)
            except Refused as refusal:
                raise Refused(f"{name}: {refusal}") from refusal

    def _run_task(self, name: str, tasks: dict[str, Any], dag: _Execution) -> None:
        task = tasks[name]
        component = self._spec["components"][task["componentRef"]["name"]]
        for producer in _producers(task):
            if producer not in _ancestors(name, tasks):
                raise Refused(f"reads an output of {producer}, for which it does not wait")
        made = self._driven(task, component, dag)
        condition = task.get("triggerPolicy", {}).get("condition")
        if condition and not holds(condition, made.parameters):
            return
        dag.children[name] = made
        if "parameterIterator" in task:
            self._iterate(task, made)
        elif made.is_dag:
            self._run_dag(made)
        else:
            self._run_container(name, made)

    def _iterate(self, task: dict[str, Any], loop: _Execution) -> None:
        iterator = task["parameterIterator"]
        source = iterator["items"].get("inputParameter")
        if source:
            items = items_of(loop.parameters[source])
        else:
            source = iterator["itemInput"]
            items = items_of(iterator["items"]["raw"])
            loop.parameters[source] = items
        loop.iterations = []
        for item in items:
            # The list that is iterated over is taken out of the inputs of the loop's body.
            parameters = {name: value for name, value in loop.parameters.items() if name != source}
            body = _Execution(loop.component, parameters | {iterator["itemInput"]: item}, dict(loop.artifacts))
            _check_types(task, body, iteration=True)
            loop.iterations.append(body)
            self._run_dag(body)

    def _driven(self, task: dict[str, Any], component: dict[str, Any], dag: _Execution) -> _Execution:
        """The execution of a task, with its inputs (`resolveInputs`)."""
        made = _Execution(component, {})
        inputs, declared = task.get("inputs", {}), component.get("inputDefinitions", {})
        if made.is_dag:
            for name, spec in declared.get("parameters", {}).items():
                if name not in inputs.get("parameters", {}) and spec.get("isOptional"):
                    made.parameters[name] = spec.get("defaultValue")
        for name, source in inputs.get("parameters", {}).items():
            value = self._parameter(source, dag)
            if value is None and "componentInputParameter" in source:
                if declared["parameters"][name].get("isOptional"):
                    continue
                raise Refused(f"the resolved input parameter is null: {source['componentInputParameter']}")
            made.parameters[name] = value
        for name, source in inputs.get("artifacts", {}).items():
            made.artifacts[name] = self._artifacts(source, dag)
        for name, source in inputs.get("parameters", {}).items():
            if expression := source.get("parameterExpressionSelector"):
                made.parameters[name] = selected(made.parameters[name], expression)
        _check_types(task, made, iteration=False)
        for name, spec in declared.get("artifacts", {}).items():
            if name not in made.artifacts and not spec.get("isOptional"):
                raise Refused(f"no value for the artifact {name}")
        return made

    def _parameter(self, source: dict[str, Any], dag: _Execution) -> Json:
        if name := source.get("componentInputParameter"):
            if name not in dag.parameters:
                raise Refused(f"parent DAG does not have input parameter {name}")
            return dag.parameters[name]
        if output := source.get("taskOutputParameter"):
            found = _outputs(dag, output["producerTask"], "parameter", output["outputParameterKey"])
            return found
        return wire(source["runtimeValue"]["constant"])

    def _artifacts(self, source: dict[str, Any], dag: _Execution) -> list[Artifact]:
        if name := source.get("componentInputArtifact"):
            if name not in dag.artifacts:
                raise Refused(f"parent DAG does not have input artifact {name}")
            return dag.artifacts[name]
        output = source["taskOutputArtifact"]
        found = _outputs(dag, output["producerTask"], "artifact", output["outputArtifactKey"])
        return found if isinstance(found, list) else [found]

    def _run_container(self, name: str, made: _Execution) -> None:
        self._count += 1
        folder = self._folder / f"{self._count}-{name}"
        folder.mkdir(parents=True)
        outputs = made.component.get("outputDefinitions", {})
        fresh = {
            output: {"name": output, "type": spec["artifactType"], "uri": str(folder / output), "metadata": {}}
            for output, spec in outputs.get("artifacts", {}).items()
        }
        files = {output: folder / f"{output}.parameter" for output in outputs.get("parameters", {})}
        executor_input = {
            "inputs": {
                "parameterValues": made.parameters,
                "artifacts": {key: {"artifacts": value} for key, value in made.artifacts.items()},
            },
            "outputs": {
                "artifacts": {output: {"artifacts": [artifact]} for output, artifact in fresh.items()},
                "parameters": {output: {"outputFile": str(file)} for output, file in files.items()},
                "outputFile": str(folder / "executor_output.json"),
            },
        }
        self.ran.append(Ran(name, made.parameters, made.artifacts))
        told = self._run_step(name, json.loads(json.dumps(executor_input)))
        for output, spec in outputs.get("parameters", {}).items():
            kind = spec["parameterType"]
            if output in told.get("parameterValues", {}):
                value = wire(told["parameterValues"][output])
            elif files[output].exists():
                value = parsed(files[output].read_text(encoding="utf-8"), kind)
            elif self._run_step is do_nothing or not told:
                value = _SAMPLES[kind]
            else:
                raise Refused(f'failed to read output parameter name="{output}"')
            made.made_parameters[output] = value
        for output, artifact in fresh.items():
            for written in told.get("artifacts", {}).get(output, {}).get("artifacts", []):
                artifact["uri"] = written["uri"] or artifact["uri"]
                artifact["metadata"] |= written["metadata"]
            made.made_artifacts[output] = artifact | {"metadata": recorded(output, artifact["metadata"])}


def _check_types(task: dict[str, Any], made: _Execution, *, iteration: bool) -> None:
    iterator = task.get("parameterIterator", {})
    for name, spec in made.component.get("inputDefinitions", {}).get("parameters", {}).items():
        if not iteration and iterator.get("itemInput") == name:
            continue
        if iteration and iterator.get("items", {}).get("inputParameter") == name:
            continue
        if name not in made.parameters:
            if spec.get("isOptional") or "defaultValue" in spec:
                continue
            raise Refused(f'neither value nor default value provided for non-optional parameter "{name}"')
        if made.parameters[name] is None and spec.get("isOptional") and made.is_dag:
            continue
        made.parameters[name] = taken(made.parameters[name], spec["parameterType"], name)


def _outputs(dag: _Execution, producer: str, what: str, key: str) -> Any:
    """An output of a task of this DAG: one, or, from a loop, those of all its iterations, however deep."""
    if producer not in dag.children:
        raise Refused(f"cannot find producer task {producer}")
    return _output(dag.children[producer], what, key)


def _output(made: _Execution, what: str, key: str) -> Any:
    if made.iterations is not None:
        if not made.iterations:
            raise Refused("the loop that makes it had no item")
        collected = [_output(body, what, key) for body in made.iterations]
        return [part for each in collected for part in (each if isinstance(each, list) else [each])]
    if not made.is_dag:
        return made.made_parameters[key] if what == "parameter" else made.made_artifacts[key]
    declared = made.component["dag"].get("outputs", {}).get(f"{what}s", {})
    if key not in declared:
        raise Refused(f"{what} output key {key} not found in parent task")
    source = declared[key]["artifactSelectors"][0] if what == "artifact" else declared[key]["valueFromParameter"]
    return _outputs(made, source["producerSubtask"], what, source[f"output{what.capitalize()}Key"])


def _in_order(tasks: dict[str, Any]) -> Iterator[str]:
    left = dict(tasks)
    while left:
        ready = [name for name, task in left.items() if not set(task.get("dependentTasks", ())) & set(left)]
        assert ready, f"tasks wait for each other: {sorted(left)}"
        for name in ready:
            del left[name]
            yield name


def _ancestors(name: str, tasks: dict[str, Any]) -> set[str]:
    found: set[str] = set()
    for each in tasks[name].get("dependentTasks", ()):
        found |= {each} | _ancestors(each, tasks)
    return found


def _producers(task: dict[str, Any]) -> set[str]:
    inputs = task.get("inputs", {})
    sources = [*inputs.get("parameters", {}).values(), *inputs.get("artifacts", {}).values()]
    outputs = [source.get("taskOutputParameter") or source.get("taskOutputArtifact") for source in sources]
    return {output["producerTask"] for output in outputs if output}


def run_component(function: Callable[..., Any], executor_input: dict[str, Any]) -> dict[str, Any]:
    """Run a component's function as its pod does: by the SDK's executor. Returns the executor output."""
    from kfp.dsl.executor import Executor

    written = Executor(executor_input=executor_input, function_to_execute=function).execute()
    assert written
    told: dict[str, Any] = json.loads(Path(written).read_text(encoding="utf-8"))
    return told
