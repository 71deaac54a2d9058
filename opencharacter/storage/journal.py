"""The journal: a file that makes LLM calls durable one by one, and is read only after a crash."""

import asyncio
import json
import logging
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from opencharacter.hashing import canonical_json
from opencharacter.storage.background import Background
from opencharacter.storage.protocols import Log, RowFiles

_log = logging.getLogger(__name__)

_SLOW_S = 0.002
_LONGEST_LINGER_S = 0.01


class Call(NamedTuple):
    """One finished call of a row."""

    row_id: str
    key: str
    payload: dict[str, Any]


def encode_call(call: Call) -> bytes:
    """A journal line: CRC-32 of the JSON in hex, a space, `[row id, key, payload]`, a newline."""
    body = canonical_json([call.row_id, call.key, call.payload]).encode()
    return b"%08x %s\n" % (zlib.crc32(body), body)


def encode_calls(calls: Iterable[Call]) -> bytes:
    """The content of a journal file."""
    return b"".join(map(encode_call, calls))


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
    """One writer's journal. Calls that arrive while the disk is busy share the next write (group commit).

    It is the file `name`, and after `replace` files whose names begin with `name` and a dot.
    """

    def __init__(self, files: RowFiles, name: str) -> None:
        self._files = files
        self._name = name
        self._names = [name]
        self._replaced = 0
        self._log = files.open_log(name)
        self._disk = asyncio.Lock()
        self._batch: list[bytes] = []
        self._batch_written: asyncio.Task[None] | None = None
        self._linger_s = 0.0
        self._work = Background()

    async def append(self, call: Call) -> None:
        """Return once the call is durable. A cancelled caller does not stop the write."""
        self._batch.append(encode_call(call))
        if self._batch_written is None:
            self._batch_written = self._work.start(self._write_batch())
        await asyncio.shield(self._batch_written)

    async def replace(self, kept: Callable[[], list[Call]]) -> None:
        """Continue in a new file, write the calls of `kept` beside it, and delete the files before.

        `kept` is called once the new file is in use. Appends do not wait for the rest.
        """
        await self._work.run(self._replace(kept))

    async def close(self, *, delete: bool = False) -> None:
        """Wait for pending writes and close the file; `delete` it if its calls are no longer needed."""
        await self._work.drain()
        self._log.close()
        if delete:
            for name in self._names:
                self._files.delete(name)

    async def _write_batch(self) -> None:
        # On a slow disk a write carries more calls if it waits for those that come in the meantime.
        if self._linger_s:
            await asyncio.sleep(self._linger_s)
        async with self._disk:
            lines, self._batch, self._batch_written = self._batch, [], None
            await asyncio.to_thread(self._append, b"".join(lines))

    def _append(self, lines: bytes) -> None:
        began = time.monotonic()
        self._log.append(lines)
        took = time.monotonic() - began
        self._linger_s = min(took, _LONGEST_LINGER_S) if took > _SLOW_S else 0.0

    async def _replace(self, kept: Callable[[], list[Call]]) -> None:
        self._replaced += 1
        name, kept_name = f"{self._name}.{self._replaced}", f"{self._name}.{self._replaced}-kept"
        log = await asyncio.to_thread(self._files.open_log, name)
        async with self._disk:
            before, self._log = self._log, log
            calls = kept()
        past, self._names = self._names, [*self._names, name, kept_name]
        await asyncio.to_thread(self._retire, before, past, kept_name, calls)
        self._names = [name, kept_name]

    def _retire(self, log: Log, names: list[str], kept_name: str, calls: list[Call]) -> None:
        try:
            if calls:
                self._files.put(kept_name, encode_calls(calls))
        finally:
            log.close()
        for name in names:
            self._files.delete(name)
