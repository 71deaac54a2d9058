"""Server-side apply as the Kubernetes API does it, with `force`: who owns a field, and what goes when it is left out.

Dicts merge, unless their schema says that they are atomic; lists are atomic (as InferenceService's `spec.canary` is).
"""

import copy
from typing import Any

Object = dict[str, Any]
Path = tuple[str, ...]


class Applied:
    """One object, and the managers of its fields."""

    def __init__(self, *atomic: Path) -> None:
        """`atomic`: dicts that are replaced as a whole."""
        self.object: Object = {}
        self._atomic = atomic
        self._owners: dict[Path, set[str]] = {}

    def tried(self, manager: str, config: Object) -> "Applied":
        """A copy with this configuration applied."""
        result = copy.deepcopy(self)
        wanted = dict(_leaves(config, self._atomic))
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

    def merged(self, manager: str, change: Object) -> "Applied":
        """A copy with a JSON merge patch applied: atomic or not, dicts merge, and nothing else changes."""
        result = copy.deepcopy(self)
        for path, value in _leaves(change, ()):
            _set(result.object, path, copy.deepcopy(value))
            owned = next((each for each in self._atomic if path[: len(each)] == each), path)
            result._owners[owned] = {manager + " by update"}
        return result


def _leaves(value: Object, atomic: tuple[Path, ...], path: Path = ()) -> list[tuple[Path, Any]]:
    found: list[tuple[Path, Any]] = []
    for key, inner in value.items():
        here = (*path, key)
        deeper = isinstance(inner, dict) and inner and here not in atomic
        found += _leaves(inner, atomic, here) if deeper else [(here, inner)]
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
