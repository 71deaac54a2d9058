"""Suites: everything that decides a score, in one folder. `suite.yaml` says how, `items.jsonl` holds the items.

A suite is packaged (`opencharacter.suites`), or a user's own: a folder, an `s3://` prefix or an `hf://` id. Its digest
over all files is its version: scores of different digests are never compared.
"""

import difflib
import re
from importlib import resources
from pathlib import Path

from opencharacter.characters import PROMPT_FILES
from opencharacter.errors import UserError
from opencharacter.evaluation.arithmetic import arithmetic_items
from opencharacter.evaluation.items import FileContents, read_contents
from opencharacter.evaluation.measures import make_measure
from opencharacter.evaluation.measures.protocol import check_macros
from opencharacter.evaluation.suite import Suite, take
from opencharacter.evaluation.suite_config import SuiteConfig
from opencharacter.hashing import digest
from opencharacter.sources.hub import HUB_SCHEME, fetch_dataset_folder
from opencharacter.storage.s3.client import OBJECT_SCHEME
from opencharacter.storage.s3.downloads import fetch_folder
from opencharacter.storage.workspace import local_path
from opencharacter.templates import Template, load_template, packaged_templates
from opencharacter.yaml_files import load_document, read_text

__all__ = ["Suite", "SuiteConfig", "load_suite", "suite_names"]

_FILE = "suite.yaml"
ARENA = "arena"
"""The suite that compares the answers of another one: `arena:SUITE`."""
_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")
_SYSTEM_MACROS = {"name", "persona", "profile"}


def suite_names() -> list[str]:
    """Names of the packaged suites."""
    return sorted(entry.name for entry in _packaged().iterdir() if (entry / _FILE).is_file())


def load_suite(reference: str | Path, *, draw: int | None = None) -> Suite:
    """Read and check a suite.

    Args:
        reference: The name of a packaged suite, a folder, an `s3://` prefix or `hf://OWNER/NAME[@REVISION][/FOLDER]`;
            `arena:SUITE` compares the models' answers of any other suite.
        draw: Another number takes fresh items; none: as the suite says.

    Returns:
        The suite. Items of a generator that needs a run are made later.

    Raises:
        UserError: There is no such suite or draw, or something in it is wrong: no items, two items with one id, an
            unknown placeholder, a rubric that is absent or lacks its examples. The message names file and line, or key.
        OpenCharacterError: The store or hub cannot be reached.
    """
    name, _, other = str(reference).partition(":")
    folder = _folder(str(reference) if name != ARENA else ARENA)
    label = str(folder / _FILE)
    config = load_document(SuiteConfig, read_text(folder / _FILE), label, hint="docs/evaluate.md describes the keys")
    if name == ARENA and other:
        config = config.model_copy(update={"items": config.items.model_copy(update={"suite": other})})
    if config.items.suite is not None:
        return _borrow(config, load_suite(config.items.suite, draw=draw), folder, label)
    if draw is not None:
        config = _drawn(config, draw)
    templates = _templates(config, folder, label)
    for number, settings in enumerate(config.measures):
        make_measure(settings).check(templates, f"{label}: measures.{number}")
    contents = _contents(config, folder)
    if contents is not None:
        _check_items(config, contents, folder)
        if not take(contents.items, config.items.take, config.items.draw):
            raise UserError(f"suite {config.name}: draw {config.items.draw}: there are no items left for it")
    return Suite(
        config=config,
        folder=folder,
        digest=_digest(config, templates, contents),
        templates=templates,
        own_items=contents.items if contents else None,
        own_characters=contents.characters if contents else {},
    )


def _drawn(config: SuiteConfig, draw: int) -> SuiteConfig:
    if config.items.generator != "arithmetic" and config.items.take is None:
        raise UserError(
            f"suite {config.name}: there is no other draw: it has one set of items, and asks all of them",
            hint="only suites with `items.take` or the generator `arithmetic` have fresh items",
        )
    return config.model_copy(update={"items": config.items.model_copy(update={"draw": draw})})


