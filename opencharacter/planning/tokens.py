"""Lengths of texts in tokens: by the student's own tokenizer where it is on this machine, else by characters."""

import functools
import importlib.metadata
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opencharacter.characters import DEFAULT_PROMPT, PROMPT_FILES, PromptName, PromptView
from opencharacter.planning.figures import Assumptions
from opencharacter.system.cache import cache_folder
from opencharacter.templates import load_template

_ROW_BYTES = 600
"""Ids, names and licences of a row, as JSON."""


@dataclass(frozen=True)
class TextLengths:
    """Counts tokens of texts; `source` says how."""

    count: Callable[[str], float]
    chars_per_token: float
    source: str


def text_lengths(student: str, assumptions: Assumptions) -> TextLengths:
    """The counter for a student (folder, hub id or package:NAME). Nothing is fetched or converted."""
    chars = assumptions("chars_per_token")
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
    cached = try_to_load_from_cache(repository, "tokenizer.json", revision=revision or None)
    return Path(cached) if isinstance(cached, str) else None


@dataclass(frozen=True)
class Dialogues:
    """Dialogues that are alike: of one strategy and source."""

    strategy: str
    rows: int
    turns: float
    """Mean user turns."""
    text_tokens: float
    """Mean tokens of user and assistant turns."""
    weight: float = 1.0


class TokenEstimates:
    """Mean lengths of what prompts and rows are made of, in tokens."""

    def __init__(
        self,
        assumptions: Assumptions,
        lengths: TextLengths,
        *,
        persona: float | None,
        longest_profile: float = math.inf,
        longest_answer: float = math.inf,
        system_prompt: PromptName = DEFAULT_PROMPT,
    ) -> None:
        self.assumed = assumptions
        self._lengths = lengths
        self._system_prompt = system_prompt
        self.persona = self.assumed("persona_tokens") if persona is None else persona
        self.profile = min(self.assumed("profile_tokens"), longest_profile)
        self.answer = min(self.assumed("answer_tokens"), longest_answer)

    def template(self, name: str) -> float:
        """A prompt template."""
        return self._lengths.count(load_template(name).text)

    def text(self, text: str) -> float:
        """A text of the configuration."""
        return self._lengths.count(text)

    def system(self, views: Mapping[PromptView, float]) -> float:
        """The system message, under shares of prompt views."""
        of_view: dict[PromptView, float] = {
            "persona_and_profile": self.persona + self.profile,
            "profile": self.profile,
            "persona": self.persona,
        }
        total = sum(views.values())
        return self.template(PROMPT_FILES[self._system_prompt]) + sum(
            share / total * of_view[view] for view, share in views.items()
        )

    def row(self, dialogues: Dialogues, views: Mapping[PromptView, float]) -> float:
        """A training row; those of general instructions have no system message."""
        system = 0.0 if dialogues.strategy == "general" else self.system(views)
        messages = 2 * dialogues.turns + (dialogues.strategy != "general")
        return system + dialogues.text_tokens + messages * self.assumed("mark_tokens")

    def bytes(self, tokens: float, rows: float) -> float:
        """Rows as JSON, not compressed."""
        return tokens * self._lengths.chars_per_token + rows * _ROW_BYTES
