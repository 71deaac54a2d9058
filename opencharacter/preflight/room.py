"""Whether pods find room on nodes, by the rules of Kubernetes' scheduler that concern ours."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from opencharacter.cluster.spec import AffinityTerm, Toleration
from opencharacter.preflight.needs import PodNeed

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


def admits(node: Mapping[str, Any], need: PodNeed) -> bool:
    """Whether such a pod may run there, once the node is well: selector, affinity and taints."""
    labels = node["metadata"].get("labels") or {}
    taints = (node.get("spec") or {}).get("taints") or []
    return (
        need.node_selector.items() <= labels.items()
        and all(_holds(term, labels) for term in need.affinity)
        and all(_tolerated(taint, need) for taint in taints if not taint["key"].startswith(_PASSING))
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


def _tolerated(taint: Mapping[str, Any], need: PodNeed) -> bool:
    # Many clusters add the toleration of a device's taint to each pod that asks for the device.
    return (
        taint["effect"] == "PreferNoSchedule"
        or taint["key"] in need.requests
        or any(_tolerates(toleration, taint) for toleration in need.tolerations)
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
    found = {name: max(Decimal(0), room.get(name, Decimal(0))) for name in requests}
    return {name: amount for name, amount in found.items() if amount < requests[name]}


def pods_that_fit(rooms: Sequence[Amounts], requests: Amounts) -> int:
    """How many such pods find room side by side."""
    wanted = {name: amount for name, amount in requests.items() if amount > 0}
    return sum(
        max(0, min(int(room.get(name, Decimal(0)) // amount) for name, amount in wanted.items())) for room in rooms
    )
