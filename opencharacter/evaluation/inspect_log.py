"""Evaluations as logs of inspect_ai, so that people can page through answers and scores with `inspect view`.

The logs are plain JSON; inspect_ai itself is not needed to write them.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

from opencharacter.errors import UserError
from opencharacter.records.evaluation import AnswerRow, Item, ScoreRow, Summary
from opencharacter.records.models import Turn
from opencharacter.storage.kinds import ANSWERS, ITEMS, SCORES, SUMMARY
from opencharacter.storage.workspace import Artifact

_VERSION = 2
"""Of inspect's log format."""
_STOP_REASONS = {"stop": "stop", "length": "max_tokens", "content_filter": "content_filter"}
_Key = tuple[str, int]
"""Item and repeat."""


def write_inspect_logs(evaluation: Artifact, folder: Path) -> list[Path]:
    """Write a log for each model of an evaluation.

    A sample is an item and a repeat, with the conversation, the answer, and the scores by metric; a judge's reason is
    the score's explanation. What has no score is in the sample's metadata, by metric.

    Args:
        evaluation: An output of kind `evaluation`.
        folder: Gets the logs; it is what `inspect view --log-dir` takes.

    Returns:
        The files.

    Raises:
        UserError: The output is of another kind, or holds no scores.
    """
    if evaluation.kind != "evaluation":
        raise UserError(f"{evaluation.uri}: expected an evaluation, not {evaluation.kind}")
    summary = SUMMARY.read(evaluation)
    items = {item.id: item for item in ITEMS.read(evaluation)} if ITEMS.exists(evaluation) else {}
    answers = list(ANSWERS.read(evaluation)) if ANSWERS.exists(evaluation) else []
    scores = list(SCORES.read(evaluation))
    if not scores:
        raise UserError(f"{evaluation.uri}: the evaluation holds no scores")
    folder.mkdir(parents=True, exist_ok=True)
    now = datetime.now(UTC).replace(microsecond=0)
    written: dict[str, Path] = {}
    for name, identity in summary.models.items():
        if identity in written:
            continue  # the same weights under another role
        log = _log(summary, name, identity, items, answers, scores, now)
        stem = re.sub(r"[^A-Za-z0-9.-]+", "-", f"{summary.suite}-{name}")
        # The beginning is what inspect knows a log by.
        path = folder / f"{now.strftime('%Y-%m-%dT%H-%M-%S')}+00-00_{stem}_{evaluation.key[:12]}.json"
        path.write_text(json.dumps(log, ensure_ascii=False, indent=1), encoding="utf-8")
        written[identity] = path
    return list(written.values())


def _log(
    summary: Summary,
    name: str,
    identity: str,
    items: dict[str, Item],
    answers: Sequence[AnswerRow],
    scores: Sequence[ScoreRow],
    now: datetime,
) -> dict[str, Any]:
    answered: dict[_Key, AnswerRow] = {(row.question_id, row.repeat): row for row in answers if row.model == identity}
    scored: defaultdict[_Key, list[ScoreRow]] = defaultdict(list)
    for row in scores:
        if row.model == identity:
            scored[row.question_id, row.repeat].append(row)
    keys = list(dict.fromkeys([*answered, *scored]))
    samples = [_sample(name, key, items.get(key[0]), answered.get(key), scored[key]) for key in keys]
    moment, means = now.isoformat(), _values(chain.from_iterable(scored.values()))
    return {
        "version": _VERSION,
        "status": "success",
        "eval": {
            "created": moment,
            "task": summary.suite,
            "task_version": (summary.suite_digest or "0")[:12],
            "dataset": {"name": summary.suite, "samples": len(samples), "shuffled": False},
            "model": name,
            "config": {"epochs": max((repeat for _, repeat in keys), default=0) + 1},
            "metadata": {"identity": identity, "judges": summary.judges or summary.judge or ""},
        },
        "results": {
            "total_samples": len(samples),
            "completed_samples": len(samples),
            "scores": [_mean(metric, values) for metric, values in means.items()],
        },
        "stats": {"started_at": moment, "completed_at": moment},
        "samples": samples,
    }


def _mean(metric: str, values: Sequence[float]) -> dict[str, Any]:
    mean = {"name": "mean", "value": sum(values) / len(values)}
    return {"name": metric, "scorer": metric, "metrics": {"mean": mean}}


def _sample(
    name: str, key: _Key, item: Item | None, answer: AnswerRow | None, rows: Sequence[ScoreRow]
) -> dict[str, Any]:
    said = [_message(turn) for turn in (answer.conversation if answer else item.turns if item else ())]
    sample: dict[str, Any] = {
        "id": key[0],
        "epoch": key[1] + 1,
        "input": said or key[0],
        "target": (item.reference if item else None) or "",
        "messages": said,
        "scores": {
            metric: {
                "value": sum(values) / len(values),
                "answer": answer.answer if answer else None,
                "explanation": "\n\n".join(row.note for row in rows if row.metric == metric and row.note) or None,
            }
            for metric, values in _values(rows).items()
        },
        "metadata": _about(rows, answer),
    }
    if answer is not None and answer.answer is not None:
        reply = {"role": "assistant", "content": answer.answer, "source": "generate", "model": name}
        sample["messages"] = [*said, reply]
        sample["output"] = {
            "model": answer.reported_model or name,
            "choices": [{"message": reply, "stop_reason": _STOP_REASONS.get(answer.finish_reason or "", "unknown")}],
            "usage": {
                "input_tokens": answer.usage.prompt_tokens,
                "output_tokens": answer.usage.completion_tokens,
                "total_tokens": answer.usage.prompt_tokens + answer.usage.completion_tokens,
            },
        }
    return sample


def _about(rows: Sequence[ScoreRow], answer: AnswerRow | None) -> dict[str, Any]:
    row: AnswerRow | ScoreRow | None = answer or next(iter(rows), None)
    about = {"character_id": row and row.character_id, "session_id": row and row.session_id, "cell": row and row.cell}
    about |= {"status": answer.status} if answer else {}
    unscored = {each.metric: each.status for each in rows if each.score is None}
    return {key: value for key, value in about.items() if value} | ({"unscored": unscored} if unscored else {})


def _values(rows: Iterable[ScoreRow]) -> dict[str, list[float]]:
    """Scores by metric; those of several judges together."""
    values: defaultdict[str, list[float]] = defaultdict(list)
    for row in rows:
        if row.score is not None:
            values[row.metric].append(row.score)
    return dict(values)


def _message(turn: Turn) -> dict[str, str]:
    return {"role": turn.role, "content": turn.content}
