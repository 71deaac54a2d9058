"""What a place for data must offer: the backend of a workspace, the files of row stores, and checkpoints.

`local` and `s3` implement these protocols.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol


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


class CheckpointStore(Protocol):
    """A local folder whose sub-folders are kept in the workspace, each by its name."""

    folder: Path
    """The folder on this machine, there; stable, so that what a killed process left in it is found."""

    def names(self) -> list[str]:
        """The sub-folders that the workspace holds completely, sorted by name. (In a local workspace they are the
        folder's own; whether its writer was done with one, it must have noted there itself.)"""

    def download(self, name: str) -> Path:
        """Make a sub-folder local, as it was pushed, and return it. Raises `OpenCharacterError` if it is damaged."""

    def upload(self, name: str) -> None:
        """Keep the local sub-folder `name`. It is there for others at once, when all of it has arrived; an older one
        of this name stays until then."""

    def remove(self, name: str) -> None:
        """Forget a sub-folder, locally too."""

    def clear(self) -> None:
        """Forget all of them, and the local folder."""


class StorageBackend(Protocol):
    """What a workspace does where it lies. `Workspace` describes the methods that have its names."""

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
        """A folder to make an output in; removed afterwards, unless it was committed."""

    def commit(self, folder: Path, kind: str, key: str, manifest: Callable[[str, str], str]) -> None:
        """Make a folder the output of that address, all of it at once, unless there is one.

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
