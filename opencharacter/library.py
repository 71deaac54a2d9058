"""Identity of the code: part of what decides a step's result, and so of its key (docs/design.md, decision 2)."""

import functools
from importlib import resources

from opencharacter import __version__
from opencharacter.hashing import digest, text_digest

LIBRARY_LABEL = "io.opencharacter.library"
"""The label of a container image that names the fingerprint of the library inside it."""

# What these decide is in a step's arguments; prompts have hashes of their own.
_NOT_IN_RESULTS = {
    "api",
    "cluster",
    "clusters",
    "components",
    "config",
    "pipelines",
    "planning",
    "preflight",
    "prompts",
    "recipes",
}


@functools.cache
def fingerprint() -> str:
    """Version and digest of the library's sources, such as `0.1.0+1a2b3c4d`.

    After an edit of the library every step runs again; rows of synthesis have addresses of their own and are reused.
    """
    root = resources.files("opencharacter")
    sources: list[list[str]] = []

    def visit(folder, prefix: str) -> None:  # type: ignore[no-untyped-def]
        for entry in folder.iterdir():
            if entry.is_dir() and prefix + entry.name not in _NOT_IN_RESULTS:
                visit(entry, f"{prefix}{entry.name}/")
            elif entry.name.endswith(".py"):
                sources.append([prefix + entry.name, text_digest(entry.read_text(encoding="utf-8"))])

    visit(root, "")
    return f"{__version__}+{digest(sorted(sources))[:8]}"
