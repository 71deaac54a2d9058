"""Prompt templates: files of `prompts/`, named by content hash, filled by plain substitution in one pass.

Values are data: a `{{macro}}` inside a value stays as it is.
"""

import functools
import os
import re
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from opencharacter.errors import UserError
from opencharacter.hashing import text_digest

_MACRO = re.compile(r"\{\{\s*([a-z_]+)\s*\}\}")

OVERRIDE_VARIABLE = "OPENCHARACTER_PROMPTS"
"""Environment variable naming a folder whose files replace the packaged templates of the same name."""


@dataclass(frozen=True)
class Template:
    """A prompt text with `{{macro}}` placeholders."""

    name: str
    text: str

    @functools.cached_property
    def hash(self) -> str:
        """Content hash of the template (64 hex digits)."""
        return text_digest(self.text)

    @functools.cached_property
    def macros(self) -> frozenset[str]:
        """The names that `render` needs."""
        return frozenset(_MACRO.findall(self.text))

    def render(self, **values: str) -> str:
        """Fill every macro. Raises `UserError` if a macro of the template has no value."""
        missing = self.macros - values.keys()
        if missing:
            raise UserError(
                f"prompt template '{self.name}' uses unknown macro(s) {sorted(missing)}; known: {sorted(values)}",
                hint=f"edit {self.name} so that it holds known macros only",
            )
        return _MACRO.sub(lambda match: values[match.group(1)], self.text)

    def render_paragraphs(self, **values: str) -> str:
        """Like `render`, but a paragraph that holds a macro whose value is empty is left out."""
        kept = [
            paragraph
            for paragraph in self.text.strip().split("\n\n")
            if all(values.get(macro) != "" for macro in _MACRO.findall(paragraph))
        ]
        return Template(self.name, "\n\n".join(kept)).render(**values)


def load_template(name: str) -> Template:
    """The template `prompts/<name>`, or its replacement from the override folder.

    Raises `UserError` if there is none.
    """
    folder = overridden_prompts()
    if folder and (folder / name).is_file():
        return Template(name, (folder / name).read_text(encoding="utf-8"))
    source = resources.files("opencharacter.prompts") / name
    if not source.is_file():
        raise UserError(f"no prompt template '{name}' in prompts/ or ${OVERRIDE_VARIABLE}")
    return Template(name, source.read_text(encoding="utf-8"))


def override_prompts(folder: Path) -> None:
    """Use the templates of `folder` instead of the packaged ones, in this process and its children.

    Raises `UserError` if it holds no template, or one of another name, which nothing would read.
    """
    try:
        found = sorted(path.name for path in folder.iterdir() if path.suffix == ".md")
    except OSError as error:
        raise UserError(f"{folder}: cannot be read as a folder of prompts: {error.strerror}") from error
    known = sorted(packaged_templates())
    unknown = [name for name in found if name not in known]
    if unknown or not found:
        raise UserError(
            f"{folder / unknown[0]}: no prompt has that name" if unknown else f"{folder}: holds no prompt (*.md)",
            hint=f"names: {', '.join(known)}",
        )
    os.environ[OVERRIDE_VARIABLE] = str(folder.resolve())


def overridden_prompts() -> Path | None:
    """The folder whose templates replace the packaged ones, if there is one."""
    folder = os.environ.get(OVERRIDE_VARIABLE)
    return Path(folder) if folder else None


def packaged_templates() -> dict[str, Template]:
    """Every template of `prompts/`, as `load_template` would give it, by file name."""
    entries = resources.files("opencharacter.prompts").iterdir()
    return {name: load_template(name) for name in sorted(entry.name for entry in entries) if name.endswith(".md")}