def _borrow(config: SuiteConfig, other: Suite, folder: Path, label: str) -> Suite:
    """A suite that measures otherwise what another suite asks: the answers are the same, and are not asked twice."""
    if other.own_items is None or other.config.items.suite is not None:
        source = "a run's mixture" if other.own_items is None else "another suite, too"
        raise UserError(f"{label}: items.suite: the items of {other.name} come from {source}; name one with its own")
    asking = {key: getattr(other.config, key) for key in ("character", "system_prompt", "answer", "history")}
    templates = {**other.templates, **_templates(config, folder, label)}
    config = config.model_copy(update={"name": f"{config.name}-{other.name}"[:61], **asking})
    for number, settings in enumerate(config.measures):
        make_measure(settings).check(templates, f"{label}: measures.{number}")
    items = [item.model_copy(update={"suite": config.name}) for item in other.items()]
    contents = FileContents(items, other.characters())
    return Suite(
        config=config,
        folder=folder,
        digest=_digest(config, templates, contents),
        templates=templates,
        own_items=items,
        own_characters=contents.characters,
    )


def _contents(config: SuiteConfig, folder: Path) -> FileContents | None:
    """Items and characters; none where the items come from a run's mixture."""
    contents = read_contents(config, folder) if config.items.path is not None else None
    if config.items.generator != "arithmetic":
        return contents
    written = contents or FileContents([], {})
    made = arithmetic_items(config.name, list(written.characters), count=config.items.count, draw=config.items.draw)
    return written._replace(items=[*written.items, *made])


def _folder(reference: str) -> Path:
    if reference.startswith(OBJECT_SCHEME):
        folder = fetch_folder(reference)
    elif reference.startswith(HUB_SCHEME):
        folder = fetch_dataset_folder(reference)
    elif reference in suite_names():
        return _packaged() / reference
    else:
        folder = local_path(reference).expanduser()
    if not (folder / _FILE).is_file():
        close = difflib.get_close_matches(reference, suite_names(), n=1)
        what = "no packaged suite has that name, and" if _NAME.fullmatch(reference) else ""
        raise UserError(
            " ".join(f"suite '{reference}': {what} there is no file {folder / _FILE}".split()),
            hint=(f"did you mean '{close[0]}'? " if close else "")
            + f"packaged suites: {', '.join(suite_names())}; a suite of your own is a folder with {_FILE}",
        )
    return folder.resolve()


def _packaged() -> Path:
    folder = resources.files("opencharacter.suites")
    assert isinstance(folder, Path)
    return folder


def _templates(config: SuiteConfig, folder: Path, label: str) -> dict[str, Template]:
    named = {
        f"measures.{number}.{key}": file
        for number, settings in enumerate(config.measures)
        for key, file in make_measure(settings).files().items()
    }
    if config.system_prompt not in ("own", *PROMPT_FILES):
        named["system_prompt"] = config.system_prompt
    templates = {file: _template(file, folder, f"{label}: {key}") for key, file in named.items()}
    if "system_prompt" in named:
        check_macros(templates[config.system_prompt], _SYSTEM_MACROS, f"{label}: system_prompt")
    return templates


def _template(file: str, folder: Path, where: str) -> Template:
    """A text of the suite, else the packaged prompt of that name, which a user may have overridden."""
    path = folder / file
    if path.is_file():
        return Template(str(path), read_text(path))
    if file in packaged_templates():
        return load_template(file)
    raise UserError(f"{where}: there is no file {path}", hint="write it, or correct the name")


def _check_items(config: SuiteConfig, contents: FileContents, folder: Path) -> None:
    """Each item must be measured by something, and fit that."""
    measures = [make_measure(settings) for settings in config.measures]
    for number, item in enumerate(contents.items, 1):
        where = f"{folder / (config.items.path or '')}:{number}"
        takers = [measure for measure in measures if measure.takes(item)]
        if not takers:
            raise UserError(
                f"{where}: task: no measure of the suite takes an item of task '{item.task}'"
                + (f" with tags {item.tags}" if item.tags else ""),
                hint="correct the task, or name its rubric in suite.yaml",
            )
        for measure in takers:
            measure.check_item(item, where)


def _digest(config: SuiteConfig, templates: dict[str, Template], contents: FileContents | None) -> str:
    return digest(
        {
            "suite": config.model_dump(mode="json", exclude={"description", "license", "source"}),
            "texts": {file: template.hash for file, template in templates.items()},
            "items": [item.model_dump(mode="json") for item in contents.items] if contents else None,
        }
    )
