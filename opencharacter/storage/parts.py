"""Parts: immutable files of finished rows. An index comes first, so that opening a part reads no row.

The first line of a part is `{"rows": [[row id, length, CRC-32, label], ...]}`. The rows follow in the same order, one
JSON object a line; `length` excludes the newline.
"""

import json
import zlib
from collections.abc import Iterable
from typing import Any, NamedTuple

from opencharacter.errors import OpenCharacterError
from opencharacter.hashing import canonical_json
from opencharacter.storage.protocols import RowFiles

_HEAD = 1 << 16


class FinishedRow(NamedTuple):
    """A row to be stored: its content address, a short label (such as its status), its content, and its bucket."""

    row_id: str
    label: str
    payload: dict[str, Any]
    bucket: int


class RowLocation(NamedTuple):
    """The position of a stored row in its part."""

    part: str
    start: int
    length: int
    checksum: int
    label: str


def encode_part(part: str, rows: Iterable[FinishedRow]) -> tuple[bytes, dict[str, RowLocation]]:
    """The bytes of the part of that name, and what `read_index` will read from it."""
    index: list[list[Any]] = []
    bodies: list[bytes] = []
    for row in rows:
        body = canonical_json(row.payload).encode()
        index.append([row.row_id, len(body), zlib.crc32(body), row.label])
        bodies.append(body)
    head = canonical_json({"rows": index}).encode()
    return b"\n".join([head, *bodies, b""]), _locate(part, len(head), index)


def read_index(files: RowFiles, part: str) -> dict[str, RowLocation]:
    """The rows of a part by id, without their content. Raises `OpenCharacterError` if the part is damaged."""
    head = files.read(part, 0, _HEAD)
    while b"\n" not in head:
        more = files.read(part, len(head), len(head))
        if not more:
            raise _damaged(files, part)
        head += more
    line, _, _ = head.partition(b"\n")
    try:
        index = json.loads(line)["rows"]
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(files, part) from error
    return _locate(part, len(line), index)


def read_row(files: RowFiles, location: RowLocation) -> dict[str, Any]:
    """The content of a stored row. Raises `OpenCharacterError` if it is damaged."""
    body = files.read(location.part, location.start, location.length)
    if zlib.crc32(body) != location.checksum:
        raise _damaged(files, location.part)
    row: dict[str, Any] = json.loads(body)
    return row


def _locate(part: str, head: int, index: Iterable[Iterable[Any]]) -> dict[str, RowLocation]:
    """The rows of an index that takes `head` bytes before its newline."""
    locations: dict[str, RowLocation] = {}
    start = head + 1
    for row_id, length, checksum, label in index:
        locations[row_id] = RowLocation(part, start, length, checksum, label)
        start += length + 1
    return locations


def _damaged(files: RowFiles, part: str) -> OpenCharacterError:
    return OpenCharacterError(
        f"{files}/{part} is damaged", hint="delete that file and run again: its rows will be made again"
    )
