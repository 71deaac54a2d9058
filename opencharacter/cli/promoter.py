"""`opencharacter promoter`: the process that lets services follow their aliases."""

from pathlib import Path
from typing import Annotated

import typer


def promoter(
    config: Annotated[Path, typer.Option("--config", "-c", help="What to watch (YAML).", show_default=False)],
    once: Annotated[
        bool, typer.Option("--once", help="One look at each model, then end; exit code 1 if one is not served.")
    ] = False,
) -> None:
    """Watch aliases in MLflow, and bring each InferenceService to the version that its alias points at.

    Runs until SIGTERM or Ctrl-C. The chart runs it as a Deployment (promoter.enabled). MLFLOW_TRACKING_URI names the
    registry; the file holds `models`, a list of `model`, `alias` and `deploy` (as in a run configuration).

    Example: opencharacter promoter --config promoter.yaml --once
    """
    from opencharacter.errors import OpenCharacterError
    from opencharacter.promoter import PromoterConfig, log_line, promote_once, run_promoter
    from opencharacter.yaml_files import load_document, read_text

    settings = load_document(
        PromoterConfig, read_text(config), str(config), hint="docs/promote.md shows the keys, and the chart's values"
    )
    if not once:
        run_promoter(settings, log_line)
        return
    missed = [look.text for look in promote_once(settings, typer.echo) if look.outcome not in ("serving", "no_alias")]
    if missed:
        raise OpenCharacterError("\n".join(missed))
