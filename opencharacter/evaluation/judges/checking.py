"""`judge-check`: asks a judge what is needed to know how far it can be believed, and fills in its card."""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

from opencharacter.evaluation.figures import cluster_numbers, clustered, share
from opencharacter.evaluation.judges.agreement import Rating, agreement
from opencharacter.evaluation.judges.calibration import Pair, calibrate
from opencharacter.evaluation.judges.canaries import Canary, Original, RankedCanary, make_canaries, rank_canaries
from opencharacter.evaluation.judges.labels import Label, LabelKey, label_ratings, people
from opencharacter.evaluation.judges.material import CheckItem
from opencharacter.evaluation.judges.sampling import spread
from opencharacter.evaluation.judges.scoring import OVERALL, SAMPLING, SCALE, OverallQuestion
from opencharacter.evaluation.measures.pairwise import verdict_call
from opencharacter.evaluation.measures.protocol import Asking, JudgeCall
from opencharacter.evaluation.preferences import PREFERENCE, Comparison, log_length, summarise_pair
from opencharacter.evaluation.subjects import Judge
from opencharacter.hashing import seed64
from opencharacter.records.judges import Calibrated, Figure, JudgeCard
from opencharacter.templates import load_template

REPEATS = 3
"""Times that the judge scores each answer."""
ORIGINALS = 50
"""Answers of which canaries are made."""


class _Answer(NamedTuple):
    item: CheckItem
    model: str

    @property
    def text(self) -> str:
        return self.item.answers[self.model]

    @property
    def original(self) -> Original:
        item = self.item
        name = repr((item.id, item.repeat, self.model))
        return Original(name, item.id, item.character, item.character_id, self.text)


class _Ask(NamedTuple):
    """What a call is for."""

    call: JudgeCall
    answer: _Answer
    canary: Canary | None = None
    rival: str | None = None
    """The model whose answer is shown second; `answer` is shown first."""


_Scoring = Callable[[_Answer, str, int], JudgeCall]
"""The call that scores a text in place of an answer, by the number of the repeat."""


class _Replies:
    """What the judge said, sorted by what it was asked for."""

    def __init__(self, asks: Sequence[_Ask], contents: Sequence[Mapping[str, Any]]) -> None:
        # Canaries of two answers to one question may be the same call, such as the empty one.
        distinct = {ask.call.content.row_id: content for ask, content in zip(asks, contents, strict=True)}
        self.calls = len(distinct)
        self.statuses = Counter(content["status"] for content in distinct.values())
        self.scores: dict[tuple[str, int, str], list[int]] = defaultdict(list)
        self.canaries: list[tuple[_Answer, Canary, int]] = []
        self.verdicts: dict[tuple[str, int, str, str], float | None] = {}
        for ask, content in zip(asks, contents, strict=True):
            score = content["score"] if content["status"] == "ok" else None
            item = ask.answer.item
            if ask.rival is not None:
                self.verdicts[item.id, item.repeat, ask.answer.model, ask.rival] = score
            elif score is not None and ask.canary is not None:
                self.canaries.append((ask.answer, ask.canary, score))
            elif score is not None:
                self.scores[item.id, item.repeat, ask.answer.model].append(score)

    def of(self, answer: _Answer) -> list[int]:
        """The scores of an answer, repeats together."""
        return self.scores.get((answer.item.id, answer.item.repeat, answer.model), [])


