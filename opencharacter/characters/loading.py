"""Reading one character profile from a file that a user wrote."""

import difflib
import json
from pathlib import Path

from pydantic import ValidationError

from opencharacter.characters.profile import CharacterProfile
from opencharacter.characters.text import parse_profile
from opencharacter.errors import UserError


def load_profile(path: str | Path) -> CharacterProfile:
    """Read a profile: a JSON object, or the published text form that starts with `Name:`.

    Args:
        path: The file.

    Raises:
        UserError: The message names the file and the line or key at fault.

    Example:
        >>> profile = load_profile("profile.json")
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; expected a character profile (JSON, or text with 'Name:')") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as UTF-8 text: {error}") from error
    if path.suffix == ".json" or text.lstrip().startswith("{"):
        return _from_json(path, text)
    try:
        return parse_profile(text)
    except UserError as error:
        raise UserError(f"{path}: {error}", hint=error.hint) from error


def _from_json(path: Path, text: str) -> CharacterProfile:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{path}:{error.lineno}: not valid JSON: {error.msg}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid JSON: {error}") from error
    try:
        return CharacterProfile.model_validate(value)
    except ValidationError as error:
        raise UserError("\n".join(f"{path}: {problem}" for problem in _problems(error))) from error


def _problems(error: ValidationError) -> list[str]:
    problems = []
    for problem in error.errors():
        key = ".".join(map(str, problem["loc"]))
        if problem["type"] == "missing":
            problems.append(f"{key}: is missing")
        elif problem["type"] == "extra_forbidden":
            known = list(CharacterProfile.model_fields)
            close = difflib.get_close_matches(key, known, n=1)
            problems.append(
                f"{key}: unknown key; " + (f"did you mean '{close[0]}'?" if close else f"known: {', '.join(known)}")
            )
        else:
            message = problem["msg"].removeprefix("Value error, ")
            found = message if problem["type"] == "value_error" else "expected a JSON object"
            problems.append(f"{key}: {message}" if key else found)
    return problems
