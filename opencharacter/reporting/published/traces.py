"""Judged answers as MLflow traces with assessments, so that its pages for generative models show them."""

import logging
from collections import defaultdict
from collections.abc import Mapping

from opencharacter.hashing import seed64
from opencharacter.records.evaluation import AnswerRow, ScoreRow
from opencharacter.storage.artifacts import Artifact
from opencharacter.storage.kinds import ANSWERS, SCORES

_log = logging.getLogger(__name__)


def log_traces(experiment_id: str, evaluation: Artifact, runs: Mapping[str, str], *, count: int, seed: int) -> None:
    """Log the answers to `count` questions, the same ones of every model, with what the judges said of them.

    Args:
        experiment_id: Where the traces go.
        evaluation: An output of kind `evaluation`.
        runs: By identity of the model, the run that its traces belong to.
        count: How many questions.
        seed: Decides which.
    """
    import mlflow
    from mlflow.exceptions import MlflowException

    # At the end of a process it says that it sends what was sent long before.
    logging.getLogger("mlflow.tracing.export.async_export_queue").setLevel(logging.WARNING)
    if not ANSWERS.exists(evaluation):
        return
    answers = [row for row in ANSWERS.read(evaluation) if row.model in runs and row.repeat == 0]
    questions = sorted({row.question_id for row in answers}, key=lambda name: seed64("trace", seed, name))[:count]
    chosen = set(questions)
    scores: dict[tuple[str, str], list[ScoreRow]] = defaultdict(list)
    for row in SCORES.read(evaluation):
        if row.repeat == 0 and row.question_id in chosen:
            scores[row.model, row.question_id].append(row)
    try:
        for answer in answers:
            if answer.question_id in chosen:
                found = scores[answer.model, answer.question_id]
                _log_answer(experiment_id, runs[answer.model], answer, found)
        mlflow.flush_trace_async_logging()
    except MlflowException as error:
        # The scores are published; traces are for looking at, and an older server has none.
        _log.warning("MLflow takes no traces (%s): judged answers are not shown there", str(error).splitlines()[0])


def _log_answer(experiment_id: str, run_id: str, answer: AnswerRow, scores: list[ScoreRow]) -> None:
    import mlflow
    from mlflow.entities import AssessmentError, AssessmentSource
    from mlflow.entities.trace_location import MlflowExperimentLocation

    place = MlflowExperimentLocation(experiment_id)
    with mlflow.start_span("answer", span_type="CHAT_MODEL", trace_destination=place, run_id=run_id) as span:
        span.set_inputs({"messages": [turn.model_dump() for turn in answer.conversation]})
        span.set_outputs({"role": "assistant", "content": answer.answer or "", "finish_reason": answer.finish_reason})
        mlflow.update_current_trace(
            tags={"suite": answer.suite, "question": answer.question_id, "character": answer.character_id or ""},
        )
        # Inside the span assessments travel with the trace, in one request.
        for row in scores:
            failed = AssessmentError(error_code=row.status, error_message=row.note or "")
            mlflow.log_feedback(
                trace_id=span.trace_id,
                name=row.metric,
                value=row.score,
                error=failed if row.score is None else None,
                source=AssessmentSource("LLM_JUDGE" if row.judge else "CODE", row.judge or "opencharacter"),
                rationale=row.note,
            )
