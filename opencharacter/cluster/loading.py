"""Reading clusters: a file or a shipped one, and overrides."""

from collections.abc import Sequence
from pathlib import Path

from opencharacter.cluster.spec import Cluster
from opencharacter.yaml_files import Renamed, load_document, read_text, shipped, shipped_text

_CLUSTERS = "opencharacter.clusters"

_STEPS = {
    "profiles": "generate-profiles",
    "characters": "collect-profiles",
    "responses": "generate-dialogues",
    "dialogues": "collect-dialogues",
    "champion": "get-champion",
    "release": "import-dataset",
}
"""Steps as version 0.1 called them."""
_RENAMED = [Renamed(at, old, new) for at in ("steps", "secrets.*.steps") for old, new in _STEPS.items()]


def shipped_clusters() -> list[str]:
    """Names of the shipped clusters."""
    return shipped(_CLUSTERS)


def cluster_text(source: str) -> str:
    """The YAML of a shipped cluster's name, or of a file's path (which holds a '/' or ends in .yaml or .yml).

    Raises `UserError` if there is no such cluster or file.
    """
    if "/" in source or source.endswith((".yaml", ".yml")):
        return read_text(Path(source), hint="start from a shipped one: opencharacter cluster show node8 > mine.yaml")
    return shipped_text(_CLUSTERS, source, "cluster")


def load_cluster(source: str, overrides: Sequence[str] = ()) -> Cluster:
    """The cluster of a shipped name or a file; `overrides` are `dotted.key=value`, the value in YAML.

    Raises `UserError` naming file, line and key.
    """
    return load_document(
        Cluster,
        cluster_text(source),
        source if "/" in source or source.endswith((".yaml", ".yml")) else f"cluster {source}",
        overrides=overrides,
        option="--cluster-set",
        hint="opencharacter cluster schema lists every key",
        renamed=_RENAMED,
    )
