"""Content addresses and seeded randomness: everything that must be the same on every machine and in every order."""

import hashlib
import json
from pathlib import Path
from typing import Any

_CHUNK = 1 << 20
# `json.dumps` makes an encoder for each call that has options, which takes as long as a short text does.
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces, so that equal values have equal text."""
    return _encode(value)


def digest(value: Any) -> str:
    """SHA-256 of a JSON value's canonical form, as 64 hex digits."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


class DigestTemplate:
    """`digest` of JSON values that differ in some texts only; a tenth of its time for each value."""

    def __init__(self, value: Any, *slots: str) -> None:
        """`value` holds each of the texts `slots` once, where the texts that differ go."""
        text = canonical_json(value)
        marks = sorted((text.index(_json_text(slot)), number) for number, slot in enumerate(slots))
        pieces = []
        for place, number in reversed(marks):
            text, after = text[:place], text[place + len(_json_text(slots[number])) :]
            pieces.append((number, after))
        self._head = hashlib.sha256(text.encode())
        self._pieces = pieces[::-1]

    def digest(self, *texts: str) -> str:
        """The digest of the value with `texts` in place of the slots."""
        hasher = self._head.copy()
        hasher.update("".join([_json_text(texts[number]) + after for number, after in self._pieces]).encode())
        return hasher.hexdigest()

    def seed64(self, *texts: str) -> int:
        """`seed64` of the value, which is a list."""
        return int(self.digest(*texts)[:16], 16)


_json_text = json.encoder.encode_basestring


def text_digest(text: str) -> str:
    """SHA-256 of a text's UTF-8 bytes, as 64 hex digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, as 64 hex digits."""
    hasher = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            hasher.update(chunk)
    return hasher.hexdigest()


def tree_digest(root: Path) -> str:
    """Digest of a folder: of the relative names and digests of the files below it."""
    return digest(file_digests(root))


def file_digests(root: Path) -> list[tuple[str, str]]:
    """Relative name and digest of each file below a folder, sorted; `tree_digest` is the digest of this list."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return [(path.relative_to(root).as_posix(), file_digest(path)) for path in files]


def seed64(*parts: Any) -> int:
    """A 64-bit seed that depends on `parts` only, never on order of work, shard count or concurrency."""
    return int(digest(list(parts))[:16], 16)


def fraction(*parts: Any) -> float:
    """A number in [0, 1) that depends on `parts` only; used for seeded splits and shares."""
    return seed64(*parts) / 2**64
