"""One suite of a run: what the pipeline's step `evaluate` does."""

from collections.abc import Mapping

from opencharacter.engines import EngineConfig
from opencharacter.errors import UserError
from opencharacter.evaluation.choosing import check_version, chosen_suite
from opencharacter.evaluation.evaluating import check_roles, load_roles, run_settings
from opencharacter.evaluation.evaluation_config import EvaluateConfig
from opencharacter.evaluation.grid import grid_suite
from opencharacter.evaluation.running import run_suites
from opencharacter.evaluation.subjects import load_judge
from opencharacter.evaluation.suites import load_suite
from opencharacter.records.evaluation import GRID
from opencharacter.storage.workspace import Artifact, Workspace


def evaluate_suite(
    suite: str,
    config: EvaluateConfig,
    *,
    models: Mapping[str, str],
    judges: Mapping[str, EngineConfig],
    mixture: Artifact | None = None,
    version: str = "",
    workspace: Workspace,
    seed: int,
) -> Artifact:
    """Measure a run's models with one suite.

    Args:
        suite: Name of a packaged suite, a folder, an `s3://` prefix or an `hf://` id.
        config: The section `evaluate` of the run.
        models: The models by role: `base`, `challenger` and perhaps `champion`.
        judges: The engines of `config.judges`, by name.
        mixture: The run's mixture, whose held-out rows the suite `grid` asks; other suites need none.
        version: The digest that the suite must have (`choosing.suite_version`); empty: any.
        workspace: Where rows and output are kept.
        seed: The run's seed.

    Returns:
        The output of kind `evaluation`.

    Raises:
        UserError: There is no such suite, or it is another version, `grid` is measured without a mixture, or a model
            cannot be loaded.
        OpenCharacterError: A model or judge does not answer.
    """
    choice = config.choice(suite)
    if suite != GRID:
        loaded = chosen_suite(choice, version)
    elif mixture is None:
        raise UserError("the suite 'grid' asks the held-out rows of a mixture, and there is none")
    else:
        check_version(load_suite(GRID), version)
        loaded = grid_suite(config, mixture, seed)
    named = {name: judges[name] for name in choice.judges or ()}
    found = run_suites(
        [loaded],
        load_roles(models, check_roles(models)),
        [load_judge(name, engine) for name, engine in named.items()],
        workspace=workspace,
        seed=seed,
        settings=run_settings(config, list(named.values()), mixture, loaded),
        # The steps of several suites may run at the same time, and a row store has one writer.
        store="evaluation" if suite == GRID else f"evaluation-{loaded.name}",
        allow_related=True,
    )
    return found[loaded.name]
