"""Opening plain, gzip and Zstandard files; their first bytes identify them."""

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import zstandard

from opencharacter.errors import UserError

_ZSTD, _GZIP = b"\x28\xb5\x2f\xfd", b"\x1f\x8b"
_CHUNK = 1 << 17


@contextmanager
def open_bytes(path: Path, name: str) -> Iterator[io.BufferedReader]:
    """The decompressed bytes of a file. Raises `UserError` naming it as `name` if it cannot be read or is damaged."""
    try:
        with path.open("rb") as raw:
            yield _decompressed(raw)
    except FileNotFoundError as error:
        raise UserError(f"{name}: no such file") from error
    except (EOFError, gzip.BadGzipFile, zlib.error, zstandard.ZstdError) as error:
        raise UserError(
            f"{name}: the compressed file is damaged or truncated: {error}", hint="download it again"
        ) from error
    except OSError as error:
        raise UserError(f"{name}: cannot be read: {error}") from error


def _decompressed(raw: io.BufferedReader) -> io.BufferedReader:
    magic = raw.peek(4)[:4]
    if magic == _ZSTD:
        return io.BufferedReader(_ZstdFrames(raw), _CHUNK)
    if magic[:2] == _GZIP:
        return io.BufferedReader(gzip.GzipFile(fileobj=raw), _CHUNK)
    return raw


class _ZstdFrames(io.RawIOBase):
    """All frames of a Zstandard file. zstandard's own reader does not notice a truncated file."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw
        self._frame = zstandard.ZstdDecompressor().decompressobj()
        self._input = b""
        self._started = False
        self._output = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, target) -> int:  # type: ignore[no-untyped-def]
        while not self._output:
            self._input = self._input or self._raw.read(_CHUNK)
            if not self._input:
                if self._started:
                    raise EOFError("the last frame is not complete")
                return 0
            self._decompress()
        count = min(len(target), len(self._output))
        target[:count] = self._output[:count]
        self._output = self._output[count:]
        return count

    def _decompress(self) -> None:
        self._output = memoryview(self._frame.decompress(self._input))
        self._started, self._input = not self._frame.eof, b""
        if self._frame.eof:
            self._input = self._frame.unused_data
            self._frame = zstandard.ZstdDecompressor().decompressobj()
