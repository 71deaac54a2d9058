"""Reading a run configuration: a file or a shipped preset, `--set` overrides, and errors that name line and key."""

import difflib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from opencharacter.errors import UserError
from opencharacter.pipelines.config import RunConfig

_Location = Sequence[str | int]


def presets() -> list[str]:
    """Names of the shipped recipes."""
    entries = resources.files("opencharacter.recipes").iterdir()
    return sorted(entry.name.removesuffix(".yaml") for entry in entries if entry.name.endswith(".yaml"))


def preset_text(name: str) -> str:
    """The YAML of a shipped recipe. Raises `UserError` for an unknown name."""
    if name not in presets():
        raise UserError(f"no preset '{name}'; there are: {', '.join(presets())}")
    return (resources.files("opencharacter.recipes") / f"{name}.yaml").read_text(encoding="utf-8")


def load_run_config(path: Path | None = None, *, preset: str | None = None, overrides: Sequence[str] = ()) -> RunConfig:
    """Read, override and validate. Relative input paths are taken from the configuration file's folder.

    `overrides` are `dotted.key=value`, the value in YAML. Raises `UserError` naming file, line and key.
    """
    if (path is None) == (preset is None):
        raise UserError("give either --config FILE or --preset NAME")
    if path is not None:
        label, folder = str(path), path.parent
        text = _read(path)
    else:
        label, folder = f"preset {preset}", None
        text = preset_text(preset or "")
    root = _compose(text, label)
    data = yaml.safe_load(text)
    if not isinstance(data, dict):
        raise UserError(f"{label}: expected a mapping with keys such as name, inputs, sft; got {type(data).__name__}")
    if folder is not None:
        _anchor_paths(data, folder)
    for override in overrides:
        _apply(data, override)
    try:
        return RunConfig.model_validate(data)
    except ValidationError as error:
        raise _explain(error, label, root) from error


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise UserError(
            f"{path}: no such file",
            hint="start from a shipped one: opencharacter config show --preset demo",
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as UTF-8 text: {error}") from error


def _compose(text: str, label: str) -> yaml.Node | None:
    try:
        return yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UserError(f"{label}:{line}: not valid YAML: {error.problem}") from error


def _anchor_paths(data: dict[str, Any], folder: Path) -> None:
    inputs, mix = data.get("inputs"), data.get("mix")
    sources: list[Any] = []
    if isinstance(inputs, dict):
        sources += [*(inputs.get("personas") or []), *(inputs.get("corpora") or [])]
        if isinstance(release := inputs.get("release"), dict):
            for key in ("characters", "dialogues"):
                if isinstance(release.get(key), str):
                    release[key] = _anchored(release[key], folder)
    if isinstance(mix, dict):
        sources += mix.get("general") or []
    for source in sources:
        if isinstance(source, dict) and isinstance(source.get("uri"), str):
            source["uri"] = _anchored(source["uri"], folder)


def _anchored(uri: str, folder: Path) -> str:
    return uri if "://" in uri else str((folder / Path(uri).expanduser()).resolve())


def _apply(data: dict[str, Any], override: str) -> None:
    key, equals, raw = override.partition("=")
    if not equals or not key:
        raise UserError(f"--set {override}: expected key=value, such as sft.epochs=2")
    try:
        value = yaml.safe_load(raw)
    except yaml.YAMLError as error:
        raise UserError(f"--set {override}: the value is not valid YAML") from error
    *parents, last = key.split(".")
    place: Any = data
    for part in parents:
        if isinstance(place, list):
            place = place[_index(place, part, override)]
        else:
            # A section that is all defaults may be absent from the file.
            if not isinstance(place.get(part), dict | list):
                place[part] = {}
            place = place[part]
    if isinstance(place, list):
        place[_index(place, last, override)] = value
    else:
        place[last] = value


def _index(place: list[Any], part: str, override: str) -> int:
    if not part.isdigit() or int(part) >= len(place):
        raise UserError(f"--set {override}: '{part}' must be an index from 0 to {len(place) - 1}")
    return int(part)


def _explain(error: ValidationError, label: str, root: yaml.Node | None) -> UserError:
    lines = []
    for problem in error.errors():
        location: _Location = problem["loc"]
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            message = "unknown key" + _suggest(location)
        elif problem["type"] == "missing":
            message = "is missing"
        elif problem["type"] == "value_error" and not location:
            # A rule over several sections; RunConfig's own messages start with the key.
            named, _, message = message.partition(": ")
            location = [int(part) if part.isdigit() else part for part in named.split(".")]
        else:
            message += f" (got {problem['input']!r})"
        key = ".".join(str(part) for part in location) or "(whole file)"
        where = f"{label}:{_line(root, location)}" if root is not None else label
        lines.append(f"{where}: {key}: {message}")
    return UserError("\n".join(lines), hint="opencharacter config schema lists every key")


def _suggest(location: _Location) -> str:
    model: Any = RunConfig.model_json_schema()
    schema = model
    for part in location[:-1]:
        schema = _descend(model, schema, part)
    known = list(_resolve(model, schema).get("properties", {}))
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
