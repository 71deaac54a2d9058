"""The gate: is the challenger shown to be better, and is nothing shown to get worse by more than a margin?

One primary comparison, declared beforehand, at a one-sided level of 2.5 %; and guards, each of which must exclude a
loss beyond its margin at the same level. All of them must hold (an intersection-union test), so that guards need no
correction. What the data cannot decide is undecidable, and the decision says what would decide it.
"""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from opencharacter.errors import UserError
from opencharacter.evaluation.comparison import TRUNCATED, Sample, paired_sample, truncation_rows
from opencharacter.evaluation.evaluation_config import GateConfig, PrimaryConfig
from opencharacter.evaluation.ledger import Ledger, share_of_alpha
from opencharacter.evaluation.people import Correction, Labelled, labels_by_suite
from opencharacter.evaluation.statistics import ClusteredMean, smallest_effect
from opencharacter.evaluation.subjects import short_identity
from opencharacter.hashing import digest
from opencharacter.records.evaluation import (
    GRID,
    LOSS,
    SHARE,
    SWAP_GAP,
    GateDecision,
    GateFinding,
    LedgerPosition,
    Outcome,
    Scale,
    ScoreRow,
    Scoring,
    Summary,
)
from opencharacter.records.judges import ENOUGH_LABELS, JudgeStanding
from opencharacter.records.models import Cell
from opencharacter.storage.kinds import ANSWERS, JUDGES, SCORES, SUMMARY
from opencharacter.storage.workspace import Artifact

JUDGE = "judge"
"""As a metric: all tasks of a suite that have a scale."""
PROMISED_CLUSTERS = 20
"""With fewer clusters the levels of the tests do not hold."""

_NEW_CHARACTERS: tuple[Cell, ...] = ("held_out_character_seen_session", "held_out_both")
_NEUTRAL = ("frozen", "personagym", "personagym-light")
_ALWAYS_GUARDS = ("safety", "assistant")


def gate(
    config: GateConfig,
    evaluations: Artifact | Sequence[Artifact],
    *,
    ledger: Ledger | None = None,
    challenger: str = "challenger",
    champion: str = "champion",
    base: str = "base",
) -> GateDecision:
    """Decide whether the challenger may become champion.

    It is compared with the champion or, where there is none, with the base model. If its weights are the champion's it
    passes without a comparison, since there is nothing to change, so that a repeated run ends as the first one did.

    Args:
        config: The primary comparison, the guards, the level, and the files with people's labels.
        evaluations: One output of kind `evaluation` for each suite.
        ledger: Where comparisons are counted; none: each is taken for the first one, which the decision notes.
        challenger: Name of the challenger in the evaluations.
        champion: Name of the champion.
        base: Name of the model to beat where there is no champion.

    Raises:
        UserError: The primary's suite, a guard's suite or a model was not evaluated, the suites have measured
            different models, or a label cannot be read or is about something that was not measured.
    """
    suites = [
        _Suite.read(artifact) for artifact in ([evaluations] if isinstance(evaluations, Artifact) else evaluations)
    ]
    against: Literal["base", "champion"] = "champion" if any(champion in one.models for one in suites) else "base"
    pair = _identities(suites, challenger, champion if against == "champion" else base)
    labels = labels_by_suite(
        config.labels, {one.name: one.rows for one in suites}, {one.name: one.scoring for one in suites}
    )
    champion_digest = pair[1] if against == "champion" else None
    if pair[0] == champion_digest:
        return GateDecision(
            passed=True,
            outcome="passed",
            metric=config.primary.metric if config.primary else config.metric or JUDGE,
            against=against,
            confidence=config.confidence,
            n=0,
            reason="the challenger is the champion already",
            challenger_digest=pair[0],
            champion_digest=champion_digest,
        )
    decision = _Decision(config, {one.name: one for one in suites}, pair, against, labels)
    return decision.decide(ledger, champion_digest)


