"""Pod Security: what the session has run would be admitted where restricted is enforced."""

import pytest
from support.acceptance import workflows
from support.acceptance.kube import ACCOUNTS, PODS, KubeError, Object
from support.acceptance.objects import as_admitted
from support.acceptance.suite import Suite

pytestmark = pytest.mark.needs("cluster", "images", "store", "pipelines")

_MLFLOW = "app.kubernetes.io/part-of=opencharacter,app.kubernetes.io/component=mlflow"


@pytest.fixture(scope="module")
def restricted(suite: Suite) -> str:
    """A namespace that enforces it; nothing is made in it."""
    name = suite.ledger.namespace(f"{suite.id}-pss", {"pod-security.kubernetes.io/enforce": "restricted"})
    path = f"{ACCOUNTS.format(name)}/default"
    suite.deadline.until("the namespace has its account", lambda: suite.kube.get(path), seconds=60)
    return name


def refusals(suite: Suite, namespace: str, pods: dict[str, Object]) -> list[str]:
    """What a dry run refuses, a line for each pod."""
    found = []
    for name, pod in pods.items():
        try:
            suite.kube.create(PODS.format(namespace), pod, dry_run=True)
        except KubeError as error:
            found.append(f"{name}: {error.words}")
    return found


def test_namespace_enforces(suite: Suite, restricted: str) -> None:
    """The check itself works: a pod that may run as root is refused."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "root"},
        "spec": {"containers": [{"name": "root", "image": suite.image("tools")}]},
    }
    [line] = refusals(suite, restricted, {"root": pod})
    assert "restricted" in line, line


def test_steps(suite: Suite, restricted: str) -> None:
    """Every step's own container fits restricted (Argo's and KFP's beside it are not ours)."""
    pods: dict[str, Object] = {}
    for run in suite.runs:
        workflow = run.workflow
        if workflow is None:
            continue
        label = f"{workflows.WORKFLOW_LABEL}={workflow['metadata']['name']}"
        for pod in suite.kube.find(PODS.format(suite.namespace), labels=label):
            if step := workflows.pod_step(pod):
                pods[step] = as_admitted(pod, f"step-{step}", {workflows.MAIN})
    assert pods, "no pod of a step is left to look at"
    assert not refusals(suite, restricted, pods)


def test_servers_and_trainings(suite: Suite, restricted: str) -> None:
    """MLflow's pod, the model servers' pods and those of TrainJobs fit restricted, whole."""
    servers = suite.kube.find(PODS.format(suite.namespace), labels=_MLFLOW)
    whole = {pod["metadata"]["name"]: pod for pod in [*servers, *suite.pods_seen.values()]}
    assert whole, "no pod of a server is left to look at"
    pods = {name: as_admitted(pod, f"pod-{number}") for number, (name, pod) in enumerate(whole.items())}
    assert not refusals(suite, restricted, pods)
    if not suite.pods_seen:
        pytest.skip("MLflow's pod fits; no test of this session has looked at a model server's or a training's pod")
