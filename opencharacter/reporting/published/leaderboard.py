"""The leaderboard: published scores that may be compared, with ranks that say how sure they are."""

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from opencharacter.errors import UserError
from opencharacter.registry.client import mlflow_client
from opencharacter.reporting.published.names import KIND_TAG, LOWER, OVERALL, SCORES, metric_name
from opencharacter.reporting.verdicts import MIN_CLUSTERS
from opencharacter.tracking import find_experiment

if TYPE_CHECKING:
    from mlflow import MlflowClient


class _Ground(NamedTuple):
    """What must be equal for two models to be on one board."""

    suite: str
    suite_digest: str
    items_digest: str
    judge: str


@dataclass(frozen=True)
class Entry:
    """One model on a board."""

    model: str
    identity: str
    mean: float
    low: float | None
    high: float | None
    n: int
    clusters: int
    tasks: dict[str, float]
    run_id: str
    best: int = 0
    worst: int = 0

    @property
    def rank(self) -> str:
        """The rank, or the ranks that the intervals leave open."""
        return f"{self.best}" if self.best == self.worst else f"{self.best}–{self.worst}"


@dataclass(frozen=True)
class Board:
    """Models that answered the same items of the same suite, and were judged by the same judge."""

    suite: str
    suite_digest: str
    items_digest: str
    judge: str
    metric: str
    lower_is_better: bool
    system_prompt: str
    entries: list[Entry]


def read_leaderboard(experiment: str, *, suites: Collection[str] = (), models: Collection[str] = ()) -> list[Board]:
    """The boards of an experiment of the MLflow server that MLFLOW_TRACKING_URI names.

    A model that was published twice on one ground is there once, as it was last. Ranks are those that the intervals
    leave open: better than it are the models whose whole interval is. With too few clusters every rank is open.

    Args:
        experiment: The experiment's name.
        suites: Only these; default: all.
        models: Only boards that one of these is on, by name or the beginning of the identity; default: all.

    Raises:
        UserError: There is no such experiment, or nothing was published to it.
        OpenCharacterError: The server can't be reached, refuses the account or fails.
    """
    with mlflow_client() as client:
        experiment_id = find_experiment(client, experiment)
        if experiment_id is None:
            raise UserError(f"there is no MLflow experiment '{experiment}'", hint="name one: --experiment NAME")
        runs = _search(client, experiment_id)
    if not runs:
        raise UserError(
            f"no scores are published in the MLflow experiment '{experiment}'",
            hint="measure a model: opencharacter evaluate run --suite NAME --model MODEL",
        )
    boards = [board for board in _boards(runs) if not suites or board.suite in suites]
    return [board for board in boards if not models or any(_is_named(entry, models) for entry in board.entries)]


def _search(client: "MlflowClient", experiment_id: str) -> list[Any]:
    runs: list[Any] = []
    token: str | None = None
    while True:
        where = f"tags.`{KIND_TAG}` = '{SCORES}'"
        page = client.search_runs([experiment_id], where, max_results=1000, page_token=token)
        runs += page
        token = page.token
        if not token:
            return runs


def rank_entries(entries: Iterable[Entry], *, lower_is_better: bool) -> list[Entry]:
    """The entries with their ranks, the best mean first."""
    listed = sorted(entries, key=lambda entry: (entry.mean if lower_is_better else -entry.mean, entry.model))

    def is_above(one: Entry, other: Entry) -> bool:
        """Whether the whole interval of one is on the better side of the other's."""
        if min(one.clusters, other.clusters) < MIN_CLUSTERS:
            return False
        if one.low is None or one.high is None or other.low is None or other.high is None:
            return False
        return one.high < other.low if lower_is_better else one.low > other.high

    return [
        replace(
            entry,
            best=1 + sum(is_above(other, entry) for other in listed),
            worst=len(listed) - sum(is_above(entry, other) for other in listed),
        )
        for entry in listed
    ]


def _boards(runs: Iterable[Any]) -> list[Board]:
    grounds: dict[_Ground, dict[str, Any]] = defaultdict(dict)
    for run in sorted(runs, key=lambda run: run.info.start_time):
        params = run.data.params
        ground = _Ground(*(params.get(name, "") for name in _Ground._fields))
        grounds[ground][params["model_identity"]] = run
    boards = []
    for ground, latest in sorted(grounds.items()):
        metric = _headline(latest.values(), ground.suite)
        params = next(iter(latest.values())).data.params
        lower = metric == "loss" or params.get(LOWER) == "True"
        entries = [entry for run in latest.values() if (entry := _entry(run, ground.suite, metric)) is not None]
        ranked = rank_entries(entries, lower_is_better=lower)
        boards.append(Board(*ground, metric, lower, params.get("system_prompt", ""), ranked))
    return boards


def _headline(runs: Iterable[Any], suite: str) -> str:
    """The task that a board is ranked by: all of them, or the loss where nothing else was measured."""
    overall = metric_name(suite, OVERALL, "mean")
    return OVERALL if any(overall in run.data.metrics for run in runs) else "loss"


def _entry(run: Any, suite: str, metric: str) -> Entry | None:
    figures = run.data.metrics
    mean = figures.get(metric_name(suite, metric, "mean"))
    if mean is None:
        return None
    start, end = metric_name(suite, "", "")[:-1], "/mean"
    return Entry(
        model=run.data.params["model"],
        identity=run.data.params["model_identity"],
        mean=mean,
        low=figures.get(metric_name(suite, metric, "low")),
        high=figures.get(metric_name(suite, metric, "high")),
        n=int(figures.get(metric_name(suite, metric, "n"), 0)),
        clusters=int(figures.get(metric_name(suite, metric, "clusters"), 0)),
        tasks={
            name[len(start) : -len(end)]: value
            for name, value in sorted(figures.items())
            if name.startswith(start) and name.endswith(end) and name != f"{start}{metric}{end}"
        },
        run_id=run.info.run_id,
    )


def _is_named(entry: Entry, models: Collection[str]) -> bool:
    return any(entry.model == name or entry.identity.startswith(name) for name in models)
