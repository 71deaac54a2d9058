"""The protocols that `local` and `s3` implement: a workspace's backend, row stores' files, and checkpoints."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol


class Log(Protocol):
    """A file that only grows, open for appending by one writer."""

    def append(self, data: bytes) -> None:
        """Add `data`; on return it is durable (on an object store: within a flush interval).

        After an error the log is as it was before the call.
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
        """Create or replace a file atomically; it is durable on return."""

    def create(self, name: str, data: bytes) -> None:
        """`put` of a file that does not exist yet."""

    def prefetch(self, names: list[str]) -> None:
        """Prepare to read these files soon."""

    def delete(self, name: str) -> None:
        """Remove a file if it exists."""

    def open_log(self, name: str) -> Log:
        """Append to the file `name`, which is created if absent."""

    @contextmanager
    def lock(self, name: str, *, wait: bool) -> Iterator[bool]:
        """Hold an exclusive lock that dies with the process (on an object store: some time after it).

        Yields whether the lock was acquired (always, if `wait`).
        """


class CheckpointStore(Protocol):
    """A local folder whose sub-folders are stored in the workspace by name."""

    folder: Path
    """The folder on this machine. It exists, and its path is stable: a restarted process finds its files."""

    def names(self) -> list[str]:
        """The complete sub-folders in the workspace, sorted by name.

        A local workspace lists all sub-folders: there the writer itself must mark complete ones.
        """

    def download(self, name: str) -> Path:
        """Copy a sub-folder to this machine and return it. Raises `OpenCharacterError` if it is damaged."""

    def upload(self, name: str) -> None:
        """Store the local sub-folder `name`. It replaces an older one of this name once it has arrived completely."""

    def remove(self, name: str) -> None:
        """Remove a sub-folder, locally too."""

    def clear(self) -> None:
        """Remove all sub-folders and the local folder."""


class StorageBackend(Protocol):
    """How a workspace stores its data. `Workspace` describes the methods of the same name."""

    uri: str

    def check(self) -> None:
        """See `Workspace.check`."""

    def read_manifest(self, kind: str, key: str) -> dict[str, Any] | None:
        """The manifest of a committed output, if there is one; its `uri` is where the output lies now.

        Raises `OpenCharacterError` if it is damaged.
        """

    def keys(self, kind: str) -> list[str]:
        """Keys of the outputs of a kind, perhaps of unfinished ones too."""

    @contextmanager
    def scratch(self, kind: str, key: str) -> Iterator[Path]:
        """A folder to make an output in; removed afterwards unless it was committed."""

    def commit(self, folder: Path, kind: str, key: str, manifest: Callable[[str, str], str]) -> None:
        """Make a folder the output of that address, atomically, unless there is one.

        `manifest` returns the manifest's text for the output's URI and digest.
        """

    def rows(self, name: str) -> RowFiles:
        """See `Workspace.rows`."""

    def checkpoints(self, kind: str, key: str) -> CheckpointStore:
        """See `Workspace.checkpoints`."""

    def quarantine(self, path: Path, name: str) -> str:
        """See `Workspace.quarantine`."""

    def write_log(self, name: str, text: str) -> str:
        """See `Workspace.write_log`."""

    def read_log(self, name: str) -> str:
        """See `Workspace.read_log`."""
