"""Makes suites from a user's copy of the PersonaGym repository. Nothing of its text is in this library.

The layout is that of vsamuel2003/PersonaGym or of its fork xyang0/PersonaGym, which the OpenCharacter authors used: the
texts of both are equal. A copy that differs from the published texts is refused unless that is allowed, because its
scores compare with nobody's; `published.json` holds digests alone.
"""

import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from opencharacter.characters.profile import CharacterProfile, Provenance
from opencharacter.errors import UserError
from opencharacter.evaluation.personagym.public_copy import (
    CODE,
    PROMPTS,
    TASKS,
    PublicCopy,
    SystemPrompt,
    read_copy,
    rubric_file,
)
from opencharacter.evaluation.suite_config import (
    AnswerConfig,
    ItemsConfig,
    Measure,
    PersonagymMeasure,
    RubricMeasure,
    ScoreConfig,
    SuiteConfig,
)
from opencharacter.hashing import file_digests, text_digest
from opencharacter.records.evaluation import Item
from opencharacter.records.models import Turn
from opencharacter.storage.jsonl import write_jsonl

SUITES = ("personagym", "personagym-light", "personagym-faithful", "personagym-light-faithful")
"""What an import makes."""

_OF_THE_CODE = ("identity", "opencharacter")
_ALLOW = "use a fresh clone; --allow-changes imports other texts and fewer personas: their scores compare with no table"


def import_personagym(
    folder: Path, out: Path, *, system_prompt: SystemPrompt = "own", allow_changes: bool = False
) -> list[Path]:
    """Make the suites of `SUITES` below `out` from a copy of the repository.

    Args:
        folder: The copy, as git clones it.
        out: Where the suites' folders go. Folders that are there and equal stay.
        system_prompt: What the suites ask the models with.
        allow_changes: Also take a copy that differs from the published texts, or lacks some of them.

    Returns:
        The folders of the suites.

    Raises:
        UserError: A file is missing, changed or not of the expected form, or another suite of that name is there.
    """
    copy = read_copy(folder)
    _check_system_prompt(copy, system_prompt)
    if copy.differences and not allow_changes:
        first, *others = copy.differences
        rest = f"; and {len(others)} more: {', '.join(others[:3])}{', …' * (len(others) > 3)}" if others else ""
        raise UserError(f"{folder}: not the published PersonaGym: {first}{rest}", hint=_ALLOW)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".importing-") as temporary:
        suites = [_write_suite(Path(temporary, name), copy, system_prompt) for name in SUITES]
        for suite in suites:
            there = out / suite.name
            if there.exists() and file_digests(there) != file_digests(suite):
                raise UserError(f"{there}: another suite is there", hint="remove it, or give another --out")
        for suite in suites:
            if not (out / suite.name).exists():
                shutil.move(suite, out / suite.name)
    return [out / name for name in SUITES]


def _check_system_prompt(copy: PublicCopy, name: SystemPrompt) -> None:
    if name not in _OF_THE_CODE:
        return
    if name not in copy.system_prompts:
        raise UserError(
            f"{copy.folder / CODE}: no system prompt '{name}' in it",
            hint="'opencharacter' is in xyang0/PersonaGym only; the others are own, immersive, paper and identity",
        )
    if text_digest(copy.system_prompts[name]) != copy.published["system_prompts"][name]["digest"]:
        copy.differences.append(f"{CODE}: the system prompt '{name}' differs")


