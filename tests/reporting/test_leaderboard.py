"""Published evaluations on a real MLflow server: what is logged, who is ranked with whom, how sure the ranks are."""

import csv
import io
from pathlib import Path

import pytest
from support.evaluation_rows import JUDGES, MODELS, make_suite_evaluation
from support.score_rows import make_evaluation_of, score_rows
from support.small_run import OutputMaker

from opencharacter.errors import UserError
from opencharacter.hashing import digest
from opencharacter.records.evaluation import Scale, Scoring
from opencharacter.reporting.published import (
    Entry,
    leaderboard_csv,
    leaderboard_table,
    publish_evaluation,
    read_leaderboard,
)
from opencharacter.reporting.published.leaderboard import rank_entries
from opencharacter.storage.artifacts import Artifact
from opencharacter.storage.kinds import ANSWERS, SUMMARY
from opencharacter.storage.workspace import Workspace

BOTH = " + ".join(JUDGES)


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return make_suite_evaluation(OutputMaker(tmp_path_factory.mktemp("evaluations")), characters=20, questions=1)


@pytest.fixture(scope="module")
def published(mlflow_uri: str, evaluation: Artifact) -> str:
    """The name of an experiment that holds the evaluation, with traces of one question."""
    publish_evaluation(evaluation, experiment="published", traces=1)
    return "published"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace")


@pytest.fixture
def experiment(mlflow_uri: str, request: pytest.FixtureRequest) -> str:
    return f"experiment-{digest(request.node.nodeid)[:12]}"


def test_each_model_and_judge_has_a_nested_run(published: str, evaluation: Artifact) -> None:
    from mlflow import MlflowClient

    client = MlflowClient()
    (runs,) = [client.search_runs([e.experiment_id]) for e in [client.get_experiment_by_name(published)] if e]
    nested = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    assert {run.data.tags["mlflow.parentRunId"] for run in nested} == {
        run.info.run_id for run in runs if run not in nested
    }
    grounds = {(run.data.params["model"], run.data.params["judge"]) for run in nested}
    assert grounds == {(model, judge) for model in MODELS for judge in (*JUDGES, BOTH)}
    whole = next(r for r in nested if (r.data.params["model"], r.data.params["judge"]) == ("challenger", BOTH))
    assert whole.data.params["suite_digest"] == "d" * 64
    assert whole.data.params["system_prompt"] == "own"
    for score in SUMMARY.read(evaluation).scores:
        if score.model == "challenger":
            start = f"personagym-light/{score.metric}"
            figures = [whole.data.metrics[f"{start}/{name}"] for name in ("mean", "low", "high", "n")]
            assert figures == pytest.approx([score.mean, score.low, score.high, score.n])


def test_publishing_again_adds_nothing(published: str, evaluation: Artifact) -> None:
    from mlflow import MlflowClient

    client = MlflowClient()
    found = client.get_experiment_by_name(published)
    assert found is not None
    before = {run.info.run_id for run in client.search_runs([found.experiment_id])}
    again = publish_evaluation(evaluation, experiment=published)
    assert {run.info.run_id for run in client.search_runs([found.experiment_id])} == before
    assert set(again) < before


def test_judged_answers_are_traces_with_the_judges_words(published: str, evaluation: Artifact) -> None:
    import mlflow
    from mlflow import MlflowClient

    found = MlflowClient().get_experiment_by_name(published)
    assert found is not None
    traces = mlflow.search_traces(locations=[found.experiment_id], return_type="list")
    assert len(traces) == len(MODELS)
    answers = {row.answer or "" for row in ANSWERS.read(evaluation)}
    runs = {str(run.info.run_id) for run in MlflowClient().search_runs([found.experiment_id])}
    for trace in traces:
        assert trace.info.trace_metadata["mlflow.sourceRun"] in runs
        (span,) = trace.data.spans
        assert span.outputs["content"] in answers
        assessments = trace.info.assessments
        assert {assessment.source.source_id for assessment in assessments} == set(JUDGES)
        assert all(a.rationale and a.feedback.value for a in assessments if a.error is None)


