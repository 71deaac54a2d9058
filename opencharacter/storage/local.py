"""Storage in a local folder."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from opencharacter.errors import OpenCharacterError
from opencharacter.hashing import tree_digest
from opencharacter.system.fsync import sync, sync_tree
from opencharacter.system.locks import Locked, file_lock

_MANIFEST = "manifest.json"
_PARTIAL = ".partial-"


class LocalBackend:
    """`StorageBackend` on a local disk: outputs are committed by one rename."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.uri = str(self.root)

    def check(self) -> None:
        """See `Workspace.check`: a disk reports errors when it is written to."""

    def read_manifest(self, kind: str, key: str) -> dict[str, Any] | None:
        """See `StorageBackend.read_manifest`."""
        folder = self.root / "outputs" / kind / key
        try:
            manifest: dict[str, Any] = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
            return manifest | {"uri": str(folder)}
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (ValueError, TypeError) as error:
            raise OpenCharacterError(
                f"{folder / _MANIFEST} is damaged: {error}", hint="delete that folder and run again"
            ) from error

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

    def commit(self, folder: Path, kind: str, key: str, manifest: Callable[[str, str], str]) -> None:
        """See `StorageBackend.commit`."""
        target = self.root / "outputs" / kind / key
        (folder / _MANIFEST).write_text(manifest(str(target), tree_digest(folder)), encoding="utf-8")
        folder.chmod(0o755)
        sync_tree(folder)
        try:
            folder.rename(target)
        except OSError:
            # Another worker may have committed the same content address first; its output is equivalent.
            if self.read_manifest(kind, key) is None:
                raise
        sync(target.parent)

    def rows(self, name: str) -> "LocalRowFiles":
        """See `Workspace.rows`."""
        return LocalRowFiles(self.root / "rows" / name)

    def checkpoints(self, kind: str, key: str) -> "LocalCheckpoints":
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


class LocalRowFiles:
    """`RowFiles` in a folder of a local disk, or of a network file system with POSIX semantics."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def __str__(self) -> str:
        return str(self._root)

    def names(self, folder: str) -> list[str]:
        """See `RowFiles.names`."""
        try:
            entries = os.listdir(self._root / folder)
        except FileNotFoundError:
            return []
        return sorted(f"{folder}/{entry}" for entry in entries if not entry.startswith(_PARTIAL))

    def read(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        """See `RowFiles.read`."""
        with _disk_errors(self._root / name, "read"), (self._root / name).open("rb", buffering=0) as stream:
            stream.seek(start)
            return stream.read() if length is None else stream.read(length)

    def put(self, name: str, data: bytes) -> None:
        """See `RowFiles.put`."""
        path = self._path(name)
        with _disk_errors(path, "write"):
            descriptor, partial = tempfile.mkstemp(prefix=_PARTIAL, dir=path.parent)
            try:
                with os.fdopen(descriptor, "wb") as stream:
                    stream.write(data)
                    stream.flush()
                    os.fsync(descriptor)
                os.replace(partial, path)
            except BaseException:
                with suppress(FileNotFoundError):
                    os.unlink(partial)
                raise
            sync(path.parent)

    def create(self, name: str, data: bytes) -> None:
        """See `RowFiles.create`; the lock excludes other writers."""
        self.put(name, data)

    def prefetch(self, names: list[str]) -> None:
        """See `RowFiles.prefetch`: local files need no preparation."""

    def delete(self, name: str) -> None:
        """See `RowFiles.delete`."""
        with _disk_errors(self._root / name, "delete"):
            (self._root / name).unlink(missing_ok=True)

    def open_log(self, name: str) -> "LocalLog":
        """See `RowFiles.open_log`."""
        return LocalLog(self._path(name))

    @contextmanager
    def lock(self, name: str, *, wait: bool) -> Iterator[bool]:
        """See `RowFiles.lock`."""
        path = self._path(name)
        with ExitStack() as held:
            try:
                with _disk_errors(path, "open"):
                    held.enter_context(file_lock(path, wait=wait))
                acquired = True
            except Locked:
                acquired = False
            yield acquired

    def _path(self, name: str) -> Path:
        path = self._root / name
        with _disk_errors(path.parent, "create"):
            path.parent.mkdir(parents=True, exist_ok=True)
        return path


class LocalLog:
    """`Log` in a local file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with _disk_errors(path, "open"):
            self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            self._length = os.fstat(self._descriptor).st_size
            sync(path.parent)

    def append(self, data: bytes) -> None:
        """See `Log.append`."""
        with _disk_errors(self._path, "write"):
            try:
                rest = memoryview(data)
                while rest:
                    rest = rest[os.write(self._descriptor, rest) :]
                os.fsync(self._descriptor)
            except OSError:
                # A full disk writes part of the data; a later append must not follow an incomplete line.
                with suppress(OSError):
                    os.ftruncate(self._descriptor, self._length)
                raise
        self._length += len(data)

    def close(self) -> None:
        """See `Log.close`."""
        os.close(self._descriptor)


class LocalCheckpoints:
    """`CheckpointStore` in a local workspace: the local folder is the stored one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def names(self) -> list[str]:
        """See `CheckpointStore.names`."""
        return sorted(path.name for path in self.folder.iterdir() if path.is_dir())

    def download(self, name: str) -> Path:
        """See `CheckpointStore.download`."""
        return self.folder / name

    def upload(self, name: str) -> None:
        """See `CheckpointStore.upload`."""

    def remove(self, name: str) -> None:
        """See `CheckpointStore.remove`."""
        shutil.rmtree(self.folder / name, ignore_errors=True)

    def clear(self) -> None:
        """See `CheckpointStore.clear`."""
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def _disk_errors(path: Path, verb: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OpenCharacterError(
            f"cannot {verb} {path}: {error.strerror or error}",
            hint="finished work is kept: check the disk and run the same command again",
        ) from error
