"""Reads a user's copy of the PersonaGym repository and checks it: nothing of it is run."""

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from opencharacter.errors import UserError
from opencharacter.evaluation.personagym.faithful import PLACEHOLDERS, RUBRIC_PLACEHOLDERS, placeholder_fault
from opencharacter.hashing import digest, text_digest
from opencharacter.texts import text_fault

SystemPrompt = Literal["own", "immersive", "paper", "identity", "opencharacter"]
"""`own`: each model's; `immersive`, `paper`: ours, for all; `identity`, `opencharacter`: the public code's, for all.

The public code asks the models of its tables with `identity`, and the fork its OpenCharacter model with the other.
"""

TASKS = {
    "Expected Action": "expected_action",
    "Toxicity": "toxicity_control",
    "Linguistic Habits": "linguistic_habits",
    "Persona Consistency": "persona_consistency",
    "Action Justification": "action_justification",
}
"""The repository's name of each task, and ours."""

PROMPTS = {
    "judge_system": "prompts/rubric_grading/sys_prompt.txt",
    "judge_prompt": "prompts/rubric_grading/prompt.txt",
    "example": "prompts/score_examples/prompt.txt",
    "examples": "prompts/score_examples/examples.txt",
}
"""The prompts that the fork's code uses. The upstream repository has no `examples`; it is part of `_PARALLEL`."""

CODE = "code/utils.py"
"""Where the system prompts are."""

_PARALLEL = "prompts/score_examples/parallel_examples.txt"
_PERSONAS = "code/personas.py"
_QUESTIONS = "questions/benchmark-v1"
_LIGHT = "questions/benchmark-v1_personagym-light"
_SYSTEM_PROMPTS = {"persona_prompt": "identity", "sys_prompt": "opencharacter"}
"""Variables of the code, and what we call the prompts in them."""


@dataclass
class PublicCopy:
    """What was read."""

    folder: Path
    files: dict[str, str] = field(default_factory=dict)
    """Digest of each text that suites are made of."""
    differences: list[str] = field(default_factory=list)
    """What is not as published, in words."""
    source: str = ""
    license: str = ""
    prompts: dict[str, str] = field(default_factory=dict)
    """By the keys of `PROMPTS`."""
    rubrics: dict[str, str] = field(default_factory=dict)
    personas: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    """Questions of each task, by persona."""
    system_prompts: dict[str, str] = field(default_factory=dict)
    """Those of the code, as templates."""
    published: dict[str, Any] = field(default_factory=dict)
    """Digests of the published texts."""


def read_copy(folder: Path) -> PublicCopy:
    """Read the copy, and list what differs from the published texts. Raises `UserError` for a form that is not theirs.

    A copy without code takes its personas from the names of the questions' files.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder", hint="clone vsamuel2003/PersonaGym or xyang0/PersonaGym")
    published = json.loads(resources.files(__package__).joinpath("published.json").read_text(encoding="utf-8"))
    copy = PublicCopy(folder, published=published)
    _read_prompts(copy)
    _read_questions(copy)
    if (folder / CODE).is_file():
        copy.system_prompts = dict(_system_prompts(_parsed(folder / CODE, _read_text(folder, CODE))))
    changed = [
        *(name for name, known in published["files"].items() if copy.files.get(name, known) != known),
        *(
            f"the questions of {name!r}"
            for name, questions in copy.personas.items()
            if digest([name, questions])[:16] not in published["questions"]
        ),
    ]
    copy.differences[:0] = [f"{what} differ{'s' * what.endswith('.txt')}" for what in changed]
    if len(copy.personas) < len(published["questions"]):
        copy.differences.append(f"{len(copy.personas)} of {len(published['questions'])} personas are there")
    # The fork has no licence file, but its texts are the upstream repository's, byte for byte.
    copy.source = f"a changed copy of {published['source']}" if changed else published["source"]
    copy.license = _license(folder) if changed else published["license"]
    return copy


def rubric_file(task: str) -> str:
    """The file of a task's rubric."""
    return f"rubrics/{task}.txt"


def _license(folder: Path) -> str:
    path = folder / "LICENSE"
    title = path.read_text(encoding="utf-8").partition("\n")[0].strip() if path.is_file() else ""
    return title.removesuffix(" License") or "no licence file"


def _read_text(folder: Path, name: str) -> str:
    path = folder / name
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        hint = f"{folder} should be a clone of vsamuel2003/PersonaGym or xyang0/PersonaGym"
        raise UserError(f"{path}: the file is missing", hint=hint) from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8: {error}") from error