@dataclass(frozen=True)
class _Suite:
    """An evaluation, as far as the gate needs it."""

    summary: Summary
    name: str
    rows: list[ScoreRow]
    truncation: list[ScoreRow]
    standings: Sequence[JudgeStanding] = ()

    @classmethod
    def read(cls, evaluation: Artifact) -> "_Suite":
        summary = SUMMARY.read(evaluation)
        answers = ANSWERS.read(evaluation) if ANSWERS.exists(evaluation) else ()
        standings = JUDGES.read(evaluation).standings if JUDGES.exists(evaluation) else ()
        return cls(summary, summary.suite, list(SCORES.read(evaluation)), truncation_rows(answers), standings)

    @property
    def models(self) -> dict[str, str]:
        return self.summary.models

    @property
    def scoring(self) -> Scoring:
        return self.summary.scoring

    def metrics(self) -> list[str]:
        return list(dict.fromkeys(row.metric for row in self.rows))

    def tasks(self) -> list[str]:
        """Metrics that have a scale, on which more is better."""
        scale = self.scoring.scale
        return [name for name in self.metrics() if scale(name).low is not None and not scale(name).lower_is_better]

    def judges(self) -> list[str]:
        return sorted({row.judge for row in self.rows if row.judge})

    def left_out(self, pair: Sequence[str]) -> dict[str, str]:
        """Judges on whom no decision may rest, and why: kin of one of the two models, or refused by what they did."""
        names = {identity: name for name, identity in (*self.models.items(), *self.summary.judges.items())}
        family = {identity: self.summary.families.get(name) for identity, name in names.items()}
        families = {family.get(model) for model in pair} - {None}
        compared = {names.get(model) for model in pair}
        found = {}
        for judge in self.judges():
            standing = next((one for one in self.standings if one.judge == judge), None)
            kin = standing is not None and not compared.isdisjoint(standing.related)
            own = judge in pair or judge.rpartition("@")[2] in pair  # its weights, whatever it is called
            if kin or own or family.get(judge) in families:
                found[judge] = "it is one of the two models, or of their family"
            elif standing is not None and standing.refusals:
                found[judge] = f"it {', and '.join(standing.refusals)}"
        return found


