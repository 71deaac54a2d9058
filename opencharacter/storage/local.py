"""A workspace in a local folder."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from opencharacter.errors import OpenCharacterError
from opencharacter.hashing import tree_digest
from opencharacter.storage.artifacts import Artifact, ArtifactDraft
from opencharacter.storage.checkpoints import LocalCheckpoints
from opencharacter.storage.rowfiles import LocalRowFiles
from opencharacter.system.fsync import sync, sync_tree

_MANIFEST = "manifest.json"


class LocalBackend:
    """`workspace.StorageBackend` on a local disk: outputs are committed by one rename."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.uri = str(self.root)

    def check(self) -> None:
        """See `Workspace.check`: a disk tells when it is written to."""

    def lookup(self, kind: str, key: str) -> Artifact | None:
        """See `Workspace.lookup`."""
        return self._read_manifest(self.root / "outputs" / kind / key)

    def keys(self, kind: str) -> list[str]:
        """See `StorageBackend.keys`."""
        return sorted(path.name for path in (self.root / "outputs" / kind).glob("*"))

    @contextmanager
    def scratch(self, kind: str, key: str) -> Iterator[Path]:
        """See `StorageBackend.scratch`."""
        parent = self.root / "outputs" / kind
        parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{key[:12]}-", dir=parent))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def commit(self, draft: ArtifactDraft, kind: str, key: str) -> None:
        """See `StorageBackend.commit`."""
        target = self.root / "outputs" / kind / key
        ref = draft.as_artifact(kind, key, str(target), tree_digest(draft.path))
        (draft.path / _MANIFEST).write_text(ref.model_dump_json(indent=2), encoding="utf-8")
        draft.path.chmod(0o755)
        sync_tree(draft.path)
        try:
            draft.path.rename(target)
        except OSError:
            # Another worker committed the same content address first: its output is as good as ours.
            if self._read_manifest(target) is None:
                raise
        sync(target.parent)

    def rows(self, name: str) -> LocalRowFiles:
        """See `Workspace.rows`."""
        return LocalRowFiles(self.root / "rows" / name)

    def checkpoints(self, kind: str, key: str) -> LocalCheckpoints:
        """See `Workspace.checkpoints`."""
        return LocalCheckpoints(self.root / kind / key)

    def quarantine(self, path: Path, name: str) -> str:
        """See `Workspace.quarantine`."""
        target = self.root / "quarantine" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(path, target)
        return str(target)

    def write_log(self, name: str, text: str) -> str:
        """See `Workspace.write_log`."""
        target = self.root / "logs" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = target.with_name(f".{target.name}")
        draft.write_text(text, encoding="utf-8")
        os.replace(draft, target)
        return str(target)

    def read_log(self, name: str) -> str:
        """See `Workspace.read_log`."""
        path = self.root / "logs" / name
        return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""

    def _read_manifest(self, folder: Path) -> Artifact | None:
        try:
            raw = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except ValueError as error:
            raise OpenCharacterError(
                f"{folder / _MANIFEST} is damaged: {error}", hint="delete that folder and run again"
            ) from error
        return Artifact.model_validate(raw | {"uri": str(folder)})
