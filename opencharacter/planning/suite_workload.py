"""What the suites of a run ask, in calls and tokens; the suite `grid` is in `workload.py`."""

from dataclasses import dataclass, field

from opencharacter.evaluation.measures import make_measure
from opencharacter.evaluation.suite import Suite
from opencharacter.evaluation.suite_config import LikelihoodMeasure, RubricMeasure
from opencharacter.planning.tokens import TokenEstimates
from opencharacter.records.evaluation import Item


@dataclass
class SuiteWork:
    """What one suite asks of one model, and of one judge about one model."""

    items: int
    answers: int = 0
    answer_tokens_in: float = 0
    answer_tokens_out: float = 0
    judgements: int = 0
    judge_tokens_in: float = 0
    judge_tokens_out: float = 0
    scored_tokens: float = 0
    judged_by: list[str] = field(default_factory=list)


def suite_work(suite: Suite, judges: list[str], texts: TokenEstimates) -> SuiteWork:
    """Count what a suite asks: each item is answered once a repeat, and judged once for each of its rubrics.

    Examples that a judge writes, canaries and repeated judgements are not counted.
    """
    items = suite.items()
    work = SuiteWork(items=len(items), judged_by=judges)
    answer = suite.config.answer
    answered: set[str] = set()
    for settings in suite.config.measures:
        measure = make_measure(settings)
        if measure.needs_judges and not judges:
            continue
        taken = [item for item in items if measure.takes(item)]
        if measure.needs_answers:
            answered |= {item.id for item in taken}
        if isinstance(settings, LikelihoodMeasure):
            passes = 1 + settings.swap_gap
            work.scored_tokens += sum(
                passes * (_asked(item, texts) + texts.text(item.reference or "")) for item in taken
            )
        elif measure.needs_judges:
            for item in taken:
                rubrics = len(settings.tasks) if isinstance(settings, RubricMeasure) and not item.task else 1
                work.judgements += answer.repeats * rubrics
                work.judge_tokens_in += answer.repeats * rubrics * (texts.template("judge.md") + _asked(item, texts))
                work.judge_tokens_in += answer.repeats * rubrics * texts.answer
                work.judge_tokens_out += answer.repeats * rubrics * texts.assumed("judgement_tokens")
    for item in items:
        if item.id in answered:
            work.answers += answer.repeats
            work.answer_tokens_in += answer.repeats * _asked(item, texts)
            work.answer_tokens_out += answer.repeats * min(texts.answer, answer.max_tokens)
    return work


def _asked(item: Item, texts: TokenEstimates) -> float:
    """Tokens of the system message and of what is said."""
    system = texts.system({"persona_and_profile": 1}) if item.character_id else 0.0
    return system + sum(texts.text(turn.content) + texts.assumed("mark_tokens") for turn in item.turns)
