"""Opening plain and compressed files (gzip, Zstandard, bzip2, xz); their first bytes identify them."""

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

import zstandard

from opencharacter.errors import UserError

_MAGIC = {b"\x28\xb5\x2f\xfd": "zstd", b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\0": "xz"}
_CHUNK = 1 << 17


class OpenFile(NamedTuple):
    """A file that is being read: its decompressed bytes, how it is compressed (empty: not), and its first bytes."""

    stream: io.BufferedReader
    compression: str
    head: bytes


@contextmanager
def open_bytes(path: Path, name: str, *, head: int = 0) -> Iterator[OpenFile]:
    """A file's decompressed bytes, of which the first `head` are given in advance.

    Raises `UserError` naming it as `name` if it cannot be read or is damaged.
    """
    try:
        with path.open("rb") as raw:
            stream, compression = _decompressed(raw)
            start = stream.read(head)
            yield OpenFile(io.BufferedReader(_Continued(start, stream), _CHUNK), compression, start)
    except FileNotFoundError as error:
        raise UserError(f"{name}: no such file") from error
    except (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, zstandard.ZstdError) as error:
        raise UserError(
            f"{name}: the compressed file is damaged or truncated: {error}", hint="download it again"
        ) from error
    except OSError as error:
        raise UserError(f"{name}: cannot be read: {error}") from error


def _decompressed(raw: io.BufferedReader) -> tuple[io.BufferedReader, str]:
    start = raw.peek(8)[:8]
    compression = next((name for magic, name in _MAGIC.items() if start.startswith(magic)), "")
    match compression:
        case "zstd":
            return io.BufferedReader(_ZstdFrames(raw), _CHUNK), compression
        case "gzip":
            return io.BufferedReader(gzip.GzipFile(fileobj=raw), _CHUNK), compression
        case "bzip2":
            return io.BufferedReader(bz2.BZ2File(raw), _CHUNK), compression
        case "xz":
            return io.BufferedReader(lzma.LZMAFile(raw), _CHUNK), compression
    return raw, ""


class _Continued(io.RawIOBase):
    """Bytes that were read already, and the stream that they come from."""

    def __init__(self, start: bytes, rest: BinaryIO) -> None:
        self._start = memoryview(start)
        self._rest = rest

    def readable(self) -> bool:
        return True

    def readinto(self, target) -> int:  # type: ignore[no-untyped-def]
        chunk = self._start or self._rest.read(len(target))
        count = min(len(target), len(chunk))
        target[:count] = chunk[:count]
        self._start = self._start[count:]
        return count


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
