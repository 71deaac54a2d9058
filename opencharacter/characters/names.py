"""First names of characters, to see how many different people a teacher invents."""

import re

_TITLE = re.compile(
    r"(?:mr|mrs|ms|miss|mx|dr|prof|professor|doctor|capt|captain|sgt|sergeant|lt|lieutenant|col|colonel|gen|general|sir|dame"
    r"|lady|lord|rev|reverend|father|mother|brother|sister|madame|monsieur|señora?|herr|frau|chief|coach|judge|officer)\.?",
    re.IGNORECASE,
)


def first_name(name: str) -> str:
    """The first word of a name that is no title; a name without spaces as it is."""
    words = [word.strip("\"'“”‘’(),") for word in name.split()]
    named = [word for word in words if not _TITLE.fullmatch(word)]
    return (named or words or [name])[0]
