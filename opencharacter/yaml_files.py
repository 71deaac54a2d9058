"""YAML files that people write: read and validated, with errors that name the line and the key."""

import copy
import difflib
import warnings
from collections.abc import Callable, Container, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from opencharacter.errors import UserError

Model = TypeVar("Model", bound=BaseModel)

_Location = Sequence[str | int]


class Renamed(NamedTuple):
    """A word of version 0.1: a key of the mappings at a path, or an item of the lists there."""

    at: str
    """The dotted path; `*` stands for any one part."""
    old: str
    new: str

    def applies(self, location: _Location) -> bool:
        """Whether the word is an old one at that place."""
        expected = self.at.split(".") if self.at else []
        return len(expected) == len(location) and all(
            part in ("*", str(here)) for part, here in zip(expected, location, strict=True)
        )


class RenamedWarning(FutureWarning):
    """An old key or option is used. It works in this release, and not in the next."""


def load_document(
    model: type[Model],
    text: str,
    label: str,
    *,
    overrides: Sequence[str] = (),
    option: str = "--set",
    hint: str | None = None,
    prepare: Callable[[dict[str, Any]], None] | None = None,
    renamed: Sequence[Renamed] = (),
) -> Model:
    """The model that a YAML text holds; `label` is what messages call it.

    `overrides` are `dotted.key=value`, the value in YAML, or as it stands where a text is wanted (`tag=1.2`); `option`
    is how messages call them. `prepare` may change the data before them. Words of `renamed` are read under their old
    name, too, with a `RenamedWarning`. Raises `UserError` naming line and key; `hint` says where the keys are listed.
    """
    root = compose(text, label)
    if root is not None:
        _rename(root, renamed, label)
        _refuse_twins(root, label)
    data = _unshared(None if root is None else yaml.SafeLoader("").construct_document(root))
    if not isinstance(data, dict):
        wanted = ", ".join(list(model.model_fields)[:3])
        raise UserError(f"{label}: expected a mapping with keys such as {wanted}; got {type(data).__name__}", hint=hint)
    if prepare:
        prepare(data)
    changes = [_renamed_override(override, renamed, option) for override in overrides]
    try:
        return model.model_validate(_overridden(data, changes, option, renamed=renamed))
    except ValidationError as error:
        texts = _wanted_as_text(error)
    try:
        return model.model_validate(_overridden(data, changes, option, texts, renamed=renamed))
    except ValidationError as error:
        raise explain(error, model, label, root, hint=hint) from error


def _overridden(
    data: dict[str, Any],
    overrides: Sequence[str],
    option: str,
    texts: Container[tuple[str, ...]] = (),
    *,
    renamed: Sequence[Renamed] = (),
) -> dict[str, Any]:
    """The data with the overrides in their order; words at the paths in `texts` stay as they are written."""
    changed = copy.deepcopy(data)
    for override in overrides:
        _apply(changed, override, option, yaml.BaseLoader if _path(override) in texts else yaml.SafeLoader, renamed)
    return changed


def _renamed_override(override: str, renamed: Sequence[Renamed], option: str) -> str:
    """The override with the new names in its key."""
    key, equals, value = override.partition("=")
    path: list[str] = []
    for part in key.split("."):
        path.append(_new_name(part, path, renamed, option) or part)
    return ".".join(path) + equals + value


def _new_name(word: str, location: _Location, renamed: Sequence[Renamed], where: str) -> str | None:
    """The new name of an old word, which is warned about; none for any other word."""
    for rule in renamed:
        if rule.old == word and rule.applies(location):
            warnings.warn(f"{where}: '{rule.old}' is now '{rule.new}'", RenamedWarning, stacklevel=2)
            return rule.new
    return None


def _rename(node: yaml.Node, renamed: Sequence[Renamed], label: str, at: tuple[str | int, ...] = ()) -> None:
    """Give old words in the YAML their new names, so that errors name the new ones at the lines of the old."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if new := _new_name(key.value, at, renamed, label):
                key.value = new
            _rename(value, renamed, label, (*at, key.value))
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            if isinstance(item, yaml.ScalarNode) and (new := _new_name(item.value, at, renamed, label)):
                item.value = new
            _rename(item, renamed, label, (*at, index))


def _wanted_as_text(error: ValidationError) -> set[tuple[str, ...]]:
    """Where a text is expected and one word stands that YAML reads as something else: `1.2`, `on`, `2026-01-31`."""
    found = [each for each in error.errors() if each["type"] == "string_type"]
    words = [each for each in found if each["input"] is not None and not isinstance(each["input"], list | dict)]
    return {tuple(map(str, each["loc"])) for each in words}


def _path(override: str) -> tuple[str, ...]:
    return tuple(override.partition("=")[0].split("."))


def shipped(package: str) -> list[str]:
    """Names of the YAML files that a package holds."""
    names = [entry.name for entry in resources.files(package).iterdir()]
    return sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml"))


def shipped_text(package: str, name: str, what: str) -> str:
    """The text of a package's YAML file. Raises `UserError`, which calls it `what`, for an unknown name."""
    if name not in shipped(package):
        raise UserError(f"no {what} '{name}'; there are: {', '.join(shipped(package))}")
    return (resources.files(package) / f"{name}.yaml").read_text(encoding="utf-8")


