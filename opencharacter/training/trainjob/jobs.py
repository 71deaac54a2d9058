"""Reading a TrainJob of the cluster: its conditions, its queue, and what of the asked-for spec got lost."""

from typing import Any

Job = dict[str, Any]

_QUEUE_LABEL = "kueue.x-k8s.io/queue-name"


def condition(job: Job, kind: str) -> dict[str, Any] | None:
    """The condition of that type, if it holds."""
    conditions = (job.get("status") or {}).get("conditions") or []
    return next((each for each in conditions if each["type"] == kind and each["status"] == "True"), None)


def is_suspended(job: Job) -> bool:
    """Whether it waits to be admitted. The condition may lag behind the spec."""
    return bool((job.get("spec") or {}).get("suspend"))


def queue_of(job: Job) -> str | None:
    """Its LocalQueue."""
    return (job["metadata"].get("labels") or {}).get(_QUEUE_LABEL)


def lost_fields(asked: Job, found: Job) -> list[str]:
    """Paths of the spec that were asked for and are not there any more: some controller writes it with older types.

    Values are not compared, since controllers write them in their own way, and may leave out what is empty.
    """
    patches = {patch.get("manager"): patch for patch in found["spec"].get("runtimePatches") or []}
    ours = [patches.get(patch["manager"], {}) for patch in asked["spec"]["runtimePatches"]]
    return _lost(asked["spec"], found["spec"] | {"runtimePatches": ours}, "spec")


def _lost(asked: Any, found: Any, path: str) -> list[str]:
    if isinstance(asked, dict) and isinstance(found, dict):
        gone = [f"{path}.{name}" for name, value in asked.items() if value and name not in found]
        kept = [name for name in asked if name in found]
        return gone + [lost for name in kept for lost in _lost(asked[name], found[name], f"{path}.{name}")]
    if isinstance(asked, list) and isinstance(found, list):
        gone = [f"{path}[{number}]" for number in range(len(found), len(asked))]
        pairs = enumerate(zip(asked, found, strict=False))
        return gone + [lost for number, (ours, theirs) in pairs for lost in _lost(ours, theirs, f"{path}[{number}]")]
    return []
