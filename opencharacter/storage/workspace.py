"""The workspace of a run: step outputs by content address (docs/design.md, decision 2)."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from opencharacter.errors import OpenCharacterError
from opencharacter.storage.artifacts import Artifact, ArtifactDraft, local_path
from opencharacter.storage.local import LocalBackend
from opencharacter.storage.protocols import CheckpointStore, RowFiles, StorageBackend
from opencharacter.storage.s3.backend import S3Backend
from opencharacter.storage.s3.client import OBJECT_SCHEME

__all__ = ["Artifact", "ArtifactDraft", "Workspace", "local_path"]


class Workspace:
    """A run's workspace, in a local folder or below `s3://BUCKET/PREFIX`."""

    def __init__(self, root: str | Path) -> None:
        uri = str(root)
        self._backend: StorageBackend = (
            S3Backend(uri) if uri.startswith(OBJECT_SCHEME) else LocalBackend(local_path(uri))
        )

    @property
    def uri(self) -> str:
        """Its address, as `Workspace` takes it."""
        return self._backend.uri

    def check(self) -> None:
        """Raise `UserError` if it cannot be written to: no such bucket, no permission, a store without conditions."""
        self._backend.check()

    def lookup(self, kind: str, key: str) -> Artifact | None:
        """The committed output of `kind` and `key`, if there is one."""
        manifest = self._backend.read_manifest(kind, key)
        try:
            return None if manifest is None else Artifact.model_validate(manifest)
        except ValidationError as error:
            raise OpenCharacterError(
                f"the manifest of '{self.uri}/outputs/{kind}/{key}' is damaged", hint="delete it and run again"
            ) from error

    def list(self, kind: str) -> list[Artifact]:
        """All committed outputs of a kind."""
        return [artifact for key in self._backend.keys(kind) if (artifact := self.lookup(kind, key))]

    @contextmanager
    def create(self, kind: str, key: str) -> Iterator[ArtifactDraft]:
        """A local folder to write an output into; committed at once when the block ends without an error.

        The draft's counts and stats go into the manifest. After an error there is no output. If another worker has
        committed the same content address first, its output is used: it is equivalent.
        """
        with self._backend.scratch(kind, key) as folder:
            draft = ArtifactDraft(folder)
            yield draft
            self._backend.commit(draft.path, kind, key, lambda uri, digest: draft.manifest(kind, key, uri, digest))
            draft.artifact = self.lookup(kind, key)

    def rows(self, name: str) -> RowFiles:
        """The files of the row store `name`, for `open_rows` and `read_rows`."""
        return self._backend.rows(name)

    def checkpoints(self, kind: str, key: str) -> CheckpointStore:
        """A local folder whose sub-folders can be stored in the workspace below `kind/key`."""
        return self._backend.checkpoints(kind, key)

    def quarantine(self, path: Path, name: str) -> str:
        """Move a file of a rejected output into the folder `quarantine`. Returns its address."""
        return self._backend.quarantine(path, name)

    def write_log(self, name: str, text: str) -> str:
        """Write a short log into the folder `logs`, replacing an earlier one of that name. Returns its address."""
        return self._backend.write_log(name, text)

    def read_log(self, name: str) -> str:
        """The log of that name, empty if there is none."""
        return self._backend.read_log(name)
