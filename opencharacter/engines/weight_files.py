"""Whether the files of a model folder are whole: each shard is there, is no pointer, and has the length it states."""

import json
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

from opencharacter.errors import UserError
from opencharacter.records.identify import POINTER_HINT, pointer_fault
from opencharacter.storage.s3.client import ObjectStore

WEIGHTS = "*.safetensors"
_DESCRIPTIONS = ("*.json", "*.jinja", "*.model", "tokenizer*", "vocab*", "merges*")
_INDEX = "model.safetensors.index.json"
_LONGEST_POINTER = 1024  # bytes, by Git LFS's specification
_LONGEST_HEADER = 100_000_000  # bytes, by safetensors' specification
_AGAIN = "download or copy the model again; for a Git repository: git lfs pull"


class ModelFiles(NamedTuple):
    """The files of a model folder: their sizes by name, and how to read a file's first bytes."""

    name: str
    sizes: Mapping[str, int]
    read: Callable[[str, int], bytes]

    @classmethod
    def in_folder(cls, folder: Path, name: str) -> "ModelFiles":
        """The files of a folder of this machine, which messages call `name`."""

        def read(file: str, length: int) -> bytes:
            with (folder / file).open("rb") as stream:
                return stream.read(length)

        return cls(name, {path.name: path.stat().st_size for path in folder.iterdir() if path.is_file()}, read)

    @classmethod
    def in_store(cls, uri: str) -> "ModelFiles":
        """The files below a prefix of an object store; nothing but the bytes that are read is fetched."""
        store = ObjectStore(uri.rstrip("/"))

        def read(file: str, length: int) -> bytes:
            stored = store.get(file, first=length) if length else None
            return stored.data if stored else b""

        return cls(uri.rstrip("/"), {entry.key: entry.size for entry in store.below("") if "/" not in entry.key}, read)

    def matching(self, *patterns: str) -> list[str]:
        """The files of these names, sorted."""
        return sorted(file for file in self.sizes if any(fnmatch(file, pattern) for pattern in patterns))


def require_model(files: ModelFiles, *, weights: bool = True) -> None:
    """Raise `UserError`, naming the file, if these are not the files of a whole model with safetensors.

    Without `weights`, only configuration and tokenizer are looked at.
    """
    if "config.json" not in files.sizes:
        raise UserError(f"{files.name}: no config.json; expected a Hugging Face model folder")
    require_whole(files, weights=weights)
    if weights and not files.matching(WEIGHTS):
        raise UserError(f"{files.name}: the folder holds no safetensors; other weight formats are not loaded")


def require_whole(files: ModelFiles, *, weights: bool = True) -> None:
    """Raise `UserError`, naming the file, if one is a pointer, absent or cut off."""
    for file in files.matching(*_DESCRIPTIONS):
        _require_no_pointer(files, file)
    for shard in sorted(_shards(files)) if weights else ():
        _require_whole_shard(files, shard)


def _shards(files: ModelFiles) -> Iterator[str]:
    """The names of the files that hold the weights."""
    if _INDEX not in files.sizes:
        yield from files.matching(WEIGHTS)
        return
    content = _read_json(files.read(_INDEX, files.sizes[_INDEX]), f"{files.name}/{_INDEX}")
    named = content.get("weight_map")
    if not isinstance(named, dict) or not all(isinstance(file, str) and file for file in named.values()):
        raise UserError(f"{files.name}/{_INDEX}: names no files of weights under 'weight_map'", hint=_AGAIN)
    for file in sorted(set(named.values())):
        if file not in files.sizes:
            raise UserError(f"{files.name}/{file}: no such file, though {_INDEX} names it", hint=_AGAIN)
        yield file


def _require_no_pointer(files: ModelFiles, file: str) -> None:
    size = files.sizes[file]
    if size <= _LONGEST_POINTER and (fault := pointer_fault(files.read(file, size))):
        raise UserError(f"{files.name}/{file}: {fault}", hint=POINTER_HINT)


def _require_whole_shard(files: ModelFiles, file: str) -> None:
    _require_no_pointer(files, file)
    name, size = f"{files.name}/{file}", files.sizes[file]
    length = int.from_bytes(files.read(file, 8), "little") if size >= 8 else 0
    if not 2 <= length <= _LONGEST_HEADER:
        raise UserError(f"{name}: not a safetensors file ({size:,} bytes)", hint=_AGAIN)
    if size < 8 + length:
        raise UserError(f"{name}: cut off: {size:,} bytes, and its header alone has {8 + length:,}", hint=_AGAIN)
    header = _read_json(files.read(file, 8 + length)[8:], name)
    header.pop("__metadata__", None)
    try:
        stated = 8 + length + max((int(tensor["data_offsets"][1]) for tensor in header.values()), default=0)
    except (LookupError, TypeError, ValueError) as error:
        raise UserError(f"{name}: not a safetensors file: a tensor has no place in it", hint=_AGAIN) from error
    if size != stated:
        what = "cut off" if size < stated else "too long"
        raise UserError(f"{name}: {what}: {size:,} bytes, expected {stated:,}", hint=_AGAIN)


def _read_json(content: bytes, name: str) -> dict[str, Any]:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{name}: damaged: not valid JSON", hint=_AGAIN) from error
    if not isinstance(value, dict):
        raise UserError(f"{name}: damaged: not a JSON object", hint=_AGAIN)
    return value
