"""Whether the files of a model folder are whole: each shard is there, is no pointer, and has the length it states."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from opencharacter.errors import UserError
from opencharacter.records.identify import POINTER_HINT, pointer_fault

WEIGHTS = "*.safetensors"
_DESCRIPTIONS = ("*.json", "*.jinja", "*.model", "tokenizer*", "vocab*", "merges*")
_INDEX = "model.safetensors.index.json"
_LONGEST_POINTER = 1024  # bytes, by Git LFS's specification
_LONGEST_HEADER = 100_000_000  # bytes, by safetensors' specification
_AGAIN = "download or copy the model again; for a Git repository: git lfs pull"


def require_whole(folder: Path, name: str, *, weights: bool = True) -> None:
    """Raise `UserError`, naming the file below `name`, if a file of the model is a pointer, absent or cut off.

    Without `weights`, only configuration and tokenizer are looked at.
    """
    for path in sorted(path for pattern in _DESCRIPTIONS for path in folder.glob(pattern) if path.is_file()):
        _require_no_pointer(path, f"{name}/{path.name}")
    for shard in sorted(_shards(folder, name)) if weights else ():
        _require_whole_shard(folder / shard, f"{name}/{shard}")


def _shards(folder: Path, name: str) -> Iterator[str]:
    """The names of the files that hold the weights."""
    index = folder / _INDEX
    if not index.is_file():
        yield from (path.name for path in folder.glob(WEIGHTS))
        return
    content = _read_json(index.read_bytes(), f"{name}/{_INDEX}")
    named = content.get("weight_map")
    if not isinstance(named, dict) or not all(isinstance(file, str) and file for file in named.values()):
        raise UserError(f"{name}/{_INDEX}: names no files of weights under 'weight_map'", hint=_AGAIN)
    for file in sorted(set(named.values())):
        if not (folder / file).is_file():
            raise UserError(f"{name}/{file}: no such file, though {_INDEX} names it", hint=_AGAIN)
        yield file


def _require_no_pointer(path: Path, name: str) -> None:
    if path.stat().st_size <= _LONGEST_POINTER and (fault := pointer_fault(path.read_bytes())):
        raise UserError(f"{name}: {fault}", hint=POINTER_HINT)


def _require_whole_shard(path: Path, name: str) -> None:
    _require_no_pointer(path, name)
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or not 2 <= length <= _LONGEST_HEADER:
            raise UserError(f"{name}: not a safetensors file ({size:,} bytes)", hint=_AGAIN)
        if size < 8 + length:
            raise UserError(f"{name}: cut off: {size:,} bytes, and its header alone has {8 + length:,}", hint=_AGAIN)
        header = _read_json(file.read(length), name)
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
