"""The data files of a folder: of a data set that `datasets` saved, or all that are data by their names."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from opencharacter.errors import UserError
from opencharacter.records.identify import DATA_SUFFIXES, bare_suffix

_SPLITS, _INFO, _STATE = "dataset_dict.json", "dataset_info.json", "state.json"
_DESCRIPTIONS = (_SPLITS, _INFO, "dataset_infos.json")


class Folder(NamedTuple):
    """A folder's files, sorted by name. `others` are those that are not data by their names."""

    data: list[Path]
    others: list[Path]


def data_files(folder: Path, name: str) -> Folder:
    """The data files below a folder. Nothing below a hidden folder is data, nor are descriptions of data sets.

    Raises `UserError` if there is no data file, if a saved data set is not whole, or if it has several splits.
    """
    if (folder / _SPLITS).is_file():
        return _only_split(folder, name)
    if (folder / _STATE).is_file() and (folder / _INFO).is_file():
        return Folder(list(_saved(folder, name)), [])
    files = [path for path in sorted(folder.rglob("*")) if not _is_hidden(path.relative_to(folder)) and path.is_file()]
    data = [path for path in files if bare_suffix(path.name) in DATA_SUFFIXES and not _describes(path)]
    if not data:
        raise UserError(
            f"{name}: the folder has no data file; expected names that end in {', '.join(DATA_SUFFIXES)}",
            hint=f"it has: {', '.join(path.name for path in files[:5])}" if files else None,
        )
    return Folder(data, [path for path in files if path not in set(data)])


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _describes(path: Path) -> bool:
    return path.name in _DESCRIPTIONS or (path.name == _STATE and path.with_name(_INFO).is_file())


def _only_split(folder: Path, name: str) -> Folder:
    splits = _names(folder / _SPLITS, f"{name}/{_SPLITS}", "splits")
    if len(splits) != 1:
        raise UserError(
            f"{name}: a saved data set with the splits {', '.join(splits)}; expected the folder of one",
            hint=f"name it: {name}/{'train' if 'train' in splits else (splits or ['SPLIT'])[0]}",
        )
    return data_files(folder / splits[0], f"{name}/{splits[0]}")


def _saved(folder: Path, name: str) -> Iterator[Path]:
    for file in _names(folder / _STATE, f"{name}/{_STATE}", "_data_files"):
        if not (folder / file).is_file():
            raise UserError(
                f"{name}/{file}: no such file, though {_STATE} names it", hint="save or copy the whole data set again"
            )
        yield folder / file


def _names(path: Path, name: str, key: str) -> list[str]:
    """The names that a description of a saved data set lists. A name may stand in an object, and leads nowhere else."""
    try:
        listed: Any = json.loads(path.read_text(encoding="utf-8"))[key]
        names = [entry["filename"] if isinstance(entry, dict) else entry for entry in listed]
        whole = all(isinstance(entry, str) and entry == Path(entry).name and entry not in ("", "..") for entry in names)
    except (ValueError, LookupError, TypeError, RecursionError):
        names, whole = [], False
    if not whole:
        raise UserError(f"{name}: not the description of a saved data set", hint="save the data set again")
    return names
