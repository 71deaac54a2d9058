"""`opencharacter evaluate compare`, `report` and `leaderboard`: what is made of scores."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from opencharacter.cli.options import DEFAULT_WORKDIR, Workdir, WorkspaceRoot, tracking_server, workspace_at
from opencharacter.progress import progress

if TYPE_CHECKING:
    from opencharacter.records.evaluation import GateDecision
    from opencharacter.storage.workspace import Artifact

EXIT_CODES = {"passed": 0, "not shown": 3, "undecidable": 4}
"""Of `compare`, by outcome; 2 is the user's mistake."""

_Suites = Annotated[
    list[str] | None, typer.Option("--suite", metavar="NAME", help="Only these suites; default: all. Repeatable.")
]
_Gate = Annotated[
    Path | None, typer.Option(metavar="FILE", help="YAML: primary, guards, levels, as in a run's section `gate`.")
]
_Labels = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FILE", help="What people say of the two models' answers (JSONL or CSV); calibrates judges. Repeatable."
    ),
]
_UsesLedger = Annotated[bool, typer.Option("--ledger/--no-ledger", help="Count this comparison among those before it.")]
_Experiment = Annotated[str, typer.Option(help="MLflow experiment of the scores.")]
_DEFAULT_EXPERIMENT = "opencharacter"
"""Where runs of the pipeline publish theirs, unless `registry.experiment` says otherwise."""


def compare(
    challenger: Annotated[str, typer.Option(help="Name of the model that should be better.")] = "challenger",
    champion: Annotated[str, typer.Option(help="Name of the model to beat.")] = "champion",
    suite: _Suites = None,
    gate: _Gate = None,
    labels: _Labels = None,
    workdir: Workdir = DEFAULT_WORKDIR,
    workspace: WorkspaceRoot = None,
    ledger: _UsesLedger = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print the decision as JSON.")] = False,
) -> int:
    """Decide whether one measured model is better than another, and worse in nothing that matters.

    Exit code 0: it passes. 3: not shown. 4: undecidable, and the output says what would decide it. 2: a wrong option or
    file. The models are named as in `evaluate run`, which has to have measured both in one run.

    Each comparison is noted in MLflow (MLFLOW_TRACKING_URI, or else a server in WORKDIR): the second challenger that is
    tried on the same items against the same champion has to be better with more confidence.
    """
    results = _results(workdir, workspace, suite, (challenger, champion))
    decision = _decide(results, gate, labels, challenger, champion, _Ledger(workdir) if ledger else None)
    if as_json:
        typer.echo(decision.model_dump_json(indent=2))
    else:
        _show(decision, challenger, champion)
    return EXIT_CODES[decision.outcome or ("passed" if decision.passed else "not shown")]


def report(
    challenger: Annotated[str | None, typer.Option(help="With --champion: the page also has the decision.")] = None,
    champion: Annotated[str | None, typer.Option(help="The model to beat.")] = None,
    suite: _Suites = None,
    gate: _Gate = None,
    labels: _Labels = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write; default: evaluation.html in WORKDIR.")
    ] = None,
    workdir: Workdir = DEFAULT_WORKDIR,
    workspace: WorkspaceRoot = None,
    ledger: _UsesLedger = True,
) -> None:
    """Write the page of the newest results: decision, tasks, failures, costs and sample answers in one HTML file."""
    from opencharacter.reporting.evaluation.page import write_evaluation_page

    if (challenger is None) != (champion is None):
        raise typer.BadParameter("give --challenger and --champion together")
    if labels and challenger is None:
        raise typer.BadParameter("--labels calibrate a decision: give --challenger and --champion")
    models = (challenger, champion) if challenger and champion else ()
    results = _results(workdir, workspace, suite, models)
    roles = {"challenger": challenger, "champion": champion} if challenger and champion else None
    decision = _decide(results, gate, labels, *models, _Ledger(workdir) if ledger else None) if models else None
    path = output or workdir / "evaluation.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    typer.echo(write_evaluation_page(results, decision, path, roles=roles, labels=labels or ()))


