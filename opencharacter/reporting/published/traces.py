"""Judged answers as MLflow traces with assessments, so that its pages for generative models show them."""

import logging
from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING

from opencharacter.hashing import seed64
from opencharacter.records.evaluation import AnswerRow, ScoreRow
from opencharacter.storage.artifacts import Artifact
from opencharacter.storage.kinds import ANSWERS, SCORES

if TYPE_CHECKING:
    from mlflow import MlflowClient

_log = logging.getLogger(__name__)


def log_traces(
    client: "MlflowClient", experiment_id: str, evaluation: Artifact, runs: Mapping[str, str], *, count: int, seed: int
) -> None:
    """Log the answers to `count` questions, the same ones of every model, with what the judges said of them.

    Args:
        client: Of the server.
        experiment_id: Where the traces go.
        evaluation: An output of kind `evaluation`.
        runs: By identity of the model, the run that its traces belong to.
        count: How many questions.
        seed: Decides which.
    """
    from mlflow.exceptions import MlflowException

    if not ANSWERS.exists(evaluation):
        return
    answers = [row for row in ANSWERS.read(evaluation) if row.model in runs and row.repeat == 0]
    questions = sorted({row.question_id for row in answers}, key=lambda name: seed64("trace", seed, name))[:count]
    chosen = set(questions)
    scores: dict[tuple[str, str], list[ScoreRow]] = defaultdict(list)
    for row in SCORES.read(evaluation):
        if row.repeat == 0 and row.question_id in chosen:
            scores[row.model, row.question_id].append(row)
    traces: dict[str, list[str]] = defaultdict(list)
    try:
        for answer in answers:
            if answer.question_id in chosen:
                trace = _log_answer(experiment_id, answer, scores[answer.model, answer.question_id])
                traces[runs[answer.model]].append(trace)
        for run_id, ids in traces.items():
            for start in range(0, len(ids), 100):
                client.link_traces_to_run(ids[start : start + 100], run_id)
    except MlflowException as error:
        # The scores are published; traces are for looking at, and an older server has none.
        _log.warning("MLflow takes no traces (%s): judged answers are not shown there", str(error).splitlines()[0])


def _log_answer(experiment_id: str, answer: AnswerRow, scores: list[ScoreRow]) -> str:
    import mlflow
    from mlflow.entities import AssessmentError, AssessmentSource

    span = mlflow.start_span_no_context(
        name="answer",
        span_type="CHAT_MODEL",
        inputs={"messages": [turn.model_dump() for turn in answer.conversation]},
        tags={"suite": answer.suite, "question": answer.question_id, "character": answer.character_id or ""},
        experiment_id=experiment_id,
    )
    span.set_outputs({"role": "assistant", "content": answer.answer or "", "finish_reason": answer.finish_reason})
    span.end()
    trace_id = str(span.trace_id)
    # The server must have the trace before an assessment of it.
    mlflow.flush_trace_async_logging()
    for row in scores:
        kind = "LLM_JUDGE" if row.judge else "CODE"
        failed = None if row.score is not None else AssessmentError(error_code=row.status, error_message=row.note or "")
        mlflow.log_feedback(
            trace_id=trace_id,
            name=row.metric,
            value=row.score,
            error=failed,
            source=AssessmentSource(source_type=kind, source_id=row.judge or "opencharacter"),
            rationale=row.note,
        )
    return trace_id
