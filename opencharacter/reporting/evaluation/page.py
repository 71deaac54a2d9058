"""Writes the evaluation's page: one HTML file that needs nothing beside it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from opencharacter.evaluation.comparison import TRUNCATED
from opencharacter.library import fingerprint
from opencharacter.records.evaluation import GateDecision, PublishedScore
from opencharacter.reporting import charts
from opencharacter.reporting.evaluation.calibration import beside_people
from opencharacter.reporting.evaluation.decision import decision_view, light_count
from opencharacter.reporting.evaluation.failures import FailureLine, cost_lines, failure_lines
from opencharacter.reporting.evaluation.forest import Forest, forests
from opencharacter.reporting.evaluation.methods import methods
from opencharacter.reporting.evaluation.preferences import OUTCOMES, FlipMatrix, flip_matrices
from opencharacter.reporting.evaluation.rows import SuiteRows, read_suite
from opencharacter.reporting.evaluation.samples import Samples, samples
from opencharacter.reporting.evaluation.spread import (
    TaskBars,
    VarianceBar,
    drift_chart,
    histograms,
    length_chart,
    score_bars,
    variance_bar,
)
from opencharacter.reporting.pages import render, write_page
from opencharacter.storage.artifacts import Artifact


@dataclass(frozen=True)
class _SuiteView:
    """One suite's part of the page."""

    name: str
    anchor: str
    notice: str
    published: dict[str, dict[str, PublishedScore]]
    forests: list[Forest]
    bars: list[TaskBars]
    histograms: list[tuple[str, str]]
    length: str | None
    drift: str | None
    variance: VarianceBar | None
    flips: list[FlipMatrix]
    samples: list[Samples]
    failures: list[FailureLine]
    models: list[str]

    @property
    def has_spread(self) -> bool:
        return bool(self.bars or self.histograms or self.length or self.drift or self.variance or self.flips)


def write_evaluation_page(
    evaluations: Mapping[str, Artifact],
    decision: GateDecision | None,
    path: Path,
    *,
    title: str = "Evaluation",
    labels: Iterable[str | Path] = (),
    roles: Mapping[str, str] | None = None,
) -> Path:
    """Write the page of an evaluation and return its path. An older file is replaced at once.

    Args:
        evaluations: Outputs of kind `evaluation`, by the name of their suite.
        decision: What the gate said; none: the page has no decision.
        path: The file to write.
        title: The page's title.
        roles: The names under which `challenger`, `champion` and `base` were measured; none: those.
        labels: Files with people's labels; where they rate single answers, the page shows judges against them.

    Raises:
        UserError: A file of an evaluation is absent, or a label cannot be read.
        OpenCharacterError: A file is damaged.
    """
    suites = [read_suite(name, artifact, roles) for name, artifact in evaluations.items()]
    lower = frozenset((s.name, m) for s in suites for m in s.metrics if s.is_lower_better(m))
    lower |= {(suite.name, TRUNCATED) for suite in suites}
    decided = decision_view(decision, lower) if decision else None
    views = [
        _suite_view(suite, place, plots)
        for place, (suite, plots) in enumerate(zip(suites, forests(suites), strict=True))
    ]
    page = render(
        "evaluation.html.j2",
        title=title,
        when=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        library=fingerprint(),
        models=_models(suites),
        measured_as=dict(roles or {}),
        decision=decided,
        guards_hold=light_count(decided.guards) if decided else "",
        suites=views,
        outcomes=OUTCOMES,
        calibration=_calibration_charts(beside_people(suites, labels)),
        costs=cost_lines(suites),
        methods=methods(suites),
        confidence=max((suite.summary.confidence for suite in suites), default=0.95),
    )
    return write_page(page, path)


def _models(suites: Iterable[SuiteRows]) -> dict[str, str]:
    return {name: identity for suite in suites for name, identity in suite.models.items()}


def _suite_view(suite: SuiteRows, place: int, plots: list[Forest]) -> _SuiteView:
    return _SuiteView(
        name=suite.name,
        anchor=f"suite-{place}",
        notice=suite.summary.notice,
        published=suite.summary.published,
        forests=plots,
        bars=score_bars(suite),
        histograms=histograms(suite, f"suite-{place}"),
        length=length_chart(suite, f"suite-{place}"),
        drift=drift_chart(suite, f"suite-{place}"),
        variance=variance_bar(suite),
        flips=flip_matrices(suite),
        samples=samples(suite),
        failures=failure_lines(suite),
        models=list(suite.models),
    )


def _calibration_charts(labels: Mapping[str, Iterable[tuple[float, float]]]) -> list[tuple[str, str]]:
    """Title and chart of each judge: its mean for each score that people gave. On the diagonal both agree."""
    drawn: list[tuple[str, str]] = []
    for judge, scores in labels.items():
        by_score: dict[float, list[float]] = {}
        for people, given in scores:
            by_score.setdefault(round(people), []).append(given)
        if len(by_score) > 1:
            title = f"{judge} by what people gave"
            points = [(score, charts.mean_band(given)) for score, given in sorted(by_score.items())]
            name = f"calibration-{len(drawn)}"
            series = {"judge": points}
            drawn.append((title, charts.trends(name, title, "people’s score", "judge’s mean", series, diagonal=True)))
    return drawn
