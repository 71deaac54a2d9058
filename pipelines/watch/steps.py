"""What each step of a run is doing."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal, NamedTuple

from opencharacter.pipelines.watch.nodes import Node, Nodes

State = Literal["waiting", "running", "cached", "succeeded", "failed", "skipped", "cancelled", "unknown"]

FINAL = {"SUCCEEDED", "FAILED", "SKIPPED", "CANCELED"}
"""The states in which a run has ended."""


@dataclass(frozen=True)
class Step:
    """A step, or one shard of it."""

    name: str
    state: State = "waiting"
    shard: int | None = None
    pod: str | None = None
    """The pod of the last attempt, or of KFP's driver."""
    driver: bool = False
    """Whether the pod is the driver's."""
    attempt: int = 1
    started: datetime | None = None
    ended: datetime | None = None

    @property
    def label(self) -> str:
        """Its name, with the shard's number."""
        return self.name if self.shard is None else f"{self.name}[{self.shard}]"

    @property
    def seconds(self) -> float | None:
        """How long it has run, once it has ended."""
        return (self.ended - self.started).total_seconds() if self.started and self.ended else None


class _Planned(NamedTuple):
    name: str
    looped: bool


def steps_of(run: dict[str, Any]) -> list[Step]:
    """The steps of a run (the API's JSON object) in the pipeline's order, shards one by one.

    Once the run has ended no step is `waiting` or `running` any more, whatever its last report said.
    """
    nodes = Nodes(run)
    spec = run.get("pipeline_spec") or {}
    planned = list(_planned(spec.get("pipeline_spec", spec))) or _seen(nodes)
    steps = [step for each in planned for step in _instances(each, nodes)]
    steps += _stray_drivers(nodes, {each.name for each in planned})
    return [_settled(step, run["state"]) for step in steps] if run.get("state") in FINAL else steps


def _planned(spec: dict[str, Any]) -> Iterator[_Planned]:
    components = spec.get("components") or {}

    def walk(dag: dict[str, Any], looped: bool) -> Iterator[_Planned]:
        tasks = dag.get("tasks") or {}
        for name in _in_order(tasks):
            component = components.get((tasks[name].get("componentRef") or {}).get("name"), {})
            inside = looped or "parameterIterator" in tasks[name]
            if "dag" in component:
                yield from walk(component["dag"], inside)
            else:
                yield _Planned(name, inside)

    yield from walk((spec.get("root") or {}).get("dag") or {}, False)


def _in_order(tasks: dict[str, Any]) -> list[str]:
    """The tasks so that each comes after those it waits for, else as they are written."""
    left = dict(tasks)
    order: list[str] = []
    while left:
        ready = [name for name, task in left.items() if not set(task.get("dependentTasks") or ()) & left.keys()]
        for name in ready or list(left):
            order.append(name)
            del left[name]
    return order


def _seen(nodes: Nodes) -> list[_Planned]:
    """The steps as they have begun, where the run does not name its pipeline."""
    begun = sorted((node for node in nodes if nodes.attempts(node)), key=lambda node: str(node.started))
    names = dict.fromkeys(node.name for node in begun if not node.name.startswith("executor"))
    return [_Planned(name, looped=len(nodes.named(name)) > 1) for name in names]


def _instances(planned: _Planned, nodes: Nodes) -> list[Step]:
    drivers = nodes.named(f"{planned.name}-driver")
    pairs: list[tuple[Node | None, Node | None]] = [(driver, nodes.child(driver, planned.name)) for driver in drivers]
    paired = {step.key for _, step in pairs if step}
    pairs += [(None, step) for step in nodes.named(planned.name) if step.key not in paired]
    found = []
    for driver, step in pairs:
        shard = nodes.iteration(driver or step) if planned.looped and (driver or step) else None  # type: ignore[arg-type]
        found.append(replace(_step(planned.name, driver, step, nodes), shard=shard))
    return sorted(found, key=lambda each: each.shard or 0) or [Step(planned.name)]


def _step(name: str, driver: Node | None, step: Node | None, nodes: Nodes) -> Step:
    if driver and driver.state == "FAILED":
        return _driven(name, driver)
    if step is None:
        return Step(name, pod=driver.pod, driver=True) if driver and driver.state == "PENDING" else Step(name)
    tried = nodes.attempts(step)
    last = tried[-1] if tried else None
    return Step(
        name,
        _state(step, last),
        pod=last.pod if last else None,
        attempt=max(len(tried), 1),
        started=last.started if last else step.started,
        ended=last.ended if last else step.ended,
    )


def _state(step: Node, last: Node | None) -> State:
    match step.state:
        case "SUCCEEDED":
            return "cached" if last and last.state == "SKIPPED" else "succeeded"
        case "SKIPPED":
            return "skipped"
        case "FAILED":
            return "failed"
        case "CANCELED" | "CANCELING":
            return "cancelled"
    # Argo's phase "omitted" has no state of its own in the API: such a step waits until the run has ended.
    if last is None:
        return "waiting"
    states: dict[str, State] = {"RUNNING": "running", "SUCCEEDED": "succeeded", "SKIPPED": "cached"}
    return states.get(last.state, "waiting")  # a failed attempt waits for the next


def _stray_drivers(nodes: Nodes, steps: set[str]) -> list[Step]:
    """Drivers of loops and branches that failed: no step's, and yet what ended the run."""
    return [
        _driven(node.name, node)
        for node in nodes
        if node.state == "FAILED" and node.name.endswith("-driver") and node.name.removesuffix("-driver") not in steps
    ]


def _driven(name: str, driver: Node) -> Step:
    return Step(name, "failed", pod=driver.pod, driver=True, started=driver.started, ended=driver.ended)


def _settled(step: Step, run: str) -> Step:
    if step.state == "waiting" and not step.pod:
        return replace(step, state="skipped")
    if step.state in ("waiting", "running"):
        ends: dict[str, State] = {"SUCCEEDED": "succeeded", "CANCELED": "cancelled"}
        return replace(step, state=ends.get(run, "unknown"))
    return step