def _read_prompts(copy: PublicCopy) -> None:
    for key, name in PROMPTS.items():
        if key == "examples" and not (copy.folder / name).is_file():
            # The fork's prompt for one rubric is the upstream's for five, without the form of four of them.
            parallel = _read_text(copy.folder, _PARALLEL)
            text = re.sub(r"^Rubric 2 Examples.*?(?=^Rubrics:)", "", parallel, flags=re.DOTALL | re.MULTILINE)
        else:
            text = _read_text(copy.folder, name)
        copy.prompts[key] = _checked(copy, name, text, PLACEHOLDERS[key])
    for task in TASKS:
        name = rubric_file(task)
        copy.rubrics[task] = _checked(copy, name, _read_text(copy.folder, name), RUBRIC_PLACEHOLDERS)


def _checked(copy: PublicCopy, name: str, text: str, expected: set[str]) -> str:
    copy.files[name] = text_digest(text)
    if fault := placeholder_fault(text, expected):
        raise UserError(f"{copy.folder / name}: {fault}")
    return text


def _read_questions(copy: PublicCopy) -> None:
    folder = next((name for name in (_QUESTIONS, "questions") if (copy.folder / name).is_dir()), None)
    if folder is None:
        raise UserError(f"{copy.folder / _QUESTIONS}: the folder is missing")
    names = _listed_personas(copy) or sorted(path.stem for path in (copy.folder / folder).glob("*.json"))
    if not names:
        raise UserError(f"{copy.folder / folder}: no file of questions (PERSONA.json) is in it")
    for persona in names:
        name = f"{folder}/{persona}.json"
        text = _read_text(copy.folder, name)
        copy.files[name] = text_digest(text)
        copy.personas[persona] = questions = _questions(copy.folder / name, text)
        light = copy.folder / _LIGHT / f"{persona}.json"
        if light.is_file() and _json(light, light.read_text(encoding="utf-8")) != {
            task: texts[:1] for task, texts in questions.items()
        }:
            copy.differences.append(f"{_LIGHT}/{persona}.json does not hold the first question of each task")


def _listed_personas(copy: PublicCopy) -> list[str]:
    """The personas in the order of the repository's list; none where the copy has no list."""
    path = copy.folder / _PERSONAS
    if not path.is_file():
        copy.differences.append(f"{_PERSONAS} is missing")
        return []
    for statement in _parsed(path, _read_text(copy.folder, _PERSONAS)).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "benchmark_personas":
            try:
                names = ast.literal_eval(statement.value)
            except ValueError:
                break
            if isinstance(names, list) and names and all(isinstance(name, str) for name in names):
                return list(dict.fromkeys(names))
    raise UserError(f"{path}: expected benchmark_personas = [...], a list of texts")


def _questions(path: Path, text: str) -> dict[str, list[str]]:
    value = _json(path, text)
    if not isinstance(value, dict) or value.keys() != TASKS.keys():
        found = ", ".join(sorted(value)) if isinstance(value, dict) else type(value).__name__
        raise UserError(f"{path}: expected questions of {', '.join(TASKS)}; found {found}")
    for task, questions in value.items():
        if not isinstance(questions, list) or not questions:
            raise UserError(f"{path}: {task}: expected a list of questions")
        for number, question in enumerate(questions):
            if not isinstance(question, str) or text_fault(question):
                raise UserError(f"{path}: {task}[{number}]: expected the text of a question")
    return {task: value[task] for task in TASKS}


def _json(path: Path, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise UserError(f"{path}: not JSON: {error}") from error


def _parsed(path: Path, text: str) -> ast.Module:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError) as error:
        raise UserError(f"{path}: not Python: {error}") from error


def _system_prompts(module: ast.Module) -> Iterator[tuple[str, str]]:
    """What the code puts together in its variables, where there is a persona."""
    for branch in ast.walk(module):
        if not (isinstance(branch, ast.If) and isinstance(branch.test, ast.Name) and branch.test.id == "persona"):
            continue
        for variable, name in _SYSTEM_PROMPTS.items():
            parts = [_template(value) for value in _assigned(branch.body, variable)]
            if parts and None not in parts:
                yield name, "".join(part for part in parts if part)


def _assigned(body: list[ast.stmt], variable: str) -> Iterator[ast.expr]:
    for statement in body:
        if isinstance(statement, ast.Assign | ast.AugAssign):
            target = statement.target if isinstance(statement, ast.AugAssign) else statement.targets[0]
            if isinstance(target, ast.Name) and target.id == variable:
                yield statement.value


def _template(value: ast.expr) -> str | None:
    """A text of the code with the persona as a macro; none for anything else."""
    if isinstance(value, ast.Constant):
        return value.value if isinstance(value.value, str) else None
    parts = value.values if isinstance(value, ast.JoinedStr) else [None]
    texts = ["{{persona}}" if _is_persona(part) else _template(part) if part else None for part in parts]
    return None if None in texts else "".join(text for text in texts if text)


def _is_persona(part: ast.expr | None) -> bool:
    return isinstance(part, ast.FormattedValue) and isinstance(part.value, ast.Name) and part.value.id == "persona"
