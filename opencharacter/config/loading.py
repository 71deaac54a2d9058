"""Reading run configurations: a file or a shipped recipe, and overrides."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from opencharacter.config.run import RunConfig
from opencharacter.errors import UserError
from opencharacter.yaml_files import Renamed, load_document, read_text, shipped, shipped_text

_RECIPES = "opencharacter.recipes"

_RENAMED = [
    Renamed("inputs", "release", "dataset"),
    *(
        Renamed(source, "licence", "license")
        for source in ("inputs.personas.*", "inputs.corpora.*", "inputs.dataset", "mix.general.*")
    ),
]
"""Keys as version 0.1 called them."""


def presets() -> list[str]:
    """Names of the shipped recipes."""
    return shipped(_RECIPES)


def preset_text(name: str) -> str:
    """The YAML of a shipped recipe. Raises `UserError` for an unknown name."""
    return shipped_text(_RECIPES, name, "preset")


def load_run_config(path: Path | None = None, *, preset: str | None = None, overrides: Sequence[str] = ()) -> RunConfig:
    """Read, override and validate. Relative input paths are taken from the configuration file's folder.

    `overrides` are `dotted.key=value`, the value in YAML. Raises `UserError` naming file, line and key.
    """
    if (path is None) == (preset is None):
        raise UserError("give either a recipe or a file: NAME_OR_FILE, --preset NAME or --config FILE")
    if path is not None:
        label, prepare = str(path), partial(_anchor_paths, folder=path.parent)
        text = read_text(path, hint="start from a shipped one: opencharacter config show demo")
    else:
        label, prepare = f"preset {preset}", None
        text = preset_text(preset or "")
    return load_document(
        RunConfig,
        text,
        label,
        overrides=overrides,
        hint="opencharacter config schema lists every key",
        prepare=prepare,
        renamed=_RENAMED,
    )


def _anchor_paths(data: dict[str, Any], folder: Path) -> None:
    inputs, mix, evaluate = data.get("inputs"), data.get("mix"), data.get("evaluate")
    sources: list[Any] = []
    if isinstance(inputs, dict):
        sources += [*(inputs.get("personas") or []), *(inputs.get("corpora") or []), inputs.get("characters")]
        if isinstance(dataset := inputs.get("dataset"), dict):
            for key in ("characters", "dialogues"):
                if isinstance(dataset.get(key), str):
                    dataset[key] = _anchored(dataset[key], folder)
    if isinstance(mix, dict):
        sources += mix.get("general") or []
    if isinstance(evaluate, dict) and isinstance(suites := evaluate.get("suites"), list):
        evaluate["suites"] = [_anchored_suite(suite, folder) for suite in suites]
    if isinstance(gate := data.get("gate"), dict) and isinstance(labels := gate.get("labels"), list):
        gate["labels"] = [_anchored(uri, folder) if isinstance(uri, str) else uri for uri in labels]
    for source in sources:
        if isinstance(source, dict) and isinstance(source.get("uri"), str):
            source["uri"] = _anchored(source["uri"], folder)


def _anchored_suite(suite: Any, folder: Path) -> Any:
    """A suite without a slash is a packaged one's name."""
    if isinstance(suite, dict):
        return suite | {"suite": _anchored_suite(suite.get("suite"), folder)} if "suite" in suite else suite
    return _anchored(suite, folder) if isinstance(suite, str) and "/" in suite else suite


def _anchored(uri: str, folder: Path) -> str:
    return uri if "://" in uri else str((folder / Path(uri).expanduser()).resolve())
