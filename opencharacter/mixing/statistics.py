"""What the mixture holds, in figures."""

from array import array
from collections import Counter
from collections.abc import Sequence
from typing import Any, get_args

from opencharacter.characters.profile import CharacterProfile
from opencharacter.mixing.candidates import Candidate
from opencharacter.mixing.licences import UNKNOWN, parts
from opencharacter.records.models import Cell, TrainingRow

_PERCENTILES = (5, 25, 50, 75, 95, 99, 100)
_FIRST_BIN = 32


class CellFigures:
    """Figures of one cell of the split grid. Memory: four bytes a row, and the ids of its characters and sessions."""

    def __init__(self) -> None:
        self.characters: set[str] = set()
        self.sessions: set[str] = set()
        self._counts: dict[str, Counter[str]] = {
            name: Counter()
            for name in ("strategies", "corpora", "licences", "prompt_views", "after_profile", "teachers", "refusals")
        }
        self._tokens = array("I")

    @property
    def rows(self) -> int:
        """Rows written, copies included."""
        return len(self._tokens)

    def add(self, row: TrainingRow, candidate: Candidate, tokens: int) -> None:
        """Count a written row."""
        self._tokens.append(tokens)
        self.sessions.add(candidate.session_key)
        if row.character_id is not None:
            self.characters.add(row.character_id)
        self._counts["strategies"][row.strategy] += 1
        self._counts["corpora"][candidate.corpus] += 1
        self._counts["licences"][row.licence] += 1
        self._counts["prompt_views"][row.prompt_view] += 1
        if row.after_profile != "none":
            self._counts["after_profile"][row.after_profile] += 1
        if candidate.teacher is not None:
            self._counts["teachers"][candidate.teacher] += 1
        if candidate.refusal is not None:
            self._counts["refusals"][candidate.refusal] += 1

    def dump(self) -> dict[str, Any]:
        """The figures as JSON."""
        return {
            "rows": self.rows,
            "characters": len(self.characters),
            "sessions": len(self.sessions),
            **{name: dict(sorted(counts.items())) for name, counts in self._counts.items()},
            "tokens": token_figures(self._tokens),
        }


class Figures:
    """Figures of the whole mixture: of its `cells`, and of what its data come from."""

    def __init__(self, *, duplicate_personas: int) -> None:
        """`duplicate_personas` is the number of characters left out because another has nearly the same persona."""
        self._duplicate_personas = duplicate_personas
        self.cells: dict[Cell, CellFigures] = {cell: CellFigures() for cell in get_args(Cell)}
        self._sources: Counter[tuple[str, str, str]] = Counter()
        self._licences: Counter[str] = Counter()

    @property
    def characters(self) -> set[str]:
        """Ids of the characters that have a row in any cell."""
        return set().union(*(cell.characters for cell in self.cells.values()))

    @property
    def licences(self) -> dict[str, int]:
        """Every single licence that binds a row → the number of rows that it binds."""
        return dict(sorted(self._licences.items()))

    def add(self, row: TrainingRow, candidate: Candidate, tokens: int, character: CharacterProfile | None) -> None:
        """Count a written row of `character`; `tokens` is its length."""
        self.cells[row.cell].add(row, candidate, tokens)
        self._licences.update(parts(row.licence))
        self._sources["sessions", candidate.source, candidate.session_licence] += 1
        if character is not None:
            provenance = character.provenance
            known = (provenance.source, provenance.licence) if provenance else (UNKNOWN, UNKNOWN)
            self._sources["characters", *known] += 1

    def dump(self, *, dropped: Counter[str], warnings: Sequence[str]) -> dict[str, Any]:
        """The content of `statistics.json`."""
        return {
            "cells": {cell: figures.dump() for cell, figures in self.cells.items()},
            "duplicate_personas": self._duplicate_personas,
            "dropped": dict(sorted(dropped.items())),
            "licences": self.licences,
            "sources": [
                {"part": part, "source": source, "licence": licence, "rows": rows}
                for (part, source, licence), rows in sorted(self._sources.items())
            ],
            "warnings": list(warnings),
        }


def token_figures(lengths: Sequence[int]) -> dict[str, Any]:
    """Sum, mean, percentiles (nearest rank) and histogram (bins that double) of row lengths in tokens."""
    if not lengths:
        return {"total": 0}
    ordered = sorted(lengths)
    count = len(ordered)
    bins: Counter[int] = Counter(max(_FIRST_BIN, 1 << (length - 1).bit_length()) for length in ordered)
    return {
        "total": sum(ordered),
        "mean": round(sum(ordered) / count, 1),
        "percentiles": {f"p{share}": ordered[-(-share * count // 100) - 1] for share in _PERCENTILES},
        "histogram": [{"up_to": edge, "rows": rows} for edge, rows in sorted(bins.items())],
    }
