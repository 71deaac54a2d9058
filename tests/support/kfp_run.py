"""A run as KFP's API tells it: the nodes that KFP's compiler and Argo make of the steps, and how they hang together.

As in KFP 2.17: `argocompiler/{dag,container}.go` name the nodes, `util.RetrievePodName` their pods, Argo's
`controller/dag.go` makes what follows a task a child of the task's last nodes; `server/api_converter.go` writes the
entries, and the launcher's cache adds some without a name.
"""

import zlib
from typing import Any

WORKFLOW = "opencharacter-demo-x7k2p"
_UNSET = "0001-01-01T00:00:00Z"


class Run:
    """Make nodes with `step`, then read `told`."""

    def __init__(self, run_id: str = "r1", *, state: str = "RUNNING", spec: dict[str, Any] | None = None) -> None:
        self.run_id = run_id
        self.state = state
        self.name = "demo"
        self.workspace: str | None = "s3://absent/runs"
        self._spec = spec
        self._nodes: dict[str, dict[str, Any]] = {}
        self.extra: list[dict[str, Any]] = [{"run_id": run_id, "task_id": "t-cache", "state": "SUCCEEDED"}]
        """Entries that are no node's."""
        self.root = self._add("root", "root", "RUNNING", after=[])

    def step(
        self,
        name: str,
        state: str = "SUCCEEDED",
        *,
        executor: str | None = None,
        driver: str = "SUCCEEDED",
        attempts: tuple[str, ...] = (),
        after: list[str] | None = None,
        path: str = "root",
    ) -> list[str]:
        """A step's driver, node and pods; returns the nodes that the next step hangs from.

        `state` is the node's; "" leaves it out, since its driver has not ended. `attempts` are of a step with retries.
        """
        at = f"{path}.{name}"
        drives = self._add(f"{at}-driver", "system-container-driver", driver, after=after or [self.root])
        if not state:
            return [drives]
        node = self._add(at, "system-container-executor", state, after=[drives])
        if state in ("SKIPPED", "RUNTIME_STATE_UNSPECIFIED") or executor == "":
            return [node]
        own = self._add(f"{at}.executor", "retry-system-container-impl", executor or state, after=[node])
        for number, tried in enumerate(attempts):
            last = self._add(f"{at}.executor({number})", "retry-system-container-impl", tried, after=[own])
        return [last if attempts else own]

    def loop(self, name: str, shards: int, *, after: list[str]) -> list[tuple[str, list[str]]]:
        """A loop's nodes; returns each body's path, and what its first step hangs from."""
        at = f"root.{name}"
        loop = self._add(at, f"{name}-iterator", "RUNNING", after=after)
        drives = self._add(f"{at}.iteration-driver", "system-dag-driver", "SUCCEEDED", after=[loop])
        group = self._add(f"{at}.iteration-iterations", "iterations", "RUNNING", after=[drives])
        bodies = []
        for shard in range(shards):
            each = f"{at}.iteration-iterations({shard}:{shard})"
            item = self._add(each, "iterations", "RUNNING", after=[group])
            driver = self._add(f"{each}.iteration-item-driver", "system-dag-driver", "SUCCEEDED", after=[item])
            body = self._add(f"{each}.iteration-item", "for-loop", "RUNNING", after=[driver])
            bodies.append((f"{each}.iteration-item", [body]))
        return bodies

    def stray(self, name: str, state: str, *, after: list[str]) -> str:
        """A driver of a loop or a branch."""
        return self._add(f"root.{name}", "system-dag-driver", state, after=after)

    def pod(self, path: str) -> str:
        """The pod of a node, such as `sft.executor(1)`."""
        return str(self._nodes[f"root.{path}"]["pod_name"])

    def pods(self, step: str) -> list[str]:
        """The pods of a step's shards."""
        return [str(node["pod_name"]) for path, node in self._nodes.items() if path.endswith(f".{step}.executor")]

    def double(self, path: str, state: str) -> None:
        """A second entry of a node, with a state that it has had."""
        self.extra.append(self._nodes[f"root.{path}"] | {"task_id": "t-double", "state": state})

    @property
    def told(self) -> dict[str, Any]:
        """The run's JSON."""
        parameters = {"workspace": self.workspace} if self.workspace else {}
        return {
            "run_id": self.run_id,
            "experiment_id": "e1",
            "display_name": self.name,
            "state": self.state,
            "runtime_config": {"parameters": parameters},
            **({"pipeline_spec": {"pipeline_spec": self._spec, "platform_spec": {}}} if self._spec else {}),
            "run_details": {"task_details": [*self._nodes.values(), *self.extra]},
        }

    def _add(self, path: str, template: str, state: str, *, after: list[str]) -> str:
        number = str(zlib.crc32(path.encode()))
        identity = WORKFLOW if path == "root" else f"{WORKFLOW}-{number}"
        started = state not in ("PENDING", "RUNTIME_STATE_UNSPECIFIED")
        ended = state in ("SUCCEEDED", "FAILED", "SKIPPED")
        self._nodes[path] = {
            "run_id": self.run_id,
            "task_id": f"t-{number}",
            "display_name": path.rpartition(".")[2],
            "create_time": "2026-11-29T01:00:00Z",
            "start_time": "2026-11-29T01:00:00Z" if started else _UNSET,
            "end_time": "2026-11-29T01:01:05Z" if ended else _UNSET,
            "state": state,
            "pod_name": WORKFLOW if path == "root" else f"{WORKFLOW}-{template}-{number}",
            "child_tasks": [],
        }
        for parent in after:
            above = next(node for key, node in self._nodes.items() if parent in (key, _identity(key)))
            above["child_tasks"].append({"pod_name": identity})
        return identity


def _identity(path: str) -> str:
    return WORKFLOW if path == "root" else f"{WORKFLOW}-{zlib.crc32(path.encode())}"
