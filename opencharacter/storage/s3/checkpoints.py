"""Checkpoints in an object store."""

import json
import shutil
from pathlib import Path

from opencharacter.errors import OpenCharacterError
from opencharacter.hashing import digest, file_digests, tree_digest
from opencharacter.storage.s3.client import ObjectStore
from opencharacter.system.cache import cache_folder

_MARK = ".complete.json"


class S3Checkpoints:
    """`CheckpointStore` in an object store: files lie below `NAME/DIGEST/`; `NAME.complete.json` names the digest."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self.folder = cache_folder("mirrors", digest([store.endpoint, store.uri()])[:32])

    def names(self) -> list[str]:
        """See `CheckpointStore.names`."""
        marks = [listed.key for listed in self._store.below("") if "/" not in listed.key and listed.key.endswith(_MARK)]
        return sorted(key.removesuffix(_MARK) for key in marks)

    def download(self, name: str) -> Path:
        """See `CheckpointStore.download`."""
        tree, target = self._complete(name), self.folder / name
        if tree is None:
            raise OpenCharacterError(f"'{self._store.uri(name)}': does not exist or is incomplete")
        if target.is_dir() and tree_digest(target) == tree:
            return target
        draft = self.folder / f".{name}"
        self._store.download_tree(f"{name}/{tree}", draft)
        if tree_digest(draft) != tree:
            shutil.rmtree(draft)
            raise OpenCharacterError(
                f"'{self._store.uri(name)}': the downloaded files differ from those that were uploaded",
                hint="delete that prefix to continue from the previous checkpoint",
            )
        shutil.rmtree(target, ignore_errors=True)
        draft.rename(target)
        return target

    def upload(self, name: str) -> None:
        """See `CheckpointStore.upload`."""
        files = file_digests(self.folder / name)
        tree = digest(files)
        self._store.upload(self.folder / name, f"{name}/{tree}", files)
        self._store.put(f"{name}{_MARK}", json.dumps({"digest": tree}).encode())
        self._drop(f"{name}/", keep=f"{name}/{tree}/")

    def remove(self, name: str) -> None:
        """See `CheckpointStore.remove`."""
        self._store.delete([f"{name}{_MARK}"])
        self._drop(f"{name}/")
        shutil.rmtree(self.folder / name, ignore_errors=True)

    def clear(self) -> None:
        """See `CheckpointStore.clear`."""
        self._store.delete(f"{name}{_MARK}" for name in self.names())
        self._drop("")
        shutil.rmtree(self.folder, ignore_errors=True)

    def _complete(self, name: str) -> str | None:
        mark = self._store.get(f"{name}{_MARK}")
        return str(json.loads(mark.data)["digest"]) if mark else None

    def _drop(self, prefix: str, keep: str | None = None) -> None:
        keys = [listed.key for listed in self._store.below(prefix)]
        self._store.delete(key for key in keys if keep is None or not key.startswith(keep))
