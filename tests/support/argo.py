"""What Argo 4.0 makes of the retries of a compiled pipeline, for there is no controller in the tests.

Read in its source (`workflow/controller/operator.go`: `mergedTemplateDefaultsInto`, `processNodeRetries`) and in KFP
2.17's (`backend/src/v2/compiler/argocompiler/container.go`, and the ConfigMap below, of its manifests). Each row of
`SEEN` was tried on a live cluster.
"""

from collections.abc import Iterator
from typing import Any

import yaml
from support.compiled import Compiled

STOCK: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "workflow-controller-configmap", "namespace": "kubeflow"},
    "data": {
        "artifactRepository": "archiveLogs: true\ns3:\n  endpoint: seaweedfs.kubeflow.svc:9000\n  bucket: mlpipeline\n",
        "executor": "imagePullPolicy: IfNotPresent\nsecurityContext:\n  runAsNonRoot: true\n",
        "workflowDefaults": """\
spec:
  ttlStrategy:
    secondsAfterCompletion: 3600
    secondsAfterSuccess: 3600
    secondsAfterFailure: 3600
  templateDefaults:
    retryStrategy:
      limit: '2'
      retryPolicy: OnError
""",
    },
}
"""The ConfigMap of KFP 2.17, less what concerns other things than workflows."""

SEEN = [
    # default strategy, a failing step is retried, a lost one is, the DAGs around a failing step are
    ({"limit": "2", "retryPolicy": "OnError"}, False, True, False),
    ({"limit": "0", "retryPolicy": "Always"}, True, True, False),
    (None, True, False, False),
    ({"limit": "2", "retryPolicy": "Always"}, True, True, True),
]


def with_default(strategy: dict[str, Any] | None) -> dict[str, Any]:
    """The stock ConfigMap with another default strategy, or none."""
    defaults = yaml.safe_load(STOCK["data"]["workflowDefaults"])
    defaults["spec"]["templateDefaults"] = {"retryStrategy": strategy} if strategy else {}
    return STOCK | {"data": STOCK["data"] | {"workflowDefaults": yaml.safe_dump(defaults)}}


def broken_promises(compiled: Compiled, config_map: dict[str, Any]) -> list[str]:
    """Where the server would not do what the compiled pipeline's retries say: in words, by step."""
    default = _default_strategy(config_map)
    return [*_of_steps(compiled, default), *_of_dags(compiled, default)]


def _of_steps(compiled: Compiled, default: dict[str, Any]) -> Iterator[str]:
    for name, task in compiled.tasks.items():
        policy = task.get("retryPolicy")
        # KFP's compiler writes no retryPolicy of Argo's.
        own = {"limit": str(policy["maxRetryCount"]), "backoff": dict(policy)} if policy else {}
        strategy, wanted = _merged(default, own), int(policy["maxRetryCount"]) if policy else 0
        for phase in ("Failed", "Error"):
            if policy and (had := _attempts(strategy, phase)) != wanted:
                yield f"{name}: {had} of {wanted} retries of a step that ends as {phase}"


def _of_dags(compiled: Compiled, default: dict[str, Any]) -> Iterator[str]:
    for name in compiled.dags:
        if more := _attempts(default, "Failed"):
            yield f"{name}: run again {more} times when a step in it fails"


def _default_strategy(config_map: dict[str, Any]) -> dict[str, Any]:
    defaults = yaml.safe_load(config_map["data"]["workflowDefaults"])
    strategy: dict[str, Any] = defaults["spec"].get("templateDefaults", {}).get("retryStrategy") or {}
    return strategy


def _merged(default: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """A strategic merge: the template's own values over the default's, key by key."""
    merged = dict(default)
    for key, value in own.items():
        merged[key] = _merged(merged.get(key, {}), value) if isinstance(value, dict) else value
    return merged


def _attempts(strategy: dict[str, Any], phase: str) -> int:
    if not strategy:
        return 0
    policy = strategy.get("retryPolicy") or ("Always" if strategy.get("expression") else "OnFailure")
    retried = {"Always": {"Failed", "Error"}, "OnFailure": {"Failed"}, "OnError": {"Error"}}[policy]
    return int(strategy["limit"]) if phase in retried else 0
