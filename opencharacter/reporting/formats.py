"""Numbers and names as people read them."""

import re

from opencharacter.hashing import seed64

_WORD_BREAK = re.compile(r"[_\s]+")

CELL_LABELS = {
    "train": "seen in training",
    "seen_character_held_out_session": "known character, new session",
    "held_out_character_seen_session": "new character, known session",
    "held_out_both": "new character, new session",
    "held_out": "all held out",
}


def number(value: float | int | None, digits: int = 2) -> str:
    """Integers with thousands apart, others with `digits` decimals; a dash for nothing."""
    if value is None:
        return "–"
    if isinstance(value, int):
        return f"{value:,}".replace(",", " ")
    return f"{value:.{digits}f}".replace("-", "−")


def signed(value: float | None, digits: int = 2) -> str:
    """A difference, with its sign; a dash for nothing."""
    return "–" if value is None else f"{value:+.{digits}f}".replace("-", "−")


def percent(value: float | None, digits: int = 0) -> str:
    """A share as a percentage; a dash for nothing."""
    return "–" if value is None else f"{100 * value:.{digits}f}\u00a0%"


def duration(seconds: float | None) -> str:
    """Seconds as `0.4 s`, `2 min 05 s` or `3 h 20 min`."""
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def words(name: str) -> str:
    """An identifier as words: `held_out_both` becomes `held out both`."""
    return _WORD_BREAK.sub(" ", name).strip()


def initials(name: str) -> str:
    """One or two capital letters that stand for a name."""
    parts = [part for part in re.split(r"[\s\-]+", name) if part[:1].isalpha()]
    if not parts:
        return "?"
    return (parts[0][0] + (parts[-1][0] if len(parts) > 1 else "")).upper()


def hue(identifier: str) -> int:
    """A colour for an id: a hue in degrees, the same in every report."""
    return seed64("hue", identifier) % 360
