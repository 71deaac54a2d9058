"""What a check has found."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """The outcome of one check."""

    subject: str
    state: Literal["ok", "missing", "differs", "warning", "unknown"]
    """`differs`: it is there, and not as it must be; `warning`: it works, and not as one may expect, or not
    at once; `unknown`: it cannot be told from here."""
    message: str
    hint: str | None = None
