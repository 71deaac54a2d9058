"""What went wrong by kind and model, answers that were cut off, and what everything cost."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from opencharacter.records.evaluation import MODEL_FAILURES
from opencharacter.records.models import Usage
from opencharacter.reporting.evaluation.rows import SuiteRows
from opencharacter.reporting.formats import words


@dataclass(frozen=True)
class FailureLine:
    """One kind of failure: for each model its number, and of how many."""

    label: str
    counts_as: str
    counts: Mapping[str, tuple[int, int]]


def failure_lines(suite: SuiteRows) -> list[FailureLine]:
    """Failures of the models, then those of the judges; cut answers first."""
    names = {identity: name for name, identity in suite.models.items()}
    asked = Counter(names[row.model] for row in suite.answers if row.model in names)
    cut = Counter(names[row.model] for row in suite.answers if row.model in names and row.is_cut)
    lines = []
    if asked:
        counts = {name: (cut[name], asked[name]) for name in suite.models}
        lines.append(FailureLine("answer cut off at the limit of tokens", "judged as it is", counts))
    measured: Counter[str] = Counter()
    failed: dict[str, Counter[str]] = defaultdict(Counter)
    for row in suite.scores:
        if (name := names.get(row.model)) is not None:
            measured[name] += 1
            if row.status != "ok":
                failed[row.status][name] += 1
    for status, found in sorted(failed.items(), key=lambda entry: (entry[0] not in MODEL_FAILURES, entry[0])):
        counts_as = "the worst score" if status in MODEL_FAILURES else "left out for both models"
        counts = {name: (found[name], measured[name]) for name in suite.models}
        lines.append(FailureLine(f"score: {words(status)}", counts_as, counts))
    return lines


@dataclass(frozen=True)
class CostLine:
    """Calls and tokens of one model's answers in one suite."""

    suite: str
    model: str
    usage: Usage


def cost_lines(suites: Sequence[SuiteRows]) -> list[CostLine]:
    """What the answers took, by suite and model."""
    lines = []
    for suite in suites:
        for name, identity in suite.models.items():
            usage = sum((row.usage for row in suite.answers if row.model == identity), Usage())
            if usage.calls:
                lines.append(CostLine(suite.name, name, usage))
    return lines
