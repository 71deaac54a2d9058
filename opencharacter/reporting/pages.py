"""Pages of one file that need nothing beside them, not even a network."""

import os
import tempfile
from importlib import resources
from pathlib import Path
from typing import Any

from opencharacter.evaluation.subjects import short_identity
from opencharacter.reporting import formats


def render(template: str, **view: Any) -> str:
    """A page of a template in `templates/`, with the stylesheet as `css`.

    Everything that a template prints is escaped; only what this package draws itself is marked as safe.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("opencharacter.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=formats.number,
        signed=formats.signed,
        percent=formats.percent,
        duration=formats.duration,
        words=formats.words,
        short_identity=short_identity,
        initials=formats.initials,
        hue=formats.hue,
        svg=Markup,
    )
    stylesheet = resources.files("opencharacter.reporting") / "templates" / "report.css"
    css = Markup(stylesheet.read_text(encoding="utf-8"))
    return environment.get_template(template).render(css=css, **view)


def write_page(page: str, path: Path) -> Path:
    """Write a page to `path` and return it. An older file is replaced at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        draft = Path(scratch) / path.name
        draft.write_text(page, encoding="utf-8")
        os.replace(draft, path)
    return path
