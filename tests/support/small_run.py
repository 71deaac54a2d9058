"""A small run whose outputs lie in a real workspace, written with the models that the steps write with."""

from pathlib import Path
from typing import Any

from opencharacter.characters.profile import CharacterProfile, Provenance
from opencharacter.records.models import DialogueRow, Session, Turn, Usage
from opencharacter.storage.jsonl import write_jsonl
from opencharacter.storage.workspace import Artifact, Workspace

Rows = dict[str, list[Any]]


class OutputMaker:
    """Commits outputs to a workspace."""

    def __init__(self, root: Path) -> None:
        self.workspace = Workspace(root)

    def __call__(
        self,
        kind: str,
        rows: Rows | None = None,
        *,
        texts: dict[str, str] | None = None,
        counts: dict[str, int] | None = None,
        stats: dict[str, Any] | None = None,
    ) -> Artifact:
        key = f"{kind}-{len(self.workspace.list(kind))}"
        with self.workspace.create(kind, key) as draft:
            for name, content in (rows or {}).items():
                write_jsonl(draft.path / name, content)
            for name, text in (texts or {}).items():
                (draft.path / name).write_text(text, encoding="utf-8")
            draft.counts = counts or {}
            draft.stats = stats or {}
        ref = self.workspace.lookup(kind, key)
        assert ref is not None
        return ref


def profile(name: str, **attributes: str) -> CharacterProfile:
    return CharacterProfile.model_validate(
        {
            "name": name,
            "age": "41",
            "gender": "Female",
            "race": "Andean",
            "birth_place": "Cusco, Peru",
            "appearance": "Small, with quick hands.",
            "experience": "Grew ninety kinds of potato.",
            "personality": "Stubborn and kind.",
            "persona": f"{name} farms at four thousand metres.",
            "provenance": Provenance(source="personas.jsonl", licence="CC0-1.0", model="teacher-1"),
            **attributes,
        }
    )


def turns(*texts: str) -> tuple[Turn, ...]:
    return tuple(Turn(role="assistant" if place % 2 else "user", content=text) for place, text in enumerate(texts))


def session(name: str, *texts: str) -> Session:
    return Session(id=name, corpus="demo", turns=turns(*texts), source="sessions.jsonl", licence="CC0-1.0")


def dialogue(strategy: str, of: Session, character: CharacterProfile, *answers: str) -> DialogueRow:
    texts = [text for pair in zip(of.user_turns, answers, strict=True) for text in pair]
    return DialogueRow(
        row_id=f"{strategy}-{of.id}-{character.id}",
        corpus=of.corpus,
        session_id=of.id,
        character_id=character.id,
        strategy=strategy,  # type: ignore[arg-type]
        turns=turns(*texts),
        source=of.source,
        licence=of.licence,
        model="teacher-1",
        prompt_hash="0" * 64,
        usage=Usage(calls=1, prompt_tokens=100, completion_tokens=20),
    )


def score(model: str, cell: str, metric: str, mean: float | None, n: int = 12, **failures: int) -> dict[str, Any]:
    low, high = (None, None) if mean is None else (mean - 0.1, mean + 0.1)
    return {
        "model": model, "cell": cell, "metric": metric, "n": n, "mean": mean, "low": low, "high": high,
        "failures": failures,
    }  # fmt: skip


def difference(
    cell: str, metric: str, value: float, low: float, high: float, *, clusters: int | None = 40, p: float | None = 1.0
) -> dict[str, Any]:
    return {
        "against": "base", "cell": cell, "metric": metric, "n": 12, "difference": value, "low": low, "high": high,
        "clusters": clusters, "p": p,
    }  # fmt: skip


def summary() -> dict[str, Any]:
    """An evaluation in which the loss fell clearly, and the profile-swap gap not."""
    cells = ["train", "seen_character_held_out_session", "held_out_character_seen_session", "held_out_both", "held_out"]
    scores, differences = [], []
    for place, cell in enumerate(cells):
        scores += [score("base", cell, "loss", 2.9 + place / 20), score("challenger", cell, "loss", 2.1 + place / 10)]
        scores += [score("base", cell, "profile_swap_gap", 0.02), score("challenger", cell, "profile_swap_gap", 0.04)]
        differences.append(difference(cell, "loss", -0.8 + place / 20, -0.9 + place / 20, -0.7 + place / 20, p=1e-6))
        differences.append(difference(cell, "profile_swap_gap", 0.02, -0.03, 0.07))
    for cell in ("held_out_both", "held_out"):
        scores.append(score("base", cell, "persona_consistency", 2.5, parse_failure=2))
        scores.append(score("challenger", cell, "persona_consistency", None, n=0, parse_failure=3))
    return {
        "models": {"base": "b" * 64, "challenger": "c" * 64},
        "judge": "judge-1",
        "confidence": 0.95,
        "scores": scores,
        "differences": differences,
    }


def answer(model: str, question: str, character_id: str, text: str | None) -> dict[str, Any]:
    """A row of the evaluation's sample answers."""
    return {
        "question_id": question,
        "character_id": character_id,
        "session_id": "s1",
        "cell": "held_out_both",
        "model": model * 64,
        "status": "ok" if text else "empty_answer",
        "conversation": [{"role": "user", "content": f"Question {question}?"}],
        "answer": text,
        "finish_reason": "stop",
    }


def statistics() -> dict[str, Any]:
    """A mixture's statistics, with a row left out."""
    by_name: dict[str, Any] = {name: {} for name in ("strategies", "corpora", "licences", "prompt_views", "teachers")}
    cells = ["train", "seen_character_held_out_session", "held_out_character_seen_session", "held_out_both"]
    by_name["prompt_views"] = {"persona": 6, "persona_and_profile": 58}
    return {
        "system_prompt": "paper",
        "cells": {
            cell: {"rows": 64 - 9 * place, "characters": 20, "sessions": 18, "tokens": {"total": 9000}} | by_name
            for place, cell in enumerate(cells)
        },
        "duplicate_personas": 0,
        "dropped": {"near_duplicate_answer": 4},
        "licences": {"CC0-1.0": 140},
        "sources": [{"part": "sessions", "source": "sessions.jsonl", "licence": "CC0-1.0", "rows": 140}],
        "warnings": [],
    }
