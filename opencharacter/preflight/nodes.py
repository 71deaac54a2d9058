"""Whether the pods of a run find a node, by the rules of Kubernetes' scheduler that concern ours."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from opencharacter.cluster.checks import Issue
from opencharacter.cluster.spec import AffinityTerm, Toleration
from opencharacter.preflight.requirements import PodRequirement

Ask = Callable[[str], Any]
"""Reads the Kubernetes API: a path to the object there, none if there is no such thing. Raises `ApiException`."""

_NAMED = 3
"""Nodes that a message names."""
_HINTS = {
    True: "ask for less (--cluster-set steps.STEP.KEY=VALUE), or add a larger node",
    False: "for GPUs: is the device plugin installed, and does the autoscaler keep a node of the pool?",
}
_AUTOSCALERS = ("/apis/karpenter.sh", "/api/v1/namespaces/kube-system/configmaps/cluster-autoscaler-status")
"""What Karpenter and the cluster autoscaler leave in the API."""

Amounts = Mapping[str, Decimal]
"""Resource to amount: cores, bytes, pieces."""

_STAYS = ("DaemonSet", "Node")
"""Owners of pods that are always on their node."""
_PASSING = ("node.kubernetes.io/", "node.cloudprovider.kubernetes.io/")
"""Beginnings of taints that Kubernetes itself sets on a node that is not ready, under pressure or cordoned."""
_PODS = {"pods": Decimal(110)}
"""The kubelet's own limit."""


@dataclass(frozen=True)
class Room:
    """What a node can give to pods that it admits."""

    node: str
    whole: Amounts
    """Beside the pods that never leave it."""
    free: Amounts
    """Now; nothing where it takes no new pods at present."""


def amounts(quantities: Mapping[str, Any] | None) -> dict[str, Decimal]:
    """Kubernetes' quantities as numbers."""
    from kubernetes.utils.quantity import parse_quantity

    return {name: parse_quantity(value) for name, value in (quantities or {}).items()}


def admits(node: Mapping[str, Any], pod: PodRequirement) -> bool:
    """Whether such a pod may run there, once the node is well: selector, affinity and taints."""
    labels = node["metadata"].get("labels") or {}
    taints = (node.get("spec") or {}).get("taints") or []
    return (
        pod.node_selector.items() <= labels.items()
        and all(_holds(term, labels) for term in pod.affinity)
        and all(_tolerated(taint, pod) for taint in taints if not taint["key"].startswith(_PASSING))
    )


def _holds(term: AffinityTerm, labels: Mapping[str, str]) -> bool:
    there = term.key in labels
    match term.operator:
        case "In":
            return there and labels[term.key] in term.values
        case "NotIn":
            return not there or labels[term.key] not in term.values
        case "Exists":
            return there
        case "DoesNotExist":
            return not there


def _tolerated(taint: Mapping[str, Any], pod: PodRequirement) -> bool:
    # Many clusters add the toleration of a device's taint to each pod that asks for the device.
    return (
        taint["effect"] == "PreferNoSchedule"
        or taint["key"] in pod.requests
        or any(_tolerates(toleration, taint) for toleration in pod.tolerations)
    )


def _tolerates(toleration: Toleration, taint: Mapping[str, Any]) -> bool:
    return (
        toleration.effect in (None, taint["effect"])
        and toleration.key in (None, taint["key"])
        and (toleration.operator == "Exists" or (toleration.value or "") == (taint.get("value") or ""))
    )


def room_of(node: Mapping[str, Any], pods: Iterable[Mapping[str, Any]]) -> Room:
    """What a node can give, with the pods that run on it."""
    whole = _PODS | amounts((node.get("status") or {}).get("allocatable"))
    free = whole
    for pod in pods:
        taken = requests_of(pod["spec"])
        free = _less(free, taken)
        if any(owner["kind"] in _STAYS for owner in pod["metadata"].get("ownerReferences") or []):
            whole = _less(whole, taken)
    return Room(node["metadata"]["name"], whole, free if _takes_pods(node) else {})


