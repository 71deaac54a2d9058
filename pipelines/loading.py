"""Reading run configurations and cluster profiles: a file or a shipped one, and overrides."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from opencharacter.errors import UserError
from opencharacter.pipelines.cluster import ClusterProfile
from opencharacter.pipelines.config import RunConfig
from opencharacter.pipelines.documents import load_document, read_text, shipped, shipped_text

_RECIPES = "opencharacter.recipes"
_PROFILES = "opencharacter.pipelines.profiles"


def presets() -> list[str]:
    """Names of the shipped recipes."""
    return shipped(_RECIPES)


def preset_text(name: str) -> str:
    """The YAML of a shipped recipe. Raises `UserError` for an unknown name."""
    return shipped_text(_RECIPES, name, "preset")


def cluster_profiles() -> list[str]:
    """Names of the shipped cluster profiles."""
    return shipped(_PROFILES)


def cluster_profile_text(source: str) -> str:
    """The YAML of a shipped profile's name, or of a file's path (which holds a '/' or ends in .yaml or .yml).

    Raises `UserError` if there is no such profile or file.
    """
    if "/" in source or source.endswith((".yaml", ".yml")):
        return read_text(Path(source), hint="start from a shipped one: opencharacter cluster show node8 > mine.yaml")
    return shipped_text(_PROFILES, source, "cluster profile")


def load_cluster_profile(source: str, overrides: Sequence[str] = ()) -> ClusterProfile:
    """The cluster profile of a shipped name or a file; `overrides` are `dotted.key=value`, the value in YAML.

    Raises `UserError` naming file, line and key.
    """
    return load_document(
        ClusterProfile,
        cluster_profile_text(source),
        source if "/" in source or source.endswith((".yaml", ".yml")) else f"cluster profile {source}",
        overrides=overrides,
        option="--profile-set",
        hint="opencharacter cluster schema lists every key",
    )


def load_run_config(path: Path | None = None, *, preset: str | None = None, overrides: Sequence[str] = ()) -> RunConfig:
    """Read, override and validate. Relative input paths are taken from the configuration file's folder.

    `overrides` are `dotted.key=value`, the value in YAML. Raises `UserError` naming file, line and key.
    """
    if (path is None) == (preset is None):
        raise UserError("give either --config FILE or --preset NAME")
    if path is not None:
        label, prepare = str(path), partial(_anchor_paths, folder=path.parent)
        text = read_text(path, hint="start from a shipped one: opencharacter config show --preset demo")
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
    )


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
