"""The keys file, read again when it changes, as a mounted Secret does."""

import asyncio
import logging
from pathlib import Path

from opencharacter.serving.endpoint.access.keys import KeyTable, Limits, read_keys

_POLL_S = 5.0

_logger = logging.getLogger("kserve")


class KeyFile:
    """The keys of a file. Raises `UserError` at first for one that cannot be used; later the last good one stays."""

    def __init__(self, path: Path, defaults: Limits) -> None:
        self._path, self._defaults = path, defaults
        self._seen = _version(path)
        self.table: KeyTable = read_keys(path, defaults)

    async def watch(self) -> None:
        """Look for changes until cancelled."""
        while True:
            await asyncio.sleep(_POLL_S)
            await self.refresh()

    async def refresh(self) -> None:
        """Read the file if it has changed."""
        version = _version(self._path)
        if version == self._seen:
            return
        self._seen = version
        try:
            self.table = await asyncio.to_thread(read_keys, self._path, self._defaults)
        except Exception as error:  # whatever the file holds, the next change is looked for
            _logger.error("the API keys stay as they were: %s", error)
        else:
            _logger.info("read the API keys of %s again", self._path)


def _version(path: Path) -> tuple[int, int, int] | None:
    """Changes with the file, also where Kubernetes swaps the link that leads to it."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
