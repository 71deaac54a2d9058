"""The pairwise measure: a judge compares two models' answers to an item, once in each order."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, Field, ValidationError

from opencharacter.characters import CharacterProfile
from opencharacter.engines import ChatReply, Sampling
from opencharacter.errors import UserError
from opencharacter.evaluation.measures.protocol import (
    Asking,
    JudgeCall,
    MeasureBase,
    Measured,
    Work,
    ask,
    check_macros,
    user_message,
)
from opencharacter.evaluation.measures.rubric import describe, transcript
from opencharacter.evaluation.preferences import PREFERENCE, Comparison, log_length
from opencharacter.evaluation.subjects import Judge
from opencharacter.evaluation.suite_config import PairwiseMeasure as PairwiseSettings
from opencharacter.generation.errors import Unusable
from opencharacter.generation.replies import read_object
from opencharacter.hashing import seed64
from opencharacter.records.evaluation import AnswerRow, Judgement, ScoreRow, Status
from opencharacter.records.models import Turn
from opencharacter.templates import Template

_PROMPT = "pairwise.md"
_MACROS = {"character", "persona", "profile", "name", "conversation", "question", "first", "second"}
_NOT_ASKED = "not asked: a model said nothing, or both said the same"


class _Verdict(BaseModel):
    """What the judge replies; its JSON schema goes to the server."""

    # A limit for the server only: a small judge would else talk until its reply is cut off before the verdict.
    reason: str = Field(json_schema_extra={"maxLength": 300})
    better: Literal["1", "2", "tie"]


VERDICT_SCHEMA: dict[str, Any] = _Verdict.model_json_schema()

_SCORES = {"1": 1.0, "2": 0.0, "tie": 0.5}


def read_verdict(reply: ChatReply) -> dict[str, Any]:
    """Status `ok` with `score` (1: the answer shown first is better) and `note`; else the failure and the reply."""
    try:
        found = read_object(reply.text)
        verdict = _Verdict.model_validate({**found, "better": _as_written(found.get("better"))})
    except (Unusable, ValidationError) as error:
        refused = reply.problem == "refusal" or (isinstance(error, Unusable) and error.reason == "refusal")
        note = reply.text or reply.detail or reply.problem or ""
        return {"status": "refusal" if refused else "parse_failure", "note": note}
    return {"status": "ok", "score": _SCORES[verdict.better], "note": verdict.reason}


def _as_written(better: Any) -> str:
    """A server without JSON schemas may say `1` or "Answer 1"."""
    return str(better).strip().lower().removeprefix("answer").strip()


class PairwiseMeasure(MeasureBase[PairwiseSettings]):
    """A score for each answer and judge: the share of its comparisons that it wins, ties half."""

    def files(self) -> dict[str, str]:
        """See `MeasureBase.files`."""
        return {"prompt": self.settings.prompt or _PROMPT}

    def check(self, templates: Mapping[str, Template], where: str) -> None:
        """See `MeasureBase.check`."""
        prompt = templates[self.settings.prompt or _PROMPT]
        check_macros(prompt, _MACROS, f"{where}.prompt")
        if not {"first", "second"} <= prompt.macros:
            raise UserError(
                f"{where}.prompt: {prompt.name}: must hold {{{{first}}}} and {{{{second}}}}, the two answers"
            )

    def measure(self, work: Work) -> Asking[Measured]:
        """Ask each judge about every two models' answers, in both orders."""
        prompt = work.suite.templates[self.settings.prompt or _PROMPT]
        pairs = pair_answers(work.answers)
        asked = [(judge, pair) for judge in work.judges for pair in pairs if judged_without_asking(pair) is None]
        calls = [
            verdict_call(
                judge,
                prompt,
                _character_of(work, pair.shown_first),
                pair.shown_first.conversation,
                (pair.shown_first.answer or "", pair.shown_second.answer or ""),
                sampling=Sampling(temperature=0.0, top_p=1.0, max_tokens=self.settings.max_tokens),
                seed=seed64(work.seed, "judge"),
            )
            for judge, pair in asked
        ]
        contents = iter((yield from ask(calls)))
        judgements = []
        for judge in work.judges:
            for pair in pairs:
                score = judged_without_asking(pair)
                content = next(contents) if score is None else {"status": "ok", "score": score, "note": _NOT_ASKED}
                judgements.append(_judgement(pair, judge.identity, prompt.hash, content))
        return Measured(preference_rows(work.answers, judgements), judgements)


def verdict_call(
    judge: Judge,
    prompt: Template,
    character: CharacterProfile | None,
    conversation: Sequence[Turn],
    answers: tuple[str, str],
    *,
    sampling: Sampling,
    seed: int,
) -> JudgeCall:
    """The question which of two answers is better, in the order in which they are shown."""
    text = prompt.render(
        **describe(character),
        conversation=transcript(conversation),
        question=conversation[-1].content if conversation else "",
        first=answers[0],
        second=answers[1],
    )
    return JudgeCall(judge, user_message(text), sampling, seed, schema=VERDICT_SCHEMA, read=read_verdict)


def _character_of(work: Work, answer: AnswerRow) -> CharacterProfile | None:
    return work.characters[answer.character_id] if answer.character_id is not None else None


