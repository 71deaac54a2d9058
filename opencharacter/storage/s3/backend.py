"""A workspace in an object store.

An output's files lie below `outputs/KIND/KEY/DIGEST/`, and `outputs/KIND/KEY/manifest.json`, which names that folder,
is written last: whoever writes it first has made the output.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from opencharacter.errors import OpenCharacterError
from opencharacter.hashing import digest, file_digest, file_digests
from opencharacter.storage.artifacts import Artifact, ArtifactDraft
from opencharacter.storage.checkpoints import S3Checkpoints
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

    def lookup(self, kind: str, key: str) -> Artifact | None:
        """See `Workspace.lookup`."""
        name = f"outputs/{kind}/{key}/{_MANIFEST}"
        stored = self._store.get(name)
        if stored is None:
            return None
        try:
            ref = Artifact.model_validate_json(stored.data)
        except ValidationError as error:
            raise OpenCharacterError(
                f"'{self._store.uri(name)}' is damaged", hint="delete that object and run again"
            ) from error
        # The prefix may have been copied to another bucket.
        return ref.model_copy(update={"uri": self._store.uri(f"outputs/{kind}/{key}/{ref.uri.rpartition('/')[2]}")})

    def keys(self, kind: str) -> list[str]:
        """See `StorageBackend.keys`."""
        return self._store.folders(f"outputs/{kind}/")

    @contextmanager
    def scratch(self, kind: str, key: str) -> Iterator[Path]:
        """See `StorageBackend.scratch`."""
        self._store.require_conditional_writes()  # found out now, and not when hours of work are to be kept
        with tempfile.TemporaryDirectory(prefix=f"opencharacter-{kind}-", ignore_cleanup_errors=True) as folder:
            yield Path(folder)

    def commit(self, draft: ArtifactDraft, kind: str, key: str) -> None:
        """See `StorageBackend.commit`."""
        files = file_digests(draft.path)
        tree, folder = digest(files), f"outputs/{kind}/{key}"
        ours = f"{folder}/{tree[:16]}"
        self._store.upload(draft.path, ours, files)
        ref = draft.as_artifact(kind, key, self._store.uri(ours), tree)
        self._store.put(f"{folder}/{_MANIFEST}", ref.model_dump_json(indent=2).encode(), if_absent=True)
        # What others have begun, or this call where another was first, has nobody to point at it.
        committed = self.lookup(kind, key)
        if committed is not None:
            kept = (f"{committed.uri}/", self._store.uri(f"{folder}/{_MANIFEST}"))
            left = [each.key for each in self._store.below(f"{folder}/")]
            self._store.delete(name for name in left if not self._store.uri(name).startswith(kept))

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
