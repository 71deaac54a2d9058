"""Score rows by the handful, and evaluations made of them."""

from collections.abc import Iterable, Sequence
from typing import Any

from opencharacter.evaluation import ScoreRow
from opencharacter.evaluation.summary import summarise
from opencharacter.hashing import digest
from opencharacter.records.evaluation import AnswerRow, Scoring
from opencharacter.storage.jsonl import write_jsonl
from opencharacter.storage.workspace import Artifact, Workspace


def score_rows(
    model: str,
    scores: Iterable[float | str],
    *,
    metric: str = "loss",
    cell: str = "held_out_both",
) -> list[ScoreRow]:
    """One row per score, for the questions q0, q1, ..., each of its own character and session; a text is a failure."""
    return [
        ScoreRow(
            question_id=f"{cell}-q{place}",
            character_id=f"{cell}-c{place}",
            session_id=f"s{place}",
            cell=cell,
            model=model,
            metric=metric,
            judge=None if metric in ("loss", "profile_swap_gap") else "judge",
            status=score if isinstance(score, str) else "ok",
            score=None if isinstance(score, str) else score,
        )
        for place, score in enumerate(scores)
    ]


def make_evaluation_of(
    workspace: Workspace,
    rows: Sequence[ScoreRow],
    models: dict[str, str],
    scoring: Scoring | None = None,
    *,
    answers: Sequence[AnswerRow] = (),
    **about: Any,
) -> Artifact:
    """The committed output of kind `evaluation` that holds these rows; `about` are further fields of its summary."""
    key = digest([models, about, [row.model_dump(mode="json") for row in (*rows, *answers)]])
    with workspace.create("evaluation", key) as draft:
        write_jsonl(draft.path / "rows.jsonl.zst", rows)
        if answers:
            write_jsonl(draft.path / "answers.jsonl.zst", answers)
        summary = summarise(rows, models, scoring).model_copy(update=about)
        (draft.path / "summary.json").write_text(summary.model_dump_json())
    ref = workspace.lookup("evaluation", key)
    assert ref is not None
    return ref
