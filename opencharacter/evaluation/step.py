"""One suite of a run: what the pipeline's step `evaluate` does."""

from collections.abc import Mapping

from opencharacter.engines import EngineConfig
from opencharacter.errors import UserError
from opencharacter.evaluation.evaluating import evaluate
from opencharacter.evaluation.evaluation_config import EvaluateConfig
from opencharacter.records.evaluation import GRID
from opencharacter.storage.workspace import Artifact, Workspace


def evaluate_suite(
    suite: str,
    config: EvaluateConfig,
    *,
    models: Mapping[str, str],
    judges: Mapping[str, EngineConfig],
    mixture: Artifact | None = None,
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
        workspace: Where rows and output are kept.
        seed: The run's seed.

    Returns:
        The output of kind `evaluation`.

    Raises:
        UserError: There is no such suite, `grid` is measured without a mixture, or a model cannot be loaded.
        OpenCharacterError: A model or judge does not answer.
    """
    if suite == GRID:
        if mixture is None:
            raise UserError("the suite 'grid' asks the held-out rows of a mixture, and there is none")
        judge = judges[config.judge.engine] if config.judge else None
        return evaluate(config, mixture, models=models, judge=judge, workspace=workspace, seed=seed)
    raise UserError(f"there is no suite '{suite}'")