def check_judge(
    judge: Judge, items: Sequence[CheckItem], labels: Sequence[Label] = (), *, material: str, seed: int = 0
) -> Asking[JudgeCard]:
    """Ask the judge, each question once, and fill in its card.

    Args:
        judge: Who is checked.
        items: What it is asked about; `material` is what the card calls them.
        labels: What people say of some of the answers.
        material: Where the items come from.
        seed: Of samples and calls.
    """
    answers = [_Answer(item, model) for item in items for model in sorted(item.answers)]
    question = OverallQuestion()

    def score(answer: _Answer, text: str, repeat: int) -> JudgeCall:
        item = answer.item
        return question(judge, item.character, item.conversation, text, seed64(seed, "judge", repeat))

    asks = [*_score_asks(score, answers), *_canary_asks(score, answers, seed), *_pair_asks(judge, items, seed)]
    contents = yield [ask.call for ask in asks]
    replies = _Replies(asks, contents)
    pairs = _comparisons(judge, items, replies)
    compared = summarise_pair(pairs) if pairs else None
    repeatability, variance = _repeats(answers, replies)
    nothing = Figure(value=None, n=0)
    return JudgeCard(
        judge=judge.identity,
        name=judge.name,
        family=judge.family,
        material=material,
        items=len(items),
        answers=len(answers),
        characters=len({item.character_id for item in items}),
        calls=replies.calls,
        unreadable=share(replies.statuses["parse_failure"], replies.calls),
        refused=share(replies.statuses["refusal"], replies.calls),
        scores=dict(sorted(Counter(score for scores in replies.scores.values() for score in scores).items())),
        repeatability=repeatability,
        repeat_variance=variance,
        length_effect=_length_effect(replies),
        canaries=rank_canaries(_ranked(replies), worst=SCALE[0]),
        order=(compared or summarise_pair([])).order,
        length_preference=compared.length_slope if compared else nothing,
        **_people(items, answers, replies, pairs, labels),
    )


def _score_asks(score: _Scoring, answers: Sequence[_Answer]) -> Iterator[_Ask]:
    for answer in answers:
        for repeat in range(REPEATS):
            yield _Ask(score(answer, answer.text, repeat), answer)


def _canary_asks(score: _Scoring, answers: Sequence[_Answer], seed: int) -> Iterator[_Ask]:
    others = [answer.original for answer in answers]
    chosen = spread(
        answers,
        ORIGINALS,
        seed,
        name=lambda answer: answer.original.answer_id,
        group=lambda answer: answer.item.character_id,
    )
    for answer in chosen:
        for canary in make_canaries(answer.original, others, seed):
            yield _Ask(score(answer, canary.text, 0), answer, canary)


def _pair_asks(judge: Judge, items: Sequence[CheckItem], seed: int) -> Iterator[_Ask]:
    prompt = load_template("pairwise.md")
    for item in items:
        for pair in combinations(sorted(item.answers), 2):
            if item.answers[pair[0]] == item.answers[pair[1]]:
                continue
            for first, second in (pair, pair[::-1]):
                texts = item.answers[first], item.answers[second]
                call = verdict_call(
                    judge,
                    prompt,
                    item.character,
                    item.conversation,
                    texts,
                    sampling=SAMPLING,
                    seed=seed64(seed, "judge"),
                )
                yield _Ask(call, _Answer(item, first), rival=second)


def _repeats(answers: Sequence[_Answer], replies: _Replies) -> tuple[Figure, Figure]:
    """How often two scores of one answer are equal, and their variance."""
    import numpy as np

    repeated = [(answer, scores) for answer in answers if len(scores := replies.of(answer)) > 1]
    clusters = [cluster_numbers([answer.item.character_id for answer, _ in repeated])]
    equal = [np.mean([one == other for one, other in combinations(scores, 2)]) for _, scores in repeated]
    variances = [np.var(scores, ddof=1) for _, scores in repeated]
    return clustered(np.array(equal, dtype=float), clusters), clustered(np.array(variances, dtype=float), clusters)


def _ranked(replies: _Replies) -> Iterator[RankedCanary]:
    for answer, canary, score in replies.canaries:
        if own := replies.of(answer):
            yield RankedCanary(canary.kind, own[0], score)


