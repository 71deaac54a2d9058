"""Whether the pods of a run find a node that can hold them."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from opencharacter.preflight.findings import Finding
from opencharacter.preflight.needs import PodNeed
from opencharacter.preflight.room import Amounts, Room, admits, amounts, pods_that_fit, room_of, short_of

Ask = Callable[[str], Any]
"""Reads the Kubernetes API: a path to the object there, none if there is no such thing. Raises `ApiException`."""

_NAMED = 3
"""Nodes that a message names."""
_HINTS = {
    True: "ask for less (--profile-set steps.STEP.KEY=VALUE), or add a larger node",
    False: "for GPUs: is the device plugin installed, and does the autoscaler keep a node of the pool?",
}
_AUTOSCALERS = ("/apis/karpenter.sh", "/api/v1/namespaces/kube-system/configmaps/cluster-autoscaler-status")
"""What Karpenter and the cluster autoscaler leave in the API."""


def find_room(ask: Ask, needs: Sequence[PodNeed]) -> Iterator[Finding]:
    """One finding if each kind of pod finds room, otherwise one for each that does not.

    `missing`: the nodes that would take such pods are too small for one, whatever else runs there. `warning`: they are
    too full now; or no node has the labels and taints asked for, or an autoscaler may add larger ones.
    """
    nodes = _items(ask, "/api/v1/nodes")
    running = _running(ask)
    rooms = [(node, room_of(node, (running or {}).get(node["metadata"]["name"], ()))) for node in nodes]
    faults = []
    for need in needs:
        fault = _fault(ask, need, [room for node, room in rooms if admits(node, need)])
        faults += [fault] if fault else []
    if faults:
        yield from faults
    else:
        unseen = "" if running is not None else "; what runs there already cannot be seen by this account"
        kinds = "each pod finds" if len(needs) > 1 else f"{needs[0].name} finds"
        yield Finding("Nodes", "ok", f"{kinds} room on the {len(nodes)} node{'s' * (len(nodes) != 1)}{unseen}")


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


def _fault(ask: Ask, need: PodNeed, rooms: Sequence[Room]) -> Finding | None:
    subject = f"Nodes for {need.name}"
    wanted = amounts(need.requests) | {"pods": Decimal(1)}
    asked = ", ".join(_text(name, amount) for name, amount in amounts(need.requests).items()) or "a place"
    asked = f"{need.count} pods of {asked}" if need.count > 1 else asked
    if not rooms and need.of_run:
        return Finding(
            subject,
            "warning",
            f"no node has the labels and taints of its pods ({_where(need)}): they wait until there is one",
            "does a node pool grow from zero? Otherwise: node_selector, tolerations, affinity in the cluster file",
        )
    whole, free = ([getattr(room, part) for room in rooms] for part in ("whole", "free"))
    if pods_that_fit(whole, wanted) < need.count:
        message = f"{asked} find no room on any node: {_shorts(rooms, whole, wanted)}"
        if need.of_run and (grows := _may_grow(ask)):
            return Finding(subject, "warning", f"{message}; {grows}")
        return Finding(subject, "missing", message, _HINTS[need.of_run])
    if pods_that_fit(free, wanted) < need.count:
        return Finding(subject, "warning", f"{asked} find no room now, and wait: {_shorts(rooms, free, wanted)}")
    return None


def _may_grow(ask: Ask) -> str | None:
    """Why larger nodes may come, if they may."""
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


def _where(need: PodNeed) -> str:
    rules = [f"{key}={value}" for key, value in need.node_selector.items()]
    rules += [f"{term.key} {term.operator} {','.join(term.values)}".strip() for term in need.affinity]
    rules += [f"tolerates {each.key or 'every taint'}" for each in need.tolerations]
    return ", ".join(rules) or "no selector, and no toleration"


def _shorts(rooms: Sequence[Room], parts: Sequence[Amounts], wanted: Mapping[str, Decimal]) -> str:
    """The nodes that come nearest, and what is short there."""
    if not rooms:
        return "there is none"
    shorts = [(short_of(part, wanted), room, part) for room, part in zip(rooms, parts, strict=True)]
    shorts.sort(key=lambda each: len(each[0]))
    told = []
    for short, room, part in shorts[:_NAMED]:
        if not part:
            told.append(f"{room.node} takes no pods at present")
        elif short:
            told.append(f"{room.node} has {' and '.join(_text(name, amount) for name, amount in short.items())}")
        else:
            told.append(f"{room.node} holds {pods_that_fit([part], wanted)}")
    more = len(shorts) - _NAMED
    return "; ".join(told) + (f"; and {more} more" if more > 0 else "")


def _text(name: str, amount: Decimal) -> str:
    if name == "cpu":
        return f"{float(amount):.4g} CPU"
    if name == "memory":
        return f"{float(amount) / 2**30:.4g} GiB of memory"
    return f"{float(amount):g} of {name}" if name != "pods" else "no place for another pod"
