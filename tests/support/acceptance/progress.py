"""Progress lines: pytest keeps the output of a test to itself until it fails, so these go past it."""

import sys
import time
from collections.abc import Callable

_out: Callable[[str], None] | None = None


def say_with(write: Callable[[str], None] | None) -> None:
    """Let `say` write so."""
    global _out
    _out = write


def say(text: str) -> None:
    """One line of progress, with the time."""
    line = f"{time.strftime('%H:%M:%S')} {text}"
    if _out:
        _out(line)
    else:
        print(line, file=sys.stderr)