def _length_effect(replies: _Replies) -> Figure:
    """What padding adds to a score, for each doubling of the length."""
    import numpy as np

    effects, characters = [], []
    for answer, canary, score in replies.canaries:
        own = replies.of(answer)
        if canary.kind == "padded" and own:
            effects.append((score - sum(own) / len(own)) / (log_length(canary.text, answer.text) / math.log(2)))
            characters.append(answer.item.character_id)
    return clustered(np.array(effects, dtype=float), [cluster_numbers(characters)])


def _comparisons(judge: Judge, items: Sequence[CheckItem], replies: _Replies) -> list[Comparison]:
    comparisons = []
    for item in items:
        for first, second in combinations(sorted(item.answers), 2):
            if (item.id, item.repeat, first, second) not in replies.verdicts:
                continue
            backward = replies.verdicts[item.id, item.repeat, second, first]
            comparisons.append(
                Comparison(
                    question_id=item.id,
                    character=item.character_id,
                    session=item.session,
                    judge=judge.identity,
                    first=first,
                    second=second,
                    shown_first=replies.verdicts[item.id, item.repeat, first, second],
                    shown_second=None if backward is None else 1 - backward,
                    log_length=log_length(item.answers[first], item.answers[second]),
                )
            )
    return comparisons


def _people(
    items: Sequence[CheckItem],
    answers: Sequence[_Answer],
    replies: _Replies,
    pairs: Sequence[Comparison],
    labels: Sequence[Label],
) -> dict[str, Any]:
    """Agreement with people, of people with each other, and the calibrated difference of two models."""
    if not labels:
        return {}
    found: dict[LabelKey, float] = {}
    for answer in answers:
        if own := replies.of(answer):
            item = answer.item
            found[LabelKey(item.suite, item.id, item.repeat, OVERALL, answer.model, None)] = sum(own) / len(own)
    by_id = {item.id: item for item in items}
    for pair in pairs:
        item = by_id[pair.question_id]
        if pair.score is not None:
            found[LabelKey(item.suite, item.id, item.repeat, PREFERENCE, pair.first, pair.second)] = pair.score
    said = people(labels)
    clusters = {item.id: item.character_id for item in items}
    ratings = [
        Rating(repr(key), clusters[key.question_id], key.metric, rater, value)
        for rater, values in (("judge", found), ("people", said))
        for key, value in values.items()
        if key in said and key.question_id in clusters
    ]
    compared, calibration = _calibrated(found, said, by_id)
    return {
        "people": agreement(ratings),
        "raters": agreement(label_ratings(labels, clusters)),
        "compared": compared,
        "calibration": calibration,
    }


def _calibrated(
    found: Mapping[LabelKey, float], said: Mapping[LabelKey, float], items: Mapping[str, CheckItem]
) -> tuple[tuple[str, str] | None, Calibrated | None]:
    """The two models that people compared, and their difference; none where people compared more."""
    preferences = any(key.rival for key in said)
    judged, labelled = (
        _differences({key: value for key, value in values.items() if bool(key.rival) == preferences})
        for values in (found, said)
    )
    compared = {models for _, models in labelled}
    if len(compared) != 1:
        return None, None
    pairs = {
        repr(unit): Pair(items[unit[1]].character_id, items[unit[1]].session, difference)
        for (unit, models), difference in judged.items()
        if models in compared
    }
    return compared.pop(), calibrate(pairs, {repr(unit): difference for (unit, _), difference in labelled.items()})


def _differences(
    values: Mapping[LabelKey, float],
) -> dict[tuple[tuple[str, str, int], tuple[str, str]], float]:
    """Second model minus first by item: twice a preference less one, else the difference of two scores."""
    differences = {}
    rated: dict[tuple[str, str, int], dict[str, float]] = defaultdict(dict)
    for key, value in values.items():
        unit = key.suite, key.question_id, key.repeat
        if key.rival is None:
            rated[unit][key.model] = value
        else:
            differences[unit, (key.model, key.rival)] = 1 - 2 * value
    for unit, scores in rated.items():
        for first, second in combinations(sorted(scores), 2):
            differences[unit, (first, second)] = scores[second] - scores[first]
    return differences
