"""`opencharacter evaluate judge-check` and `label`: how far a judge can be believed, and what people say."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from opencharacter.cli.options import DEFAULT_WORKDIR, Workdir, WorkspaceRoot, repeated, workspace_at

if TYPE_CHECKING:
    from opencharacter.evaluation.judges.labels import Label
    from opencharacter.evaluation.judges.material import CheckItem
    from opencharacter.evaluation.judges.stored import StoredAnswers
    from opencharacter.evaluation.subjects import Judge
    from opencharacter.records.judges import JudgeCard
    from opencharacter.storage.workspace import Workspace

_ENDS = {"passed": 0, "refused": 3, "unknown": 4}
"""Exit codes, as those of `compare`: passes, does not, cannot be decided."""
_Seed = Annotated[int, typer.Option(help="Of the sample and of all calls.")]


def judge_check(
    judge: Annotated[
        str,
        typer.Option(
            "--judge",
            metavar="[NAME=]MODEL",
            help="Who is checked: a key of --engines, an endpoint https://HOST/v1#NAME, or weights.",
        ),
    ],
    engines: Annotated[
        Path | None, typer.Option(metavar="FILE", help="YAML with `engines`, such as a run configuration.")
    ] = None,
    api_key_env: Annotated[
        str | None, typer.Option(help="Variable with the key of an endpoint; default: OPENAI_API_KEY where it is set.")
    ] = None,
    suite: Annotated[
        str | None,
        typer.Option(
            metavar="SUITE",
            help="Ask about the answers to this suite that the workspace holds; default: packaged ones.",
        ),
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(metavar="FILE", help="What people say of these answers (JSONL or CSV).")
    ] = None,
    limit: Annotated[
        int, typer.Option(metavar="N", min=1, help="Questions of the suite; labelled ones are all in.")
    ] = 100,
    seed: _Seed = 0,
    workdir: Workdir = DEFAULT_WORKDIR,
    workspace: WorkspaceRoot = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the card as JSON.")] = False,
) -> None:
    """Check a judge: repeatability, canaries, bias by order and length, agreement with people. Writes a judge card.

    Exit code 0: a decision may rest on it; 3: it may not; 4: too little is known.
    """
    from opencharacter.evaluation.judge_calls import ask_judge
    from opencharacter.evaluation.judges.card import write_card
    from opencharacter.evaluation.judges.checking import check_judge

    store = workspace_at(workdir, workspace)
    items, said, material = _material(store, suite, labels, limit, seed)
    checked = _judge(judge, engines, api_key_env)
    card = ask_judge(
        lambda known: check_judge(known, items, said, material=material, seed=seed), checked, workspace=store
    )
    data, page = write_card(card, workdir / "judges" / checked.name)
    if as_json:
        typer.echo(data.read_text(encoding="utf-8"), nl=False)
    else:
        _show_card(card)
        typer.echo(f"judge card: {data}\n            {page}")
    raise typer.Exit(_ENDS[card.verdict])


def label(
    suite: Annotated[str, typer.Option("--suite", metavar="SUITE", help="Whose answers; the workspace holds them.")],
    n: Annotated[
        int, typer.Option("--n", metavar="N", min=1, help="Pairs of answers, or questions whose answers are rated.")
    ] = 100,
    rate: Annotated[
        bool, typer.Option("--rate", help="Rate each answer from 1 to 5, in place of comparing two models' answers.")
    ] = False,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", "-m", help="Only of these models, by their names; of one, answers are rated."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The label file; default: labels/SUITE.jsonl in the workdir.")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of the page; default: a free one.")] = 0,
    seed: _Seed = 0,
    workdir: Workdir = DEFAULT_WORKDIR,
    workspace: WorkspaceRoot = None,
) -> None:
    """Serve a page on which people label answers without knowing the models, until Ctrl-C.

    The same command continues the file. A second rater gives another name on the page; how far both agree is shown.
    """
    from opencharacter.evaluation.judges.label_server import agreement_lines, label_server
    from opencharacter.evaluation.judges.labelling import Labelling, choose_tasks, label_tasks, rating_tasks

    stored = _stored(workspace_at(workdir, workspace), suite, model or ())
    path = out or workdir / "labels" / f"{stored.suite}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    tasks = (rating_tasks if rate else label_tasks)(stored.answers, stored.characters)
    labelling = Labelling(choose_tasks(tasks, n, seed), path)
    with label_server(labelling, port) as server:
        typer.echo(f"label {len(labelling)} tasks at http://127.0.0.1:{server.server_port}/  (Ctrl-C ends it)")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            typer.echo()
    for rater, count in labelling.done.items():
        typer.echo(f"{rater}: {count} of {len(labelling)} labelled")
    for line in agreement_lines(labelling.agreement()):
        typer.echo(line)
    again = repeated(workdir, workspace)
    typer.echo(f"labels: {path}\nnext: opencharacter evaluate compare --labels {path}{again}")
    typer.echo(f"      opencharacter evaluate judge-check --judge JUDGE --labels {path}{again}")


def _judge(text: str, engines: Path | None, api_key_env: str | None) -> "Judge":
    from opencharacter.evaluation.references import load_engines, read_references
    from opencharacter.evaluation.subjects import load_judge
    from opencharacter.system.api_keys import usual_variable

    file = load_engines(engines)
    (named,) = read_references([text], "--judge", file, api_key_env=api_key_env or usual_variable())
    return load_judge(named.name, named.asked, family=named.family)


def _material(
    store: "Workspace", suite: str | None, labels: Path | None, limit: int, seed: int
) -> "tuple[list[CheckItem], Sequence[Label], str]":
    """What the judge is asked about, what people say of it, and what the card calls it."""
    from opencharacter.errors import UserError
    from opencharacter.evaluation.judges.labelling import label_tasks, rating_tasks
    from opencharacter.evaluation.judges.labels import read_labels
    from opencharacter.evaluation.judges.material import PACKAGED, items_of, packaged_items

    if labels is not None and suite is None:
        suites = sorted({found.suite for found in read_labels(labels)})
        if len(suites) > 1:
            raise UserError(f"{labels}: labels of several suites: {', '.join(suites)}", hint="choose one: --suite")
        suite = suites[0]
    if suite is None:
        return packaged_items(), (), PACKAGED
    stored = _stored(store, suite, ())
    said: Sequence[Label] = ()
    if labels is not None:
        tasks = [*label_tasks(stored.answers, stored.characters), *rating_tasks(stored.answers, stored.characters)]
        said = read_labels(labels, {task.key for task in tasks})
    labelled = {(found.question_id, found.repeat) for found in said}
    items = items_of(stored.answers, stored.characters, limit, seed, labelled=labelled)
    return items, said, f"answers of {', '.join(sorted(stored.names.values()))} to {stored.suite}"


def _stored(store: "Workspace", suite: str, models: Collection[str]) -> "StoredAnswers":
    from opencharacter.errors import UserError
    from opencharacter.evaluation.judges.stored import stored_answers

    stored = stored_answers(store, suite)
    if unknown := sorted(set(models) - set(stored.names.values())):
        raise UserError(f"--model {unknown[0]}: {suite} has not measured it; it has {sorted(stored.names.values())}")
    if not models:
        return stored
    kept = [row for row in stored.answers if stored.names.get(row.model) in models]
    return stored._replace(answers=kept, names={key: name for key, name in stored.names.items() if name in models})


def _show_card(card: "JudgeCard") -> None:
    from rich.console import Console
    from rich.table import Table

    from opencharacter.evaluation.judges.card import card_lines, card_verdict

    table = Table(f"{card.name} ({card.judge})", "figure", "95 % interval", "over", "good", box=None, pad_edge=False)
    for line in card_lines(card):
        table.add_row(line.name, line.value, line.interval, f"{line.figure.n:,}", line.limit)
    Console(highlight=False, width=130).print(table)
    typer.echo("\n".join(card_verdict(card)))