def _judgement(pair: "AnswerPair", judge: str, rubric_hash: str, content: Mapping[str, Any]) -> Judgement:
    ok = content["status"] == "ok"
    shown = pair.shown_first
    return Judgement(
        suite=shown.suite,
        question_id=shown.question_id,
        metric=PREFERENCE,
        model=shown.model,
        rival=pair.shown_second.model,
        repeat=shown.repeat,
        judge=judge,
        rubric_hash=rubric_hash,
        status=content["status"],
        score=content.get("score"),
        reason=content.get("note") if ok else None,
        reply=None if ok else content.get("note"),
    )


class AnswerPair(NamedTuple):
    """Two models' answers to one item, in the order in which they are shown."""

    shown_first: AnswerRow
    shown_second: AnswerRow


def pair_answers(answers: Iterable[AnswerRow]) -> list[AnswerPair]:
    """Every two models' answers to each item and repeat, in both orders."""
    groups: dict[tuple[str, int], dict[str, AnswerRow]] = defaultdict(dict)
    for answer in answers:
        groups[answer.question_id, answer.repeat][answer.model] = answer
    pairs = []
    for _, group in sorted(groups.items()):
        for one, other in combinations(sorted(group), 2):
            pairs += [AnswerPair(group[one], group[other]), AnswerPair(group[other], group[one])]
    return pairs


def judged_without_asking(pair: AnswerPair) -> float | None:
    """The score of the answer shown first where one model, or both, said nothing or the same; none: ask the judge."""
    first, second = pair.shown_first.answer, pair.shown_second.answer
    if first is not None and second is not None:
        return 0.5 if first == second else None
    return 0.5 if first is None and second is None else float(second is None)


def compare(answers: Iterable[AnswerRow], judgements: Iterable[Judgement]) -> list[Comparison]:
    """Both orders of each pair as one comparison."""
    rows = {(answer.question_id, answer.repeat, answer.model): answer for answer in answers}
    found: dict[tuple[str, int, str, str, str], dict[bool, float | None]] = defaultdict(dict)
    for judgement in judgements:
        if judgement.rival is None or judgement.metric != PREFERENCE:
            continue
        one, other = sorted((judgement.model, judgement.rival))
        forward = one == judgement.model
        score = judgement.score if forward or judgement.score is None else 1 - judgement.score
        found[judgement.question_id, judgement.repeat, judgement.judge, one, other][forward] = score
    comparisons = []
    for (question_id, repeat, judge, one, other), orders in sorted(found.items()):
        first, second = rows[question_id, repeat, one], rows[question_id, repeat, other]
        comparisons.append(
            Comparison(
                question_id=question_id,
                character=first.character_id,
                session=first.session_id,
                judge=judge,
                first=one,
                second=other,
                shown_first=orders.get(True),
                shown_second=orders.get(False),
                log_length=log_length(first.answer or "", second.answer or ""),
                asked=judged_without_asking(AnswerPair(first, second)) is None,
            )
        )
    return comparisons


def preference_rows(answers: Sequence[AnswerRow], judgements: Sequence[Judgement]) -> list[ScoreRow]:
    """A score row for each answer and judge: the share of its comparisons that it wins, each the mean of both orders.

    An answer none of whose comparisons has a verdict in both orders has the status of the judge's failure.
    """
    orders: dict[tuple[str, str, int, str, str], list[Judgement]] = defaultdict(list)
    for judgement in judgements:
        if judgement.metric == PREFERENCE and judgement.rival is not None:
            key = judgement.judge, judgement.question_id, judgement.repeat
            orders[*key, judgement.model, judgement.rival].append(judgement)
            orders[*key, judgement.rival, judgement.model].append(_turned(judgement))
    rivals: dict[tuple[str, str, int, str], list[list[Judgement]]] = defaultdict(list)
    for (judge, question_id, repeat, model, _), both in sorted(orders.items()):
        rivals[judge, question_id, repeat, model].append(both)
    judges = sorted({judge for judge, *_ in rivals})
    rows = []
    for answer in answers:
        for judge in judges:
            if compared := rivals.get((judge, answer.question_id, answer.repeat, answer.model)):
                rows.append(_row(answer, judge, compared))
    return rows


def _row(answer: AnswerRow, judge: str, compared: Sequence[Sequence[Judgement]]) -> ScoreRow:
    scores = [
        sum(judgement.score or 0 for judgement in both) / len(both)
        for both in compared
        if len(both) == 2 and all(judgement.score is not None for judgement in both)
    ]
    failed = next((judgement.status for both in compared for judgement in both if judgement.score is None), None)
    status: Status = "ok" if scores else failed or "parse_failure"
    return ScoreRow(
        **answer.model_dump(include={"suite", "question_id", "character_id", "session_id", "cell", "model", "repeat"}),
        metric=PREFERENCE,
        judge=judge,
        status=status,
        score=sum(scores) / len(scores) if scores else None,
    )


def _turned(judgement: Judgement) -> Judgement:
    score = None if judgement.score is None else 1 - judgement.score
    return judgement.model_copy(update={"score": score})
