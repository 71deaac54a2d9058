"""Reading a pipeline run from its Argo Workflow, as KFP 2.17 compiles it.

A step's pod is the node `….STEP.executor`, or `….STEP.executor(N)` where it retries; a step from the cache has none.
Where the controller's `templateDefaults` hold a retry strategy, as in a stock KFP, every DAG has one, too: then it is
`….STEP(N).executor(N)`.
"""

import base64
import gzip
import json
import re
from typing import Any

from support.acceptance.kube import Object

RUN_LABEL = "pipeline/runid"
WORKFLOW_LABEL = "workflows.argoproj.io/workflow"
NODE_ANNOTATION = "workflows.argoproj.io/node-name"
MAIN = "main"
"""The container that runs our step; Argo's and KFP's own are beside it."""

_EXECUTOR = re.compile(r"\.(?P<step>[a-z0-9-]+)(\(\d+\))?\.executor(\(\d+\))?$")


def nodes_of(workflow: Object) -> list[Object]:
    """The nodes in a Workflow's status, which Argo compresses when they are many."""
    status = workflow.get("status") or {}
    nodes: dict[str, Any] = status.get("nodes") or {}
    if not nodes and status.get("compressedNodes"):
        nodes = json.loads(gzip.decompress(base64.b64decode(status["compressedNodes"])))
    return list(nodes.values())


def step_of(node_name: str) -> str | None:
    """The step whose pod a node is; none for drivers and DAGs."""
    found = _EXECUTOR.search(node_name)
    return found["step"] if found else None


def attempts(workflow: Object, step: str) -> list[Object]:
    """The pods that a step has had, in order, all shards together: Argo's nodes, the deleted pods' among them."""
    pods = [
        node
        for node in nodes_of(workflow)
        if node.get("type") == "Pod" and step_of(str(node.get("name"))) == step and node.get("phase") != "Omitted"
    ]
    return sorted(pods, key=lambda node: str(node.get("startedAt")))


def steps_that_ran(workflow: Object) -> set[str]:
    """The steps that have had a pod of their own."""
    found = {step_of(str(node.get("name"))) for node in nodes_of(workflow) if node.get("type") == "Pod"}
    return {step for step in found if step}


def phase(workflow: Object | None) -> str:
    """Pending, Running, Succeeded, Failed or Error; empty before Argo has looked at it."""
    return str(((workflow or {}).get("status") or {}).get("phase") or "")


def is_over(workflow: Object | None) -> bool:
    """Whether it has ended."""
    return phase(workflow) in ("Succeeded", "Failed", "Error")


def failures(workflow: Object) -> list[str]:
    """The pods that failed, with Argo's message."""
    return [
        f"{node.get('displayName')} of {step_of(str(node.get('name'))) or node.get('name')}: {node.get('phase')}: "
        f"{node.get('message', 'no message')}"
        for node in nodes_of(workflow)
        if node.get("type") == "Pod" and node.get("phase") in ("Failed", "Error")
    ]


def pod_step(pod: Object) -> str | None:
    """The step that a pod runs; none for drivers and other pods."""
    return step_of(str((pod["metadata"].get("annotations") or {}).get(NODE_ANNOTATION, "")))