def _takes_pods(node: Mapping[str, Any]) -> bool:
    spec = node.get("spec") or {}
    passing = [taint for taint in spec.get("taints") or [] if taint["key"].startswith(_PASSING)]
    return not spec.get("unschedulable") and not any(taint["effect"] != "PreferNoSchedule" for taint in passing)


def requests_of(spec: Mapping[str, Any]) -> dict[str, Decimal]:
    """What the scheduler counts for a pod: its containers together or, if that is more, its largest init container."""
    running: dict[str, Decimal] = {}
    largest: dict[str, Decimal] = {}
    for container in spec.get("initContainers") or []:
        beside = _more(running, _asked(container))
        largest = _larger(largest, beside)
        if container.get("restartPolicy") == "Always":  # a sidecar, which stays
            running = beside
    for container in spec.get("containers") or []:
        running = _more(running, _asked(container))
    total = _larger(running, largest) | _asked(spec)
    return _more(total, amounts(spec.get("overhead"))) | {"pods": Decimal(1)}


def _asked(holder: Mapping[str, Any]) -> dict[str, Decimal]:
    return amounts((holder.get("resources") or {}).get("requests"))


def _more(first: Amounts, second: Amounts) -> dict[str, Decimal]:
    return {name: first.get(name, Decimal(0)) + second.get(name, Decimal(0)) for name in {**first, **second}}


def _less(first: Amounts, second: Amounts) -> dict[str, Decimal]:
    return {name: amount - second.get(name, Decimal(0)) for name, amount in first.items()}


def _larger(first: Amounts, second: Amounts) -> dict[str, Decimal]:
    return {name: max(first.get(name, Decimal(0)), second.get(name, Decimal(0))) for name in {**first, **second}}


def short_of(room: Amounts, requests: Amounts) -> dict[str, Decimal]:
    """What one pod does not find there: resource to what there is of it."""
    available = {name: max(Decimal(0), room.get(name, Decimal(0))) for name in requests}
    return {name: amount for name, amount in available.items() if amount < requests[name]}


