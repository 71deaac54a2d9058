"""Reading a run configuration: a file or a shipped preset, `--set` overrides, and errors that name line and key."""

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from opencharacter.errors import UserError
from opencharacter.pipelines.config import RunConfig
from opencharacter.pipelines.documents import compose, explain, read_text


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
        text = read_text(path, hint="start from a shipped one: opencharacter config show --preset demo")
    else:
        label, folder = f"preset {preset}", None
        text = preset_text(preset or "")
    root = compose(text, label)
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
        raise explain(error, RunConfig, label, root, hint="opencharacter config schema lists every key") from error


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
