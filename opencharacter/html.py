"""Small pieces of HTML by which a notebook shows profiles, dialogues and outputs. Every text is escaped."""

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

_BOX = "border:1px solid #8884;border-radius:8px;padding:.7em 1em;margin:.4em 0;max-width:52em"
_MUTED = "opacity:.65;font-size:.9em"
_BUBBLE = "border-radius:8px;padding:.4em .8em;margin:.3em 0;white-space:pre-wrap;background:#8881"


def card(title: str, *parts: str, subtitle: str = "") -> str:
    """A box with a title; `parts` are HTML already."""
    muted = f" <span style='{_MUTED}'>{escape(subtitle)}</span>" if subtitle else ""
    return f"<div style='{_BOX}'><div><b>{escape(title)}</b>{muted}</div>{''.join(parts)}</div>"


def paragraph(text: str) -> str:
    """A muted line of text."""
    return f"<div style='{_MUTED}'>{escape(text)}</div>"


def fields(pairs: Iterable[tuple[str, str]]) -> str:
    """Labels and their texts, one under the other."""
    rows = "".join(
        f"<tr><td style='text-align:left;vertical-align:top;white-space:nowrap;{_MUTED}'>{escape(label)}</td>"
        f"<td style='text-align:left;white-space:pre-wrap'>{escape(text)}</td></tr>"
        for label, text in pairs
    )
    return f"<table style='margin:.3em 0'>{rows}</table>"


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table of values; numbers are rounded to four digits."""
    head = "".join(f"<th style='text-align:left'>{escape(name)}</th>" for name in header)
    body = "".join(
        "<tr>" + "".join(f"<td style='text-align:left'>{escape(_shown(value))}</td>" for value in row) + "</tr>"
        for row in rows
    )
    return f"<table style='margin:.3em 0'><tr>{head}</tr>{body}</table>"


def conversation(turns: Iterable[tuple[str, str]]) -> str:
    """Turns of a chat as role and text, the user's set in from the left."""
    return "".join(
        f"<div style='{_BUBBLE};margin-left:{'3em' if role == 'user' else '0'}'>"
        f"<span style='{_MUTED}'>{escape(role)}</span><br>{escape(text)}</div>"
        for role, text in turns
    )


def page(document: str, *, height: int = 640) -> str:
    """A whole HTML document in a frame of its own, so that its style stays inside; its scripts do not run."""
    return (
        f"<iframe srcdoc='{escape(document)}' sandbox='' style='width:100%;border:1px solid #8884' "
        f"height='{height}'></iframe>"
    )


def _shown(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
