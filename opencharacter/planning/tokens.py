"""Estimates of text in tokens: the student's own tokenizer where it is on this machine, else characters."""

import functools
import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opencharacter.planning.figures import Ledger
from opencharacter.system.cache import cache_folder


@dataclass(frozen=True)
class TextLengths:
    """Counts tokens of texts; `source` says how."""

    count: Callable[[str], float]
    chars_per_token: float
    source: str


def text_lengths(student: str, ledger: Ledger) -> TextLengths:
    """The counter for a student (folder, hub id or package:NAME). Nothing is fetched or converted."""
    chars = ledger("chars_per_token")
    file = _tokenizer_file(student)
    if file is None:
        return TextLengths(lambda text: len(text) / chars, chars, f"{chars:g} characters a token")
    tokenizer = _load(file, file.stat().st_mtime_ns)
    return TextLengths(
        lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids),
        chars,
        f"the tokenizer of {student}",
    )


@functools.lru_cache(maxsize=1)
def _load(file: Path, changed: int) -> Any:
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(file))


def _tokenizer_file(student: str) -> Path | None:
    candidates = [Path(student).expanduser() / "tokenizer.json", _of_package(student), _of_hub(student)]
    return next((path for path in candidates if path and path.is_file()), None)


def _of_package(student: str) -> Path | None:
    name = student.removeprefix("package:")
    try:
        version = importlib.metadata.version(name) if name != student else ""
    except importlib.metadata.PackageNotFoundError:
        return None
    return cache_folder("models") / f"{name}-{version}" / "tokenizer.json" if version else None


def _of_hub(student: str) -> Path | None:
    repository, _, revision = student.partition("@")
    if repository.count("/") != 1 or repository.startswith((".", "/", "~")):
        return None
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return None
    found = try_to_load_from_cache(repository, "tokenizer.json", revision=revision or None)
    return Path(found) if isinstance(found, str) else None