def read_text(path: Path, *, hint: str | None = None) -> str:
    """A file's text. Raises `UserError` if it is absent (with `hint`) or no UTF-8."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file", hint=hint) from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as UTF-8 text: {error}") from error


def compose(text: str, label: str) -> yaml.Node | None:
    """The nodes of a YAML text, which know their lines. Raises `UserError` if it is no YAML, or has a key twice."""
    try:
        root: yaml.Node | None = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UserError(f"{label}:{line}: not valid YAML: {error.problem}") from error
    _refuse_twins(root, label)
    return root


def _refuse_twins(node: yaml.Node | None, label: str) -> None:
    """YAML's reader would take the last of two equal keys, and silently drop the other."""
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_twins(item, label)
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            line, name = key.start_mark.line + 1, str(key.value)
            if name in seen:
                raise UserError(f"{label}:{line}: the key '{name}' is there already, at line {seen[name]}")
            seen[name] = line
            _refuse_twins(value, label)


def explain(
    error: ValidationError, model: type[BaseModel], label: str, root: yaml.Node | None, *, hint: str | None = None
) -> UserError:
    """Each fault of a document in one line: file, line, key, what was expected.

    A rule over several sections may name its key at the start of its message, before a colon.
    """
    lines = []
    for problem in error.errors():
        location: _Location = [part for part in problem["loc"] if part != "[key]"]
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            message = "unknown key" + _suggest(model, location)
        elif problem["type"] == "missing":
            message = "is missing"
        elif problem["type"] == "value_error" and not location:
            named, _, rest = message.partition(": ")
            if rest and " " not in named:
                message, location = rest, [int(part) if part.isdigit() else part for part in named.split(".")]
        elif not isinstance(problem["input"], dict):
            message += f" (got {problem['input']!r})"
        key = ".".join(str(part) for part in location) or "(whole file)"
        where = f"{label}:{_line(root, location)}" if root is not None else label
        lines.append(f"{where}: {key}: {message}")
    return UserError("\n".join(lines), hint=hint)


def _unshared(value: Any) -> Any:
    """A copy in which what YAML aliases share is there for each on its own, so that an override changes one place."""
    if isinstance(value, dict):
        return {key: _unshared(part) for key, part in value.items()}
    return [_unshared(part) for part in value] if isinstance(value, list) else value


def _apply(
    data: dict[str, Any],
    override: str,
    option: str,
    loader: type[yaml.BaseLoader | yaml.SafeLoader],
    renamed: Sequence[Renamed],
) -> None:
    key, equals, raw = override.partition("=")
    if not equals or not key:
        raise UserError(f"{option} {override}: expected key=value")
    try:
        node: yaml.Node | None = yaml.compose(raw, loader)
    except yaml.YAMLError as error:
        raise UserError(f"{option} {override}: the value is not valid YAML") from error
    *parents, last = _path(override)
    if node is not None:
        _rename(node, renamed, option, (*parents, last))
    value = None if node is None else loader("").construct_document(node)
    place: Any = data
    for part in parents:
        if isinstance(place, list):
            place = place[_index(place, part, f"{option} {override}")]
        else:
            # A section that is all defaults may be absent from the file.
            if not isinstance(place.get(part), dict | list):
                place[part] = {}
            place = place[part]
    if isinstance(place, list):
        place[_index(place, last, f"{option} {override}")] = value
    else:
        place[last] = value


def _index(place: list[Any], part: str, label: str) -> int:
    if not part.isdigit() or int(part) >= len(place):
        raise UserError(f"{label}: '{part}' must be an index from 0 to {len(place) - 1}")
    return int(part)


def _suggest(model: type[BaseModel], location: _Location) -> str:
    whole: Any = model.model_json_schema()
    schema = whole
    for part in location[:-1]:
        schema = _descend(whole, schema, part)
    known = list(_resolve(whole, schema).get("properties", {}))
    close = difflib.get_close_matches(str(location[-1]), known, n=1)
    if close:
        return f"; did you mean '{close[0]}'?"
    return f"; known: {', '.join(known)}" if known else ""


def _descend(model: dict[str, Any], schema: dict[str, Any], part: str | int) -> dict[str, Any]:
    schema = _resolve(model, schema)
    if isinstance(part, int):
        return dict(schema.get("items", {}))
    found = schema.get("properties", {}).get(part, schema.get("additionalProperties", {}))
    return found if isinstance(found, dict) else {}


def _resolve(model: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    for option in schema.get("anyOf", []):
        if "$ref" in option:
            schema = option
    if "$ref" in schema:
        return dict(model["$defs"][schema["$ref"].rsplit("/", 1)[1]])
    return schema


def _line(node: yaml.Node, location: _Location) -> int:
    line = node.start_mark.line
    for part in location:
        if isinstance(node, yaml.MappingNode):
            match = next(((k, v) for k, v in node.value if k.value == str(part)), None)
            if match is None:
                break
            line, node = match[0].start_mark.line, match[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line
        else:
            break
    return line + 1
