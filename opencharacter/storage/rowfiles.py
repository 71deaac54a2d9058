"""The few file operations that the row store needs, and how a local disk does them."""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from opencharacter.errors import OpenCharacterError
from opencharacter.system.fsync import sync

_PARTIAL = ".partial-"


class Log(Protocol):
    """A file that only grows, open for appending by one writer."""

    def append(self, data: bytes) -> None:
        """Add `data`; on return it is durable (on an object store: within a flush interval).

        After an error the log holds what it held before the call.
        """

    def close(self) -> None:
        """Stop appending."""


class RowFiles(Protocol):
    """Named files below one root. Names are relative and hold at most one `/`.

    Every method raises `OpenCharacterError` where the medium fails (disk full, no permission).
    """

    def names(self, folder: str) -> list[str]:
        """The complete files of a folder, as `folder/file`, sorted."""

    def read(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        """The bytes of a file, or a range of them; shorter where the file ends."""

    def put(self, name: str, data: bytes) -> None:
        """Create or replace a file: all of it or nothing, durable on return."""

    def create(self, name: str, data: bytes) -> None:
        """`put` of a file that nobody has made yet."""

    def prefetch(self, names: list[str]) -> None:
        """Tell that many of these files will be read soon."""

    def delete(self, name: str) -> None:
        """Remove a file if it is there."""

    def open_log(self, name: str) -> Log:
        """Append to the file `name`, made if absent."""

    @contextmanager
    def lock(self, name: str, *, wait: bool) -> Iterator[bool]:
        """Hold an exclusive lock that dies with the process (on an object store: some time after it).

        Yields whether it was got (always, if `wait`).
        """


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
        with _told(self._root / name, "read"), (self._root / name).open("rb", buffering=0) as stream:
            stream.seek(start)
            return stream.read() if length is None else stream.read(length)

    def put(self, name: str, data: bytes) -> None:
        """See `RowFiles.put`."""
        path = self._path(name)
        with _told(path, "write"):
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
        """See `RowFiles.create`; the lock keeps others away."""
        self.put(name, data)

    def prefetch(self, names: list[str]) -> None:
        """See `RowFiles.prefetch`: they are near already."""

    def delete(self, name: str) -> None:
        """See `RowFiles.delete`."""
        with _told(self._root / name, "delete"):
            (self._root / name).unlink(missing_ok=True)

    def open_log(self, name: str) -> "LocalLog":
        """See `RowFiles.open_log`."""
        return LocalLog(self._path(name))

    @contextmanager
    def lock(self, name: str, *, wait: bool) -> Iterator[bool]:
        """See `RowFiles.lock`."""
        path = self._path(name)
        with _told(path, "open"):
            stream = path.open("w")
        with stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
            else:
                yield True

    def _path(self, name: str) -> Path:
        path = self._root / name
        with _told(path.parent, "create"):
            path.parent.mkdir(parents=True, exist_ok=True)
        return path


class LocalLog:
    """`Log` in a local file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with _told(path, "open"):
            self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            self._length = os.fstat(self._descriptor).st_size
            sync(path.parent)

    def append(self, data: bytes) -> None:
        """See `Log.append`."""
        with _told(self._path, "write"):
            try:
                rest = memoryview(data)
                while rest:
                    rest = rest[os.write(self._descriptor, rest) :]
                os.fsync(self._descriptor)
            except OSError:
                # A disk that is full takes a part of the data; a later append must not follow a torn line.
                with suppress(OSError):
                    os.ftruncate(self._descriptor, self._length)
                raise
        self._length += len(data)

    def close(self) -> None:
        """See `Log.close`."""
        os.close(self._descriptor)


@contextmanager
def _told(path: Path, verb: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OpenCharacterError(
            f"cannot {verb} {path}: {error.strerror or error}",
            hint="nothing finished is lost: see to the disk and run the same command again",
        ) from error