class _Decision:
    def __init__(
        self,
        config: GateConfig,
        suites: dict[str, _Suite],
        pair: tuple[str, str],
        against: Literal["base", "champion"],
        labels: Mapping[str, Labelled],
    ) -> None:
        self._config = config
        self._suites = suites
        self._pair = pair
        self._against = against
        self._labels = labels
        self._primary = _declared(config, suites)
        self._suite = suites[self._primary.suite]

    def decide(self, ledger: Ledger | None, champion_digest: str | None) -> GateDecision:
        sample = self._sample(self._suite, self._metrics(self._primary))
        alpha = self._config.alpha
        primary = self._test("primary", self._suite.name, self._primary.metric, sample, self._primary.delta, alpha)
        guards = list(self._guards(sample))
        position = None
        # What cannot be decided is no try.
        if ledger is not None and all(finding.outcome != "undecidable" for finding in (primary, *guards)):
            position = self._count(ledger, sample, primary)
            alpha = position.alpha
            primary = self._test("primary", self._suite.name, self._primary.metric, sample, self._primary.delta, alpha)
        findings = [primary, *guards]
        outcome = _overall(primary, guards)
        open_findings = [finding for finding in findings if finding.outcome == outcome] if outcome != "passed" else []
        return GateDecision(
            passed=outcome == "passed",
            outcome=outcome,
            metric=self._primary.metric,
            against=self._against,
            difference=primary.difference,
            interval=primary.interval,
            confidence=1 - 2 * alpha,
            n=primary.n,
            reason=self._reason(primary, guards, alpha, sample),
            challenger_digest=self._pair[0],
            champion_digest=champion_digest,
            primary=primary,
            guards=guards,
            clusters=primary.clusters,
            mde=primary.mde,
            ledger=position,
            judges=self._judges(self._suite),
            remedy="; ".join(dict.fromkeys(map(self._remedy, open_findings[:3]))) or None,
            notes=list(self._notes(primary, ledger)),
        )

    # -- samples

    def _metrics(self, primary: PrimaryConfig) -> list[str]:
        return self._suite.tasks() if primary.metric == JUDGE else [primary.metric]

    def _judges(self, suite: _Suite) -> list[str]:
        left_out = suite.left_out(self._pair)
        return [judge for judge in suite.judges() if judge not in left_out]

    def _sample(self, suite: _Suite, metrics: Collection[str], judges: Collection[str] | None = None) -> Sample:
        """The paired sample over the held-out cells, without judges that are related to one of the models."""
        rows = self._rows(suite, metrics, self._judges(suite) if judges is None else judges)
        return _held_out(paired_sample(rows, *self._pair, suite.scoring))

    def _rows(self, suite: _Suite, metrics: Collection[str], judges: Collection[str]) -> list[ScoreRow]:
        return [row for row in suite.rows if row.metric in metrics and row.judge in {None, *judges}]

    def _correction(self, suite: _Suite, sample: Sample) -> Correction | None:
        """What people's labels make of a comparison; none where they labelled nothing of it, or no judge scored it."""
        labels, judges = self._labels.get(suite.name), self._judges(suite)
        rows = [row for row in self._rows(suite, sample.tasks, judges) if row.judge is not None]
        if labels is None or not rows:
            return None
        return labels.correct(sample, rows, self._pair, overall={*suite.tasks()} == {*sample.tasks})

    # -- tests

    def _test(
        self,
        name: str,
        suite: str,
        metric: str,
        sample: Sample,
        margin: float,
        alpha: float,
    ) -> GateFinding:
        """One comparison: the primary must exceed its margin, a guard must exclude a loss as large as its margin."""
        estimate = sample.estimate()
        lower_is_better = bool(sample.tasks) and sample.scoring.scale(sample.tasks[0]).lower_is_better
        sign = -1 if lower_is_better else 1
        finding = partial(
            GateFinding,
            name=name,
            suite=suite,
            metric=metric,
            margin=margin,
            n=sample.n,
            lost=sample.lost_share,
            bounds=sample.bounds(),
        )
        if estimate is None:
            left_out = self._left_out(suite, metric)
            reasons = "; ".join(
                f"{short_identity(judge)} is left out, since {reason}" for judge, reason in left_out.items()
            )
            what = f"no question has a score of {_words(metric)} for both models"
            return finding(outcome="undecidable", text=f"no judge is left: {reasons}" if reasons else what)
        correction = self._correction(self._suites[suite], sample)
        if correction is not None and self._calibrates(correction):
            finding = partial(finding, labels=correction.pairs, judge_difference=estimate.mean)
            estimate = correction.estimate
        finding = partial(
            finding,
            difference=estimate.mean,
            interval=estimate.interval(1 - 2 * alpha),
            clusters=estimate.clusters,
            mde=estimate.smallest_effect(alpha),
        )
        if (why := self._undecidable(sample, estimate)) is not None:
            return finding(outcome="undecidable", text=why)
        threshold = margin if name == "primary" else -margin
        gain, half = sign * estimate.mean, _half(estimate, alpha)
        passed = gain - half > threshold
        text = _verdict(name, lower_is_better, margin, passed, worse=name != "primary" and gain + half < threshold)
        if not passed and gain > threshold:
            quantiles = smallest_effect(1.0, alpha, df=estimate.df)
            enough = math.ceil(estimate.clusters * (quantiles * estimate.error / (gain - threshold)) ** 2)
            text += f"; about {enough} clusters would show it, if the difference stays {estimate.mean:+.3f}"
        return finding(outcome="passed" if passed else "not shown", text=text)

    def _left_out(self, suite: str, metric: str) -> dict[str, str]:
        """Judges of a metric that do not count, and why; none where no judge gives it."""
        found = self._suites[suite]
        is_judged = any(row.judge for row in found.rows if metric in (JUDGE, row.metric))
        return found.left_out(self._pair) if is_judged else {}

    def _calibrates(self, correction: Correction) -> bool:
        return correction.pairs >= ENOUGH_LABELS and correction.estimate.clusters >= self._config.min_clusters

    def _undecidable(self, sample: Sample, estimate: ClusteredMean) -> str | None:
        config = self._config
        if sample.lost_share > config.max_lost:
            share = f"{sample.lost_share:.1%} of the judgements are missing for one of the two models"
            return f"{share}; at most {config.max_lost:.0%} may be"
        if sample.n < config.min_questions:
            return f"{sample.n} questions; at least {config.min_questions} are needed"
        if estimate.clusters < config.min_clusters or estimate.df < 1:
            kinds = " and ".join(f"{name.removesuffix('_id')}s" for name in sample.scoring.clusters)
            return f"{estimate.clusters} clusters ({kinds}); at least {config.min_clusters} are needed"
        return None

    # -- guards

    def _guards(self, primary: Sample) -> Iterator[GateFinding]:
        guards, alpha = self._config.guards, self._config.alpha
        skip = set(guards.skip)
        suite = self._suite
        if "tasks" not in skip and len(primary.tasks) > 1:
            for task in primary.tasks:
                margin = _margin(guards.tasks, suite.scoring.scale(task))
                yield self._test(f"task {task}", suite.name, task, primary.where(tasks=[task]), margin, alpha)
        if "new_characters" not in skip:
            yield from self._new_characters(primary)
        if "loss_alone" not in skip and self._primary.metric == LOSS:
            yield from self._beside_loss()
        if "suites" not in skip:
            yield from self._suite_guards()
        if "truncation" not in skip and suite.truncation:
            scoring = suite.scoring.model_copy(
                update={"scales": {TRUNCATED: Scale(low=0, high=1, lower_is_better=True)}}
            )
            sample = _held_out(paired_sample(suite.truncation, *self._pair, scoring))
            yield self._test("truncation", suite.name, TRUNCATED, sample, guards.truncation, alpha)
        if "judges" not in skip:
            yield from self._agreement()

    def _new_characters(self, primary: Sample) -> Iterator[GateFinding]:
        """Characters not seen in training: of the primary, and of each suite that has them beside characters seen."""
        for suite in self._suites.values():
            if suite is self._suite:
                metric, sample = self._primary.metric, primary
            elif suite.summary.notice:
                continue
            else:
                metric, sample = JUDGE, self._sample(suite, suite.tasks())
                if not sample.n and LOSS in suite.metrics():
                    metric, sample = LOSS, self._sample(suite, [LOSS])
            cells = {*sample.cells}
            new = cells & {*_NEW_CHARACTERS}
            # Elsewhere all characters are new, or all are known, and the comparison itself is about them.
            if not new or (suite is self._suite and new == cells):
                continue
            margin = _margin(self._config.guards.new_characters, suite.scoring.scale(sample.tasks[0]))
            name = "new characters" if suite is self._suite else f"new characters of {suite.name}"
            yield self._test(name, suite.name, metric, sample.where(cells=new), margin, self._config.alpha)

    def _beside_loss(self) -> Iterator[GateFinding]:
        """A model that only learns the format has a lower loss: swap gap and judge of the same suite."""
        suite, measured = self._suite, False
        for metric, names in ((SWAP_GAP, [SWAP_GAP]), (JUDGE, suite.tasks())):
            if len((sample := self._sample(suite, names)).value):
                measured = True
                margin = _margin(self._config.guards.loss_alone, suite.scoring.scale(names[0]))
                yield self._test(metric, suite.name, metric, sample, margin, self._config.alpha)
        if not measured:
            yield GateFinding(
                name="loss alone",
                suite=suite.name,
                metric=LOSS,
                outcome="undecidable",
                margin=0.0,
                text="nothing was measured beside the loss; measure the profile swap gap or name a judge",
            )

    def _suite_guards(self) -> Iterator[GateFinding]:
        """Of each guard suite: metrics of which less is better each by itself, the others together by scale."""
        for name in dict.fromkeys([*_ALWAYS_GUARDS, *self._config.guards.suites]):
            suite = self._suites.get(name)
            if suite is None or suite is self._suite:
                continue
            groups: dict[Scale, list[str]] = {}
            for metric in suite.metrics():
                scale = suite.scoring.scale(metric)
                if scale.lower_is_better or scale.low is None:
                    sample = self._sample(suite, [metric])
                    margin = self._suite_margin(suite, metric, scale)
                    yield self._test(f"{name} {metric}", name, metric, sample, margin, self._config.alpha)
                else:
                    groups.setdefault(scale, []).append(metric)
            for scale, metrics in groups.items():
                margin = self._suite_margin(suite, JUDGE, scale)
                yield self._test(name, name, JUDGE, self._sample(suite, metrics), margin, self._config.alpha)

    def _suite_margin(self, suite: _Suite, metric: str, scale: Scale) -> float:
        given = self._config.guards.suites.get(suite.name)
        return _margin(given.get(metric) if isinstance(given, dict) else given, scale)

    def _agreement(self) -> Iterator[GateFinding]:
        metrics = self._metrics(self._primary)
        at_work = {row.judge for row in self._suite.rows if row.metric in metrics}
        judges = [judge for judge in self._judges(self._suite) if judge in at_work]
        if len(judges) < 2:
            return
        gains = {}
        for judge in judges:
            estimate = self._sample(self._suite, metrics, [judge]).estimate()
            gains[judge] = None if estimate is None else estimate.mean
        agree = all(gain is not None and gain > 0 for gain in gains.values())
        shown = ", ".join(
            f"{short_identity(judge)} {'no score' if gain is None else f'{gain:+.3f}'}" for judge, gain in gains.items()
        )
        yield GateFinding(
            name="agreement of judges",
            suite=self._suite.name,
            metric=self._primary.metric,
            outcome="passed" if agree else "not shown",
            margin=0.0,
            text=f"each judge by itself: {shown}",
        )

    # -- words

    def _count(self, ledger: Ledger, sample: Sample, finding: GateFinding) -> LedgerPosition:
        items = self._suite.summary.items_digest or digest(sorted(set(sample.question.tolist())))
        values = sorted(
            zip(sample.question.tolist(), sample.task.tolist(), map(repr, sample.value.tolist()), strict=True)
        )
        primary = self._primary.model_dump()
        labelled = [] if finding.judge_difference is None else [finding.difference]
        comparison = digest([*self._pair, primary, values, *labelled])
        details = {"challenger": self._pair[0], "against": self._against, **{k: str(v) for k, v in primary.items()}}
        position = ledger.count(items, self._pair[1], comparison, details)
        return LedgerPosition(comparison=position, alpha=share_of_alpha(self._config.alpha, position), items=items)

    def _reason(self, primary: GateFinding, guards: Sequence[GateFinding], alpha: float, sample: Sample) -> str:
        measured = _words(primary.metric)
        if primary.difference is not None:
            measured += f" {primary.difference:+.4f} against {self._against} on {primary.suite}"
        if primary.interval is not None:
            low, high = primary.interval
            measured += f" ({100 * (1 - 2 * alpha):.4g}% interval {low:+.4f} to {high:+.4f}, {primary.n} questions,"
            measured += f" {primary.clusters} clusters)"
        parts = [f"{measured}: {primary.text}", *self._calibration(primary, sample)]
        order = {"not shown": 0, "undecidable": 1}
        broken = sorted((one for one in guards if one.outcome != "passed"), key=lambda one: order[one.outcome])
        parts += [f"guard {guard.name}: {_figures(guard)}{guard.text}" for guard in broken[:4]]
        if len(broken) > 4:
            parts.append(f"and {len(broken) - 4} more guards")
        if guards and not broken:
            parts.append("1 guard holds" if len(guards) == 1 else f"{len(guards)} guards hold")
        return "; ".join(parts)

    def _calibration(self, primary: GateFinding, sample: Sample) -> Iterator[str]:
        """Whether people's labels stand behind the judge of the primary."""
        at_work = {row.judge for row in self._rows(self._suite, sample.tasks, self._judges(self._suite))} - {None}
        if not at_work:
            return
        if primary.judge_difference is not None:
            alone = f"{primary.judge_difference:+.4f}"
            yield f"labels of {primary.labels} pairs calibrate the judge, who by itself has {alone}"
        elif not self._config.labels:
            yield "no labels by people calibrate the judge"
        else:
            correction = self._correction(self._suite, sample)
            pairs, clusters = (correction.pairs, correction.estimate.clusters) if correction else (0, 0)
            yield (
                f"the judge is not calibrated: {pairs} pairs of answers in {clusters} clusters are labelled;"
                f" {ENOUGH_LABELS} in {self._config.min_clusters} are needed"
            )

    def _remedy(self, finding: GateFinding) -> str:
        if not finding.n and self._left_out(finding.suite, finding.metric):
            return f"measure {finding.suite} with a judge that is related to neither model and passes its canaries"
        what = finding.name if finding.name != "primary" else f"{finding.suite} {_words(finding.metric)}"
        return f"{what}: {finding.text}"

    def _notes(self, primary: GateFinding, ledger: Ledger | None) -> Iterator[str]:
        config, suite = self._config, self._suite
        at_work = {*self._judges(suite)}
        if suite.name == GRID and self._against == "champion":
            yield "the questions of the suite 'grid' come from the challenger's own mixture: no neutral ground"
        for judge, why in suite.left_out(self._pair).items():
            yield f"judge {short_identity(judge)} is left out: {why}"
        families = {suite.summary.families.get(name) for name, of in suite.summary.judges.items() if of in at_work}
        if len(at_work) > 1 and len(families) == 1 and None not in families:
            yield f"all judges are of one family ({families.pop()}): they may share their mistakes"
        if ledger is None:
            yield "no ledger: earlier comparisons on these items are not counted"
        if config.min_clusters < PROMISED_CLUSTERS:
            yield f"min_clusters is {config.min_clusters}: under {PROMISED_CLUSTERS} the level of 2.5 % does not hold"
        if primary.bounds is not None and primary.lost > 0:
            low, high = primary.bounds
            yield f"with the worst and the best value for each missing judgement: {low:+.4f} to {high:+.4f}"


