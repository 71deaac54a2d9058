"""Reading typed fields of a row."""

from typing import Any

from opencharacter.records.rows import InvalidRow


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
    value = row.get(key)
    if not isinstance(value, list):
        raise InvalidRow(f"'{key}' is missing" if value is None else f"'{key}' is not a list")
    return value


def first_of(row: dict[str, Any], key: str) -> Any:
    """The first value of the list under `key`; `None` if there is no such list or it is empty."""
    values = row.get(key)
    return values[0] if isinstance(values, list) and values else None
