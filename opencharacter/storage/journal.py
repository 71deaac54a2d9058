"""The journal: a file that makes LLM calls durable one by one, and is read only after a crash."""

import asyncio
import json
import logging
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from opencharacter.hashing import canonical_json
from opencharacter.storage.background import Background
from opencharacter.storage.protocols import RowFiles

_log = logging.getLogger(__name__)


class Call(NamedTuple):
    """One finished call of a row."""

    row_id: str
    key: str
    payload: dict[str, Any]


def encode_call(call: Call) -> bytes:
    """A journal line: CRC-32 of the JSON in hex, a space, `[row id, key, payload]`, a newline."""
    body = canonical_json([call.row_id, call.key, call.payload]).encode()
    return b"%08x %s\n" % (zlib.crc32(body), body)


def decode_calls(name: str, data: bytes) -> Iterator[Call]:
    """The calls of a journal file.

    An incomplete last line, left by a crash, is skipped: its call was never reported as finished. An earlier damaged
    line is skipped with a warning, and its call is made again.
    """
    lines = data.split(b"\n")
    for number, line in enumerate(lines, 1):
        call = _decode_line(line)
        if call is not None:
            yield call
        elif any(lines[number:]):
            _log.warning("%s:%d: damaged line; its call will be made again", name, number)


def _decode_line(line: bytes) -> Call | None:
    checksum, _, body = line.partition(b" ")
    if checksum != b"%08x" % zlib.crc32(body) or not body:
        return None
    return Call(*json.loads(body))


class Journal:
    """One writer's journal file. Calls that arrive while the disk is busy share the next write (group commit)."""

    def __init__(self, files: RowFiles, name: str) -> None:
        self._files = files
        self._name = name
        self._log = files.open_log(name)
        self._disk = asyncio.Lock()
        self._batch: list[bytes] = []
        self._batch_written: asyncio.Task[None] | None = None
        self._work = Background()

    async def append(self, call: Call) -> None:
        """Return once the call is durable. A cancelled caller does not stop the write."""
        self._batch.append(encode_call(call))
        if self._batch_written is None:
            self._batch_written = self._work.start(self._write_batch())
        await asyncio.shield(self._batch_written)

    async def rewrite(self, calls: Callable[[], Iterable[Call]]) -> None:
        """Replace the file by one that holds only these calls; `calls` is read once no other write is under way."""
        await self._work.run(self._replace(calls))

    async def close(self, *, delete: bool = False) -> None:
        """Wait for pending writes and close the file; `delete` it if its calls are no longer needed."""
        await self._work.drain()
        self._log.close()
        if delete:
            self._files.delete(self._name)

    async def _write_batch(self) -> None:
        async with self._disk:
            lines, self._batch, self._batch_written = self._batch, [], None
            await asyncio.to_thread(self._log.append, b"".join(lines))

    async def _replace(self, calls: Callable[[], Iterable[Call]]) -> None:
        async with self._disk:
            await asyncio.to_thread(self._files.put, self._name, b"".join(map(encode_call, calls())))
            self._log.close()
            self._log = self._files.open_log(self._name)