def _declared(config: GateConfig, suites: dict[str, _Suite]) -> PrimaryConfig:
    """The primary: as configured, else the most neutral suite that is measured. It does not depend on any score."""
    for name, margin in config.guards.suites.items():
        if name not in suites:
            raise UserError(f"gate.guards.suites: '{name}' was not evaluated; evaluated: {sorted(suites)}")
        measured = {JUDGE, *suites[name].metrics()}
        if isinstance(margin, dict) and (unknown := sorted(margin.keys() - measured)):
            raise UserError(f"gate.guards.suites.{name}: '{unknown[0]}' was not measured; measured: {sorted(measured)}")
    primary = config.primary or (PrimaryConfig(metric=config.metric) if config.metric else _default_primary(suites))
    if primary.suite not in suites:
        raise UserError(
            f"gate.primary.suite: '{primary.suite}' was not evaluated; evaluated: {sorted(suites)}",
            hint="add it to evaluate.suites, or declare another primary",
        )
    if notice := suites[primary.suite].summary.notice:
        raise UserError(f"gate.primary.suite: '{primary.suite}' is {notice}", hint="declare another primary")
    return primary


def _default_primary(suites: dict[str, _Suite]) -> PrimaryConfig:
    usable = {name: suite for name, suite in suites.items() if not suite.summary.notice}
    for name in (*_NEUTRAL, GRID):
        if name in usable and usable[name].judges() and usable[name].tasks():
            return PrimaryConfig(suite=name, metric=JUDGE)
    for name in (*_NEUTRAL, GRID):
        if name in usable and LOSS in usable[name].metrics():
            return PrimaryConfig(suite=name, metric=LOSS)
    if GRID in usable:
        return PrimaryConfig(suite=GRID, metric=LOSS)
    raise UserError(
        f"gate.primary: none is declared, and no suite that was evaluated is a default one: {sorted(suites)}",
        hint="declare gate.primary {suite, metric, delta}",
    )


