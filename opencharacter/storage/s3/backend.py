"""A workspace in an object store.

An output's files lie below `outputs/KIND/KEY/DIGEST/`, and `outputs/KIND/KEY/manifest.json`, which names that folder,
is written last. The first worker to write it makes the output.
"""

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from opencharacter.errors import OpenCharacterError
from opencharacter.hashing import digest, file_digest, file_digests
from opencharacter.storage.s3.checkpoints import S3Checkpoints
from opencharacter.storage.s3.client import ObjectStore
from opencharacter.storage.s3.rows import S3RowFiles

_MANIFEST = "manifest.json"


class S3Backend:
    """`StorageBackend` below `s3://BUCKET/PREFIX`. Outputs are made in a local folder (`TMPDIR`), then uploaded."""

    def __init__(self, uri: str) -> None:
        self._store = ObjectStore(uri)
        self.uri = self._store.uri()

    def check(self) -> None:
        """See `Workspace.check`."""
        self._store.require_conditional_writes()

    def read_manifest(self, kind: str, key: str) -> dict[str, Any] | None:
        """See `StorageBackend.read_manifest`."""
        name = f"outputs/{kind}/{key}/{_MANIFEST}"
        stored = self._store.get(name)
        if stored is None:
            return None
        try:
            manifest: dict[str, Any] = json.loads(stored.data)
            folder = manifest["uri"].rpartition("/")[2]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise OpenCharacterError(
                f"'{self._store.uri(name)}' is damaged", hint="delete that object and run again"
            ) from error
        # The prefix may have been copied to another bucket.
        return manifest | {"uri": self._store.uri(f"outputs/{kind}/{key}/{folder}")}

    def keys(self, kind: str) -> list[str]:
        """See `StorageBackend.keys`."""
        return self._store.folders(f"outputs/{kind}/")

    @contextmanager
    def scratch(self, kind: str, key: str) -> Iterator[Path]:
        """See `StorageBackend.scratch`."""
        self._store.require_conditional_writes()  # fails before hours of work, not after
        with tempfile.TemporaryDirectory(prefix=f"opencharacter-{kind}-", ignore_cleanup_errors=True) as folder:
            yield Path(folder)

    def commit(self, folder: Path, kind: str, key: str, manifest: Callable[[str, str], str]) -> None:
        """See `StorageBackend.commit`."""
        files = file_digests(folder)
        tree, prefix = digest(files), f"outputs/{kind}/{key}"
        uploaded = f"{prefix}/{tree[:16]}"
        self._store.upload(folder, uploaded, files)
        text = manifest(self._store.uri(uploaded), tree)
        self._store.put(f"{prefix}/{_MANIFEST}", text.encode(), if_absent=True)
        # Delete unreferenced files: those of unfinished commits, and of this one where another worker was first.
        committed = self.read_manifest(kind, key)
        if committed is not None:
            kept = (f"{committed['uri']}/", self._store.uri(f"{prefix}/{_MANIFEST}"))
            keys = [listed.key for listed in self._store.below(f"{prefix}/")]
            self._store.delete(name for name in keys if not self._store.uri(name).startswith(kept))

    def rows(self, name: str) -> S3RowFiles:
        """See `Workspace.rows`."""
        return S3RowFiles(ObjectStore(self._store.uri(f"rows/{name}")))

    def checkpoints(self, kind: str, key: str) -> S3Checkpoints:
        """See `Workspace.checkpoints`."""
        return S3Checkpoints(ObjectStore(self._store.uri(f"{kind}/{key}")))

    def quarantine(self, path: Path, name: str) -> str:
        """See `Workspace.quarantine`."""
        kept = path.rename(path.with_name(name))
        self._store.upload(kept.parent, "quarantine", [(name, file_digest(kept))])
        kept.unlink()
        return self._store.uri(f"quarantine/{name}")

    def write_log(self, name: str, text: str) -> str:
        """See `Workspace.write_log`."""
        self._store.put(f"logs/{name}", text.encode())
        return self._store.uri(f"logs/{name}")

    def read_log(self, name: str) -> str:
        """See `Workspace.read_log`."""
        stored = self._store.get(f"logs/{name}")
        return stored.data.decode(errors="replace") if stored else ""
