"""What a failed test of the acceptance suite attaches: logs, events and conditions of the session's own objects."""

from collections.abc import Callable, Iterable

from support.acceptance import workflows
from support.acceptance.kube import EVENTS, PODS, SERVICES_OF_MODELS, TRAINJOBS, WORKFLOWS, Kube, Object, conditions
from support.acceptance.ledger import LABEL

_LOG_LINES = 30
_EVENTS = 25
_PODS = 8


def gather(kube: Kube, namespaces: Iterable[str], session: str, runs: Iterable[str]) -> str:
    """A text with everything that tells why something of the session does not work."""
    parts: list[str] = []
    runs = list(runs)
    for namespace in namespaces:
        for title, look in (
            ("runs", lambda place=namespace: _runs(kube, place, runs)),
            ("pods", lambda place=namespace: _pods(kube, place, session, runs)),
            ("InferenceServices", lambda place=namespace: _services(kube, place, session)),
            ("TrainJobs", lambda place=namespace: _jobs(kube, place, runs)),
            ("warnings", lambda place=namespace: _events(kube, place, session, runs)),
        ):
            if text := _guarded(look):
                parts.append(f"--- {title} in {namespace}\n{text}")
    return "\n".join(parts) or "the cluster shows nothing of this session"


def _guarded(look: Callable[[], str]) -> str:
    try:
        return look()
    except Exception as error:  # evidence that cannot be had must not hide the failure
        return f"(cannot be read: {error})"


def _workflows(kube: Kube, namespace: str, runs: list[str]) -> list[Object]:
    if not runs:
        return []
    return kube.find(WORKFLOWS.format(namespace), labels=f"{workflows.RUN_LABEL} in ({','.join(runs)})")


def _runs(kube: Kube, namespace: str, runs: list[str]) -> str:
    lines = []
    for workflow in _workflows(kube, namespace, runs):
        message = (workflow.get("status") or {}).get("message") or ""
        lines.append(f"{workflow['metadata']['name']}: {workflows.phase(workflow)} {message}".rstrip())
        lines += [f"  {line}" for line in workflows.failures(workflow)]
    return "\n".join(lines)


def _ours(kube: Kube, namespace: str, session: str, runs: list[str]) -> list[Object]:
    names = {each["metadata"]["name"] for each in _workflows(kube, namespace, runs)}
    pods = []
    for pod in kube.find(PODS.format(namespace)):
        labels = pod["metadata"].get("labels") or {}
        of_run = labels.get(workflows.WORKFLOW_LABEL) in names or labels.get(workflows.RUN_LABEL) in runs
        if of_run or labels.get(LABEL) == session or session in pod["metadata"]["name"] or session in namespace:
            pods.append(pod)
    return pods


def _pods(kube: Kube, namespace: str, session: str, runs: list[str]) -> str:
    troubled = [pod for pod in _ours(kube, namespace, session, runs) if _is_troubled(pod)]
    lines = []
    for pod in troubled[-_PODS:]:
        name, status = pod["metadata"]["name"], pod.get("status") or {}
        why = ": ".join(str(status[key]) for key in ("reason", "message") if status.get(key))
        lines.append(f"{name} ({workflows.pod_step(pod) or 'no step'}): {status.get('phase')} {why}".rstrip())
        lines.append(f"  {conditions(pod)}")
        for each in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
            lines += _container(kube, namespace, name, each)
    return "\n".join(lines)


def _is_troubled(pod: Object) -> bool:
    status = pod.get("status") or {}
    if status.get("phase") == "Succeeded":
        return False
    return status.get("phase") != "Running" or not all(
        each.get("ready") and not each.get("restartCount") for each in status.get("containerStatuses") or []
    )


def _container(kube: Kube, namespace: str, pod: str, status: Object) -> list[str]:
    state = status.get("state") or {}
    ended = state.get("terminated") or {}
    waits = state.get("waiting") or {}
    last = ((status.get("lastState") or {}).get("terminated")) or {}
    if (not ended or ended.get("exitCode") == 0) and not waits and not last and status.get("ready", True):
        return []
    lines = [
        f"  container {status['name']}: {kind}: {told.get('reason', '')} {told.get('message', '')} "
        f"{'exit code ' + str(told['exitCode']) if 'exitCode' in told else ''}".rstrip()
        for kind, told in (("ended", ended), ("waits", waits), ("ended before", last))
        if told
    ]
    if not waits or last:
        log = kube.log(namespace, pod, status["name"], lines=_LOG_LINES)
        lines += [f"    | {line}" for line in log.splitlines()]
    return lines


def _services(kube: Kube, namespace: str, session: str) -> str:
    lines = []
    for service in kube.find(SERVICES_OF_MODELS.format(namespace)):
        if session not in service["metadata"]["name"] and session not in namespace:
            continue
        status = service.get("status") or {}
        model = status.get("modelStatus") or {}
        lines.append(f"{service['metadata']['name']}: {conditions(service)}")
        lines.append(f"  model: {model.get('transitionStatus')}, states {model.get('states')}")
        if failure := model.get("lastFailureInfo"):
            lines.append(f"  failure: {failure.get('reason')}: {failure.get('message')} at {failure.get('location')}")
    return "\n".join(lines)


def _jobs(kube: Kube, namespace: str, runs: list[str]) -> str:
    owners = {each["metadata"]["uid"] for each in _workflows(kube, namespace, runs)}
    lines = []
    for job in kube.find(TRAINJOBS.format(namespace)):
        if owners & {owner["uid"] for owner in job["metadata"].get("ownerReferences") or []}:
            suspended = "suspended" if (job.get("spec") or {}).get("suspend") else "not suspended"
            lines.append(f"{job['metadata']['name']}: {suspended}; {conditions(job)}")
    return "\n".join(lines)


def _events(kube: Kube, namespace: str, session: str, runs: list[str]) -> str:
    pods = {pod["metadata"]["name"] for pod in _ours(kube, namespace, session, runs)}
    found = []
    for event in kube.find(EVENTS.format(namespace), fields="type=Warning"):
        thing = event.get("involvedObject") or {}
        name = str(thing.get("name", ""))
        if name in pods or session in name or session in namespace or name.startswith("opencharacter-sft-"):
            when = event.get("lastTimestamp") or event.get("eventTime") or event["metadata"].get("creationTimestamp")
            found.append(
                (str(when), f"{when} {thing.get('kind')}/{name}: {event.get('reason')}: {event.get('message')}")
            )
    return "\n".join(line for _, line in sorted(found)[-_EVENTS:])
