"""What a run finds of its judges: canaries, kinship with the models, agreement with each other."""

import json
from collections.abc import Iterable, Mapping, Sequence

from opencharacter.evaluation.judges.agreement import Rating, agreement
from opencharacter.evaluation.judges.canaries import Original, RankedCanary, make_canaries, rank_canaries
from opencharacter.evaluation.judges.sampling import spread
from opencharacter.evaluation.judges.scoring import SCALE, OverallQuestion
from opencharacter.evaluation.measures.pairwise import compare
from opencharacter.evaluation.measures.protocol import Asking, Measured, Work, ask
from opencharacter.evaluation.preferences import order_bias, summarise_arena
from opencharacter.evaluation.subjects import Judge, Subject, is_same_model
from opencharacter.hashing import seed64
from opencharacter.records.evaluation import AnswerRow, Judgement, ScoreRow
from opencharacter.records.judges import Agreement, CanaryResult, JudgesReport, JudgeStanding

ORIGINALS = 20
"""Answers of a run of which canaries are made."""
FEWEST_CHARACTERS = 20
"""With fewer characters no decision can rest on the judge, and no canary is shown."""


def ask_canaries(work: Work) -> Asking[Measured]:
    """Show each judge canaries, made of a sample of the run's answers. The results are by the judge's identity."""
    originals = [
        (_original(work, answer, answer.character_id, answer.answer), answer)
        for answer in work.answers
        if answer.answer is not None and answer.character_id is not None
    ]
    chosen = spread(
        originals, ORIGINALS, work.seed, name=lambda pair: pair[0].answer_id, group=lambda pair: pair[0].character_id
    )
    notice = work.suite.config.notice  # for published tables only: nothing is decided by it
    if notice or len({original.character_id for original, _ in chosen}) < FEWEST_CHARACTERS:
        return Measured()
    everyone = [original for original, _ in originals]
    shown = [(original, answer, make_canaries(original, everyone, work.seed)) for original, answer in chosen]
    question, seed = OverallQuestion(), seed64(work.seed, "judge")
    calls = [
        question(judge, original.character, answer.conversation, text, seed)
        for judge in work.judges
        for original, answer, canaries in shown
        for text in (original.text, *(canary.text for canary in canaries))
    ]
    contents = iter((yield from ask(calls)))
    results = {}
    for judge in work.judges:
        ranked = []
        for _, _, canaries in shown:
            own = next(contents)
            for canary in canaries:
                found = next(contents)
                if own["status"] == found["status"] == "ok":
                    ranked.append(RankedCanary(canary.kind, own["score"], found["score"]))
        results[judge.identity] = rank_canaries(ranked, worst=SCALE[0])
    return Measured(canaries=results)


def report_judges(
    judges: Sequence[Judge],
    subjects: Sequence[Subject],
    answers: Sequence[AnswerRow],
    judgements: Sequence[Judgement],
    scores: Iterable[ScoreRow],
    canaries: Mapping[str, CanaryResult],
) -> JudgesReport:
    """All that a run knows of its judges."""
    comparisons = compare(answers, judgements)
    standings = []
    for judge in judges:
        own = [comparison for comparison in comparisons if comparison.judge == judge.identity]
        standings.append(
            JudgeStanding(
                judge=judge.identity,
                name=judge.name,
                canaries=canaries.get(judge.identity),
                order=order_bias(own) if own else None,
                related=tuple(subject.name for subject in subjects if is_related(judge, subject)),
            )
        )
    return JudgesReport(
        standings=standings,
        agreement=agree(scores),
        arena=summarise_arena(comparisons) if comparisons else None,
    )


def is_related(judge: Judge, subject: Subject) -> bool:
    """Whether a judge has a model's weights or endpoint, or is of its family: judges favour their own kind."""
    return is_same_model(judge, subject) or (judge.family is not None and judge.family == subject.family)


def agree(scores: Iterable[ScoreRow]) -> list[Agreement]:
    """How far the judges of a run agree, by task."""
    return agreement(
        Rating(json.dumps([row.question_id, row.model, row.repeat]), row.character_id, row.metric, row.judge, row.score)
        for row in scores
        if row.judge is not None and row.score is not None
    )


def _original(work: Work, answer: AnswerRow, character_id: str, text: str) -> Original:
    name = json.dumps([answer.question_id, answer.model, answer.repeat])
    return Original(name, answer.question_id, work.characters[character_id], character_id, text)
