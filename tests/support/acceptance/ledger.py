"""What the acceptance suite has made, and how it takes exactly that away again."""

from collections.abc import Callable
from typing import Any

from support.acceptance.kube import NAMESPACES, Kube, Object, labels_of
from support.acceptance.progress import say

LABEL = "opencharacter.io/acceptance"
"""Label of every object that the suite makes; its value is the session's id."""


class Ledger:
    """Undoes, last made first. An object that is no longer the one that was made is left alone."""

    def __init__(self, kube: Kube, session: str) -> None:
        self._kube = kube
        self.session = session
        self._undo: list[tuple[str, Callable[[], object]]] = []

    def will_undo(self, what: str, undo: Callable[[], object]) -> None:
        """Note how something that is no object of the cluster is taken away."""
        self._undo.append((what, undo))

    def create(self, path: str, body: Object) -> Object:
        """Create an object with the session's label, and delete it at the end."""
        metadata = body.setdefault("metadata", {})
        metadata["labels"] = {**(metadata.get("labels") or {}), LABEL: self.session}
        made = self._kube.create(path, body)
        name, uid = metadata["name"], (made.get("metadata") or {}).get("uid")
        self._undo.append((f"{path}/{name}", lambda: self._remove(f"{path}/{name}", uid)))
        return made

    def namespace(self, name: str, labels: dict[str, str] | None = None) -> str:
        """Create a namespace with the session's label; all that it holds goes with it."""
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels or {}}}
        self.create(NAMESPACES, body)
        return name

    def expect(self, path: str) -> None:
        """Delete, at the end, an object that the product makes for us: its name holds the session's id."""
        if self.session not in path.rpartition("/")[2]:
            raise ValueError(f"{path}: the name does not hold {self.session}, so it could be anybody's")
        self._undo.append((path, lambda: self._remove(path, None)))

    def clean(self) -> list[str]:
        """Undo everything. Returns a line for each thing that could not be taken away."""
        problems: list[str] = []
        while self._undo:
            what, undo = self._undo.pop()
            try:
                undo()
            except Exception as error:  # whatever fails here, the rest is still to be taken away
                problems.append(f"{what}: {error}")
        return problems

    def kept(self) -> list[str]:
        """What `clean` would remove, for whoever keeps it."""
        return [what for what, _ in reversed(self._undo)]

    def _remove(self, path: str, uid: str | None) -> None:
        found = self._kube.get(path)
        if found is None:
            return
        if not is_ours(found, self.session, uid):
            say(f"left alone, since it is not this session's: {path}")
            return
        self._kube.delete(path, uid=found["metadata"].get("uid"))


def is_ours(thing: Object, session: str, uid: str | None = None) -> bool:
    """Whether a session made an object: by its label, or, where the product names it, by the id in its name."""
    metadata: dict[str, Any] = thing.get("metadata") or {}
    if uid is not None:
        return metadata.get("uid") == uid and labels_of(thing).get(LABEL) == session
    return labels_of(thing).get(LABEL) == session or session in str(metadata.get("name", ""))
