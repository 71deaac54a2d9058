"""`opencharacter evaluate lm-eval`: standard benchmarks of an endpoint, by lm-evaluation-harness."""

from pathlib import Path
from typing import Annotated

import typer

from opencharacter.cli.options import DEFAULT_WORKDIR, Workdir, WorkspaceRoot


def lm_eval(
    task: Annotated[
        list[str],
        typer.Option("--task", metavar="TASK", help="A task of lm-eval, such as ifeval or gsm8k. Repeatable."),
    ],
    model: Annotated[
        list[str],
        typer.Option("--model", "-m", metavar="[NAME=]ENDPOINT", help="https://HOST/v1#NAME, or a key of --engines."),
    ],
    engines: Annotated[
        Path | None, typer.Option("--engines", metavar="FILE", help="YAML with `engines`, such as a run configuration.")
    ] = None,
    api_key_env: Annotated[
        str | None, typer.Option(help="Variable with the key of endpoints; default: OPENAI_API_KEY where it is set.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, metavar="N", help="Only the first N items of each task.")] = None,
    include: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="A folder with task files of your own.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of lm-eval's draws.")] = 0,
    workdir: Workdir = DEFAULT_WORKDIR,
    workspace: WorkspaceRoot = None,
) -> None:
    """Run tasks of lm-evaluation-harness against endpoints, and keep the scores as the suite lm-eval.

    Their checkers are theirs, so the numbers compare with published ones. Needs the extra `lm-eval`, or its image; the
    tasks' data come from the hub.

    Example: opencharacter evaluate lm-eval --task ifeval --model tuned=http://127.0.0.1:8000/v1#bard
    """
    from opencharacter.errors import UserError
    from opencharacter.evaluation.lm_eval import LmEvalSettings, measure_lm_eval
    from opencharacter.evaluation.references import load_engines, read_references
    from opencharacter.storage.kinds import SUMMARY
    from opencharacter.storage.workspace import Workspace
    from opencharacter.system.api_keys import usual_variable

    file = load_engines(engines)
    named = read_references(model, "--model", file, api_key_env=api_key_env or usual_variable())
    for each in named:
        if each.engine is None or each.engine.base_url is None:
            raise UserError(
                f"--model {each.reference}: lm-eval measures endpoints",
                hint="serve it first: opencharacter serve; then give https://HOST/v1#NAME",
            )
    if include is not None and not include.is_dir():
        raise UserError(f"--include {include}: there is no such folder")
    evaluation = measure_lm_eval(
        LmEvalSettings(tuple(task), limit, include, seed),
        {each.name: each.asked for each in named},
        workspace=Workspace(workspace or workdir / "workspace"),
        scratch=workdir / "lm-eval",
    )
    for score in SUMMARY.read(evaluation).scores:
        typer.echo(f"{score.model}  {score.metric}  {score.mean:.4f}  ({score.n} items)")
    typer.echo(f"results: {evaluation.uri}")