def test_only_equal_ground_shares_a_board(make_output: OutputMaker, experiment: str) -> None:
    small = {"characters": 20, "questions": 1, "judges": JUDGES[:1]}
    publish_evaluation(make_suite_evaluation(make_output, **small), experiment=experiment, traces=0)
    other = make_suite_evaluation(make_output, **small, models={"rival": "9" * 64})
    publish_evaluation(other, experiment=experiment, traces=0)
    elsewhere = make_suite_evaluation(make_output, **small, models={"rival": "9" * 64}, digest="f" * 64)
    publish_evaluation(elsewhere, experiment=experiment, traces=0)
    boards = read_leaderboard(experiment)
    assert [(board.suite_digest[0], {e.model for e in board.entries}) for board in boards] == [
        ("d", {"base", "champion", "challenger", "rival"}),
        ("f", {"rival"}),
    ]
    assert read_leaderboard(experiment, models=["champion"]) == boards[:1]
    assert read_leaderboard(experiment, suites=["frozen"]) == []


def test_the_table_ranks_with_intervals_and_quotes_the_paper_apart(published: str) -> None:
    boards = read_leaderboard(published)
    assert [board.judge for board in boards] == [JUDGES[0], BOTH, JUDGES[1]]
    table = leaderboard_table(boards[:1])
    assert "1–2  challenger" in table or "1–2  champion" in table
    assert "     3  base" in table
    assert table.index("quoted, not ranked") > table.index("base")
    rows = list(csv.DictReader(io.StringIO(leaderboard_csv(boards))))
    assert next(row["model"] for row in rows if row["rank"] == "quoted") == "Llama-3-70B-Instruct"
    best = next(row for row in rows if row["model"] == "challenger")
    assert float(best["low"]) < float(best["mean"]) < float(best["high"])
    assert float(best["toxicity_control"]) < float(best["expected_action"])


def test_where_every_task_is_a_harm_less_is_better(workspace: Workspace, experiment: str) -> None:
    models = {"kind": "a" * 64, "cruel@api.example.com": "cruel@api.example.com"}
    rows = [
        row.model_copy(update={"judge": None, "cell": None})
        for metric in ("harm", "over_refusal")
        for identity, share in zip(models.values(), (0.1, 0.6), strict=True)
        for row in score_rows(identity, [share, share + 0.1] * 15, metric=metric)
    ]
    scoring = Scoring(scales=dict.fromkeys(("harm", "over_refusal"), Scale(low=0, high=1, lower_is_better=True)))
    evaluation = make_evaluation_of(workspace, rows, models, scoring, suite="safety", suite_digest="5" * 64)
    publish_evaluation(evaluation, experiment=experiment, traces=0)
    (board,) = read_leaderboard(experiment)
    assert [(each.model, each.rank) for each in board.entries] == [("kind", "1"), ("cruel@api.example.com", "2")]
    head, _, first, _, second, _ = leaderboard_table([board]).splitlines()
    assert head == "safety 555555555555, 30 questions, judge none, less is better"
    assert first.split()[:4] == ["1", "kind", "a" * 12, "0.15"]
    assert second.split()[:3] == ["2", "cruel@api.example.com", "cruel@api.example.com"], (
        "an endpoint's name is not cut"
    )


def entry(model: str, low: float, high: float, clusters: int = 40) -> Entry:
    return Entry(model, model, (low + high) / 2, low, high, 100, clusters, {}, "run")


def test_a_rank_is_what_the_intervals_leave_open() -> None:
    ranked = rank_entries(
        [entry("a", 4.0, 4.2), entry("b", 3.9, 4.1), entry("c", 3.5, 3.95), entry("d", 1.0, 2.0)], lower_is_better=False
    )
    assert [(each.model, each.rank) for each in ranked] == [("a", "1–2"), ("b", "1–3"), ("c", "2–3"), ("d", "4")]


def test_a_loss_is_better_when_it_is_lower() -> None:
    ranked = rank_entries([entry("a", 2.0, 2.1), entry("b", 1.0, 1.1)], lower_is_better=True)
    assert [(each.model, each.rank) for each in ranked] == [("b", "1"), ("a", "2")]


def test_few_clusters_have_no_rank_of_their_own() -> None:
    ranked = rank_entries([entry("a", 4.0, 4.2, clusters=19), entry("b", 1.0, 2.0)], lower_is_better=False)
    assert [each.rank for each in ranked] == ["1–2", "1–2"]


def test_nothing_published_is_said(experiment: str) -> None:
    with pytest.raises(UserError, match="there is no MLflow experiment"):
        read_leaderboard(experiment)