def pods_that_fit(rooms: Sequence[Amounts], requests: Amounts) -> int:
    """How many such pods find room side by side."""
    positive = {name: amount for name, amount in requests.items() if amount > 0}
    return sum(
        max(0, min(int(room.get(name, Decimal(0)) // amount) for name, amount in positive.items())) for room in rooms
    )


def check_room(ask: Ask, kinds: Sequence[PodRequirement]) -> Iterator[Issue]:
    """One issue, `ok`, if each kind of pod finds room, otherwise one for each that does not.

    `missing`: the nodes that would take such pods are too small for one, whatever else runs there. `warning`: they are
    too full now; or no node has the labels and taints asked for, or an autoscaler may add larger ones.
    """
    nodes = _items(ask, "/api/v1/nodes")
    running = _running(ask)
    rooms = [(node, room_of(node, (running or {}).get(node["metadata"]["name"], ()))) for node in nodes]
    issues = []
    for pod in kinds:
        issue = _find_issue(ask, pod, [room for node, room in rooms if admits(node, pod)])
        issues += [issue] if issue else []
    if issues:
        yield from issues
    else:
        unseen = "" if running is not None else "; what runs there already cannot be seen by this account"
        whose = "each pod finds" if len(kinds) > 1 else f"{kinds[0].name} finds"
        yield Issue("Nodes", "ok", f"{whose} room on the {len(nodes)} node{'s' * (len(nodes) != 1)}{unseen}")


def _items(ask: Ask, path: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    token = ""
    while True:
        page = ask(f"{path}{'&' if '?' in path else '?'}limit=500{f'&continue={token}' if token else ''}") or {}
        items += page.get("items", [])
        token = str((page.get("metadata") or {}).get("continue") or "")
        if not token:
            return items


def _running(ask: Ask) -> dict[str, list[dict[str, Any]]] | None:
    """The pods of each node; none if this account may not list them."""
    from kubernetes.client import ApiException

    by_node: dict[str, list[dict[str, Any]]] = defaultdict(list)
    try:
        pods = _items(ask, "/api/v1/pods?fieldSelector=status.phase!=Succeeded,status.phase!=Failed")
    except ApiException as error:
        if error.status in (401, 403):
            return None
        raise
    for pod in pods:
        by_node[pod["spec"].get("nodeName", "")].append(pod)
    return by_node


def _find_issue(ask: Ask, pod: PodRequirement, rooms: Sequence[Room]) -> Issue | None:
    subject = f"Nodes for {pod.name}"
    requests = amounts(pod.requests) | {"pods": Decimal(1)}
    asked = ", ".join(_text(name, amount) for name, amount in amounts(pod.requests).items()) or "a place"
    asked = f"{pod.count} pods of {asked}" if pod.count > 1 else asked
    if not rooms and pod.of_run:
        return Issue(
            subject,
            "warning",
            f"no node has the labels and taints of its pods ({_where(pod)}): they wait until there is one",
            "does a node pool grow from zero? Otherwise: node_selector, tolerations, affinity in the cluster file",
        )
    whole, free = ([getattr(room, part) for room in rooms] for part in ("whole", "free"))
    if pods_that_fit(whole, requests) < pod.count:
        message = f"{asked} find no room on any node: {_shorts(rooms, whole, requests)}"
        if pod.of_run and (grows := _may_grow(ask)):
            return Issue(subject, "warning", f"{message}; {grows}")
        return Issue(subject, "missing", message, _HINTS[pod.of_run])
    if pods_that_fit(free, requests) < pod.count:
        return Issue(subject, "warning", f"{asked} find no room now, and wait: {_shorts(rooms, free, requests)}")
    return None


def _may_grow(ask: Ask) -> str | None:
    """Why larger nodes may come; none if they will not."""
    from kubernetes.client import ApiException

    for path in _AUTOSCALERS:
        try:
            if ask(path) is not None:
                return "an autoscaler may add a larger node"
        except ApiException as error:
            if error.status not in (401, 403):
                raise
            return "this account may not see whether an autoscaler may add a larger one"
    return None


def _where(pod: PodRequirement) -> str:
    rules = [f"{key}={value}" for key, value in pod.node_selector.items()]
    rules += [f"{term.key} {term.operator} {','.join(term.values)}".strip() for term in pod.affinity]
    rules += [f"tolerates {toleration.key or 'every taint'}" for toleration in pod.tolerations]
    return ", ".join(rules) or "no selector, and no toleration"


def _shorts(rooms: Sequence[Room], parts: Sequence[Amounts], requests: Mapping[str, Decimal]) -> str:
    """The nodes that come nearest, and what is short there."""
    if not rooms:
        return "there is none"
    shorts = [(short_of(part, requests), room, part) for room, part in zip(rooms, parts, strict=True)]
    shorts.sort(key=lambda entry: len(entry[0]))
    descriptions = []
    for short, room, part in shorts[:_NAMED]:
        if not part:
            descriptions.append(f"{room.node} takes no pods at present")
        elif short:
            descriptions.append(
                f"{room.node} has {' and '.join(_text(name, amount) for name, amount in short.items())}"
            )
        else:
            descriptions.append(f"{room.node} holds {pods_that_fit([part], requests)}")
    more = len(shorts) - _NAMED
    return "; ".join(descriptions) + (f"; and {more} more" if more > 0 else "")


def _text(name: str, amount: Decimal) -> str:
    if name == "cpu":
        return f"{float(amount):.4g} CPU"
    if name == "memory":
        return f"{float(amount) / 2**30:.4g} GiB of memory"
    return f"{float(amount):g} of {name}" if name != "pods" else "no place for another pod"