def _write_suite(folder: Path, copy: PublicCopy, system_prompt: SystemPrompt) -> Path:
    light, faithful = "-light" in folder.name, folder.name.endswith("-faithful")
    folder.mkdir()
    questions = "the first question of each task" if light else "all questions"
    scoring = "scored as the public code does" if faithful else "one rubric a call, failures counted"
    template = f"system_{system_prompt}.md" if system_prompt in _OF_THE_CODE else system_prompt
    config = SuiteConfig(
        name=folder.name,
        description=f"PersonaGym, {len(copy.personas)} personas, {questions}; {scoring}",
        license=copy.license,
        source=copy.source,
        items=ItemsConfig(path="items.jsonl"),
        character="persona",
        system_prompt=template,
        answer=AnswerConfig(temperature=0.9, top_p=1.0, max_tokens=1024),
        measures=(_write_faithful(folder, copy) if faithful else _write_sound(folder, copy),),
        score=ScoreConfig(unit="character_id", within=("task",), clusters=("character_id",)),
        decides=not faithful,
    )
    sources: dict[str, Any] = {
        "source": copy.source,
        "license": copy.license,
        "differences": copy.differences,
        "files": dict(sorted(copy.files.items())),
    }
    if system_prompt in _OF_THE_CODE:
        _write(folder, template, copy.system_prompts[system_prompt])
        sources["system_prompt"] = copy.published["system_prompts"][system_prompt] | {
            "digest": text_digest(copy.system_prompts[system_prompt])
        }
    settings = config.model_dump(mode="json", exclude_unset=True)
    _write(folder, "suite.yaml", yaml.safe_dump(settings, sort_keys=False, allow_unicode=True, width=100))
    _write(folder, "sources.json", json.dumps(sources, ensure_ascii=False, indent=1) + "\n")
    write_jsonl(folder / "items.jsonl", _items(copy, folder.name, 1 if light else None))
    write_jsonl(folder / "characters.jsonl", (_character(copy, persona) for persona in copy.personas))
    return folder


def _write_faithful(folder: Path, copy: PublicCopy) -> Measure:
    for key, name in PROMPTS.items():
        _write(folder, name, copy.prompts[key])
    for task, text in copy.rubrics.items():
        _write(folder, rubric_file(task), text)
    rubrics = {name: rubric_file(task) for task, name in TASKS.items()}
    return PersonagymMeasure.model_validate({"kind": "personagym", "rubrics": rubrics, **PROMPTS})


def _write_sound(folder: Path, copy: PublicCopy) -> Measure:
    """The rubrics' descriptions and criteria; how to reply is said by our prompt, which is the same for every task."""
    for task, text in copy.rubrics.items():
        criteria = re.search(r"^Evaluation Task:.*?(?=^-{5,}$)", text, flags=re.DOTALL | re.MULTILINE)
        if criteria is None:
            raise UserError(
                f"{copy.folder / rubric_file(task)}: expected a line 'Evaluation Task:' and a line of dashes below it"
            )
        _write(folder, f"{TASKS[task]}.md", criteria[0].strip() + "\n")
    for name in ("judge.md", "examples.md"):
        _write(folder, name, resources.files(__package__).joinpath(name).read_text(encoding="utf-8"))
    return RubricMeasure(
        kind="rubric",
        scale=(1, 5),
        tasks={name: f"{name}.md" for name in TASKS.values()},
        examples="examples.md",
        prompt="judge.md",
    )


def _items(copy: PublicCopy, suite: str, first: int | None) -> Iterator[Item]:
    for persona, tasks in copy.personas.items():
        character = _character(copy, persona).id
        for task, questions in tasks.items():
            for number, question in enumerate(questions[:first], 1):
                yield Item(
                    id=f"{character}-{TASKS[task]}-{number:02d}",
                    suite=suite,
                    task=TASKS[task],
                    character_id=character,
                    session_id=text_digest(question)[:16],
                    turns=[Turn(role="user", content=question)],
                    source=copy.source,
                    license=copy.license,
                )


def _character(copy: PublicCopy, persona: str) -> CharacterProfile:
    provenance = Provenance(source=copy.source, licence=copy.license)
    try:
        character = CharacterProfile(persona=persona, provenance=provenance)
    except ValidationError as error:
        raise UserError(f"{copy.folder}: persona {persona[:60]!r}: {error.errors()[0]['msg']}") from error
    if character.persona != persona:
        raise UserError(f"{copy.folder}: persona {persona[:60]!r}: it begins or ends with a space")
    return character


def _write(folder: Path, name: str, text: str) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8", newline="\n")
