"""API keys, which come from environment variables and nowhere else."""

import os

from opencharacter.errors import UserError
from opencharacter.redaction import protect

_USUAL = "OPENAI_API_KEY"


def read_api_key(variable: str, purpose: str) -> str:
    """The key that an environment variable holds, without the space around it; no message shows it from then on.

    `purpose` ends "expected the API key for". Raises `UserError` if the variable is empty, or holds what no HTTP header
    can hold.
    """
    key = os.environ.get(variable, "").strip().strip("\ufeff").strip()
    if not key:
        raise UserError(
            f"the environment variable {variable} is empty; expected the API key for {purpose}",
            hint=f"export {variable}=..., in a notebook os.environ['{variable}'] = getpass.getpass() "
            "(never put the key itself into a file)",
        )
    protect(key)
    position = next((position for position, letter in enumerate(key, 1) if not " " <= letter <= "~"), None)
    if position is not None:
        raise UserError(
            f"the environment variable {variable} holds a character that no HTTP header can hold (number {position} of "
            f"{len(key)}); expected an API key: letters, digits and signs in one line",
            hint=f"copy the key again: export {variable}=...",
        )
    return key


def usual_variable() -> str | None:
    """The variable that OpenAI's own clients read, if it is set."""
    return _USUAL if os.environ.get(_USUAL) else None