def _identities(suites: Sequence[_Suite], challenger: str, other: str) -> tuple[str, str]:
    """Identities of the two models, which all suites must have measured."""
    if not suites:
        raise UserError("gate: no evaluation is given")
    pairs = {}
    for suite in suites:
        for name in (challenger, other):
            if name not in suite.models:
                raise UserError(
                    f"gate: the suite '{suite.name}' has not measured '{name}'; it has {sorted(suite.models)}"
                )
        pairs[suite.name] = (suite.models[challenger], suite.models[other])
    first, *rest = pairs.items()
    for name, pair in rest:
        if pair != first[1]:
            raise UserError(f"gate: the suites '{first[0]}' and '{name}' have measured different models")
    return first[1]


def _overall(primary: GateFinding, guards: Sequence[GateFinding]) -> Outcome:
    """What is not shown stays so, whatever an undecidable guard would say."""
    outcomes = {finding.outcome for finding in (primary, *guards)}
    if primary.outcome == "undecidable" or outcomes == {"passed"}:
        return primary.outcome
    return "not shown" if "not shown" in outcomes else "undecidable"


def _held_out(sample: Sample) -> Sample:
    return sample.where(cells=[cell for cell in sample.cells if cell != "train"])


def _margin(given: float | None, scale: Scale) -> float:
    if given is not None:
        return given
    if scale.low is None or scale.high is None:
        return 0.05
    return 0.1 if (scale.low, scale.high) == (SHARE.low, SHARE.high) else (scale.high - scale.low) / 20


def _half(estimate: ClusteredMean, alpha: float) -> float:
    interval = estimate.interval(1 - 2 * alpha)
    return math.inf if interval is None else interval[1] - estimate.mean


def _verdict(name: str, lower_is_better: bool, margin: float, passed: bool, *, worse: bool) -> str:
    better = "lower" if lower_is_better else "higher"
    if name == "primary":
        by = f" by more than {margin:g}" if margin else ""
        return f"{better}{by}, as required" if passed else f"not {better}{by} with confidence"
    if passed:
        return f"no loss beyond {margin:g}"
    return f"worse by more than {margin:g}" if worse else f"a loss beyond {margin:g} is not excluded"


def _figures(finding: GateFinding) -> str:
    return "" if finding.difference is None else f"{finding.difference:+.3f}, "


def _words(metric: str) -> str:
    return metric.replace("_", " ")
