"""Server-side apply as the Kubernetes API does it, with `force`: who owns a field, and what goes when it is left out.

Dicts merge, lists are atomic (as InferenceService's `spec.canary` is).
"""

import copy
from typing import Any

Object = dict[str, Any]
Path = tuple[str, ...]


class Applied:
    """One object, and the managers of its fields."""

    def __init__(self) -> None:
        self.object: Object = {}
        self._owners: dict[Path, set[str]] = {}

    def tried(self, manager: str, config: Object) -> "Applied":
        """A copy with this configuration applied."""
        result = copy.deepcopy(self)
        wanted = dict(_leaves(config))
        for path in [path for path, owners in result._owners.items() if manager in owners and path not in wanted]:
            result._owners[path].discard(manager)
            if not result._owners[path]:
                del result._owners[path]
                _remove(result.object, path)
        for path, value in wanted.items():
            if _value(result.object, path) != value:
                result._owners[path] = {manager}
                _set(result.object, path, copy.deepcopy(value))
            else:
                result._owners.setdefault(path, set()).add(manager)
        return result


def _leaves(value: Object, path: Path = ()) -> list[tuple[Path, Any]]:
    found: list[tuple[Path, Any]] = []
    for key, inner in value.items():
        found += _leaves(inner, (*path, key)) if isinstance(inner, dict) and inner else [((*path, key), inner)]
    return found


def _value(target: Object, path: Path) -> Any:
    for key in path[:-1]:
        target = target.get(key, {})
    return target.get(path[-1])


def _set(target: Object, path: Path, value: Any) -> None:
    for key in path[:-1]:
        target = target.setdefault(key, {})
    target[path[-1]] = value


def _remove(target: Object, path: Path) -> None:
    if len(path) > 1 and path[0] in target:
        _remove(target[path[0]], path[1:])
        if not target[path[0]]:
            del target[path[0]]
    elif len(path) == 1:
        target.pop(path[0], None)
