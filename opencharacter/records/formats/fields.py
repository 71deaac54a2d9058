"""Reading typed fields of a row."""

import json
from typing import Any

from opencharacter.records.rows import InvalidRow
from opencharacter.texts import is_blank


def text_of(row: dict[str, Any], key: str) -> str:
    """The text under `key`. Raises `InvalidRow` if there is none."""
    value = row.get(key)
    if not isinstance(value, str):
        raise InvalidRow(f"'{key}' is missing" if value is None else f"'{key}' is not text")
    return value


def optional_text_of(row: dict[str, Any], key: str) -> str:
    """The text under `key`, empty if there is none. Raises `InvalidRow` if it is something else."""
    return "" if row.get(key) is None else text_of(row, key)


def list_of(row: dict[str, Any], key: str) -> list[Any]:
    """The list under `key`. Raises `InvalidRow` if there is none."""
    value = _decoded(row.get(key))
    if not isinstance(value, list):
        raise InvalidRow(f"'{key}' is missing" if value is None else f"'{key}' is not a list")
    return value


def has_text(row: dict[str, Any], key: str) -> bool:
    """Whether a value under `key` says something: tables have empty texts where a row has no value."""
    value = row.get(key)
    return value is not None and not (isinstance(value, str) and is_blank(value))


def first_of(row: dict[str, Any], key: str) -> Any:
    """The first value of the list under `key`; `None` if there is no such list or it is empty."""
    values = _decoded(row.get(key))
    return values[0] if isinstance(values, list) and values else None


def without_nulls(value: Any) -> Any:
    """A row without its keys that have no value. A table has every key in every row."""
    if isinstance(value, dict):
        return {key: without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [without_nulls(inner) for inner in value] if isinstance(value, list) else value


def _decoded(value: Any) -> Any:
    """A list that a table holds as JSON text."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value