def leaderboard(
    suite: _Suites = None,
    model: Annotated[
        list[str] | None, typer.Option("--model", "-m", help="Only boards with this model. Repeatable.")
    ] = None,
    experiment: _Experiment = _DEFAULT_EXPERIMENT,
    traces: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            help="Questions of each suite whose answers become MLflow traces; 0 for MLflow before 3.",
        ),
    ] = 20,
    workdir: Workdir = DEFAULT_WORKDIR,
    workspace: WorkspaceRoot = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV instead of tables.")] = False,
) -> None:
    """Rank all models that were measured with one suite and judge, as far as the intervals allow.

    The results of the workspace are published to MLflow first (MLFLOW_TRACKING_URI, or else a server in WORKDIR).
    """
    from opencharacter.evaluation.results import all_results
    from opencharacter.reporting.published import (
        leaderboard_csv,
        leaderboard_table,
        publish_evaluation,
        read_leaderboard,
    )

    found = all_results(workspace_at(workdir, workspace))
    # The bar is there while the server starts, too.
    with progress("publish to MLflow", total=len(found)) as shown, _any_tracking_server(workdir):
        for artifact in found:
            publish_evaluation(artifact, experiment=experiment, traces=traces)
            shown.advance(rows=1)
        boards = read_leaderboard(experiment, suites=suite or (), models=model or ())
    typer.echo(leaderboard_csv(boards) if as_csv else leaderboard_table(boards), nl=not as_csv)


@contextlib.contextmanager
def _any_tracking_server(workdir: Path) -> Iterator[None]:
    """The MLflow server of MLFLOW_TRACKING_URI, or else one in the working folder, which is made for it."""
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        (workdir / "mlflow").mkdir(parents=True, exist_ok=True)
    with tracking_server(workdir):
        yield


class _Ledger:
    """The ledger in MLflow, whose server is started for a comparison that counts: one that decides something."""

    def __init__(self, workdir: Path) -> None:
        self._workdir = workdir

    def count(self, items: str, rival: str, comparison: str, details: dict[str, str]) -> int:
        from opencharacter.registry import ComparisonLedger, RegistryConfig

        with progress("note in MLflow", total=1) as shown, _any_tracking_server(self._workdir):
            position = ComparisonLedger(RegistryConfig()).count(items, rival, comparison, details)
            shown.advance(rows=1)
        return position


def _results(
    workdir: Path, workspace: str | None, suites: list[str] | None, models: tuple[str, ...]
) -> "dict[str, Artifact]":
    from opencharacter.evaluation.results import newest_results

    return newest_results(workspace_at(workdir, workspace), suites=suites or (), models=models)


def _decide(
    results: "dict[str, Artifact]",
    gate: Path | None,
    labels: list[str] | None,
    challenger: str,
    champion: str,
    ledger: "_Ledger | None",
) -> "GateDecision":
    from opencharacter.evaluation import GateConfig
    from opencharacter.evaluation import gate as decide
    from opencharacter.evaluation.results import with_primary
    from opencharacter.yaml_files import load_document, read_text

    config = GateConfig()
    if gate is not None:
        config = load_document(GateConfig, read_text(gate), str(gate), hint="docs/promote.md describes the keys")
    config = config.model_copy(update={"labels": [*config.labels, *(labels or ())]})
    config, found = with_primary(config, results), list(results.values())
    return decide(config, found, ledger=ledger, challenger=challenger, champion=champion)


def _show(decision: "GateDecision", challenger: str, champion: str) -> None:
    from rich.console import Console
    from rich.table import Table

    words = {"passed": f"{challenger} passes", "not shown": "not shown", "undecidable": "undecidable"}
    colour = {"passed": "green", "undecidable": "yellow"}.get(decision.outcome or "", "red")
    typer.secho(f"{words[decision.outcome or 'not shown']}: {challenger} against {champion}", bold=True, fg=colour)
    typer.echo(decision.reason)
    table = Table("", "suite", "difference", "interval", "margin", "n", "clusters", "", box=None, pad_edge=False)
    for finding in [decision.primary, *decision.guards] if decision.primary else []:
        if finding is None:
            continue
        low, high = finding.interval or (None, None)
        table.add_row(
            finding.name,
            finding.suite,
            "–" if finding.difference is None else f"{finding.difference:+.3f}",
            "–" if low is None or high is None else f"{low:+.3f} to {high:+.3f}",
            f"{finding.margin:g}",
            f"{finding.n:,}",
            f"{finding.clusters:,}",
            f"{finding.outcome}: {finding.text}" if finding.text else finding.outcome,
        )
    if decision.primary:
        typer.echo()
        Console(highlight=False, width=160).print(table)
    for title, lines in (("would decide it", [decision.remedy] if decision.remedy else []), ("note", decision.notes)):
        for line in lines:
            typer.echo(f"{title}: {line}")
