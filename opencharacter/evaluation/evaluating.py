"""The suite `grid` for the models of a run: base, challenger and champion on every cell of the split grid."""

from collections.abc import Mapping
from typing import get_args

from opencharacter.engines import EngineConfig
from opencharacter.errors import UserError
from opencharacter.evaluation.evaluation_config import EvaluateConfig
from opencharacter.evaluation.grid import grid_suite
from opencharacter.evaluation.losses import ForwardPasses
from opencharacter.evaluation.running import Settings, run_suites
from opencharacter.evaluation.subjects import Subject, load_judge, load_subject
from opencharacter.evaluation.suite import Suite
from opencharacter.records.evaluation import GRID, Role
from opencharacter.storage.kinds import mixture_template
from opencharacter.storage.workspace import Artifact, Workspace


def evaluate(
    config: EvaluateConfig,
    mixture: Artifact,
    *,
    models: Mapping[str, str],
    judge: EngineConfig | None = None,
    workspace: Workspace,
    seed: int,
) -> Artifact:
    """Measure base, challenger and (if there is one) champion on every cell of the split grid.

    `models` maps roles to folders or other references that engines know; weights under two roles are
    measured once. The output (kind `evaluation`) holds `rows.jsonl.zst` (`ScoreRow`), `answers.jsonl.zst`
    (`AnswerRow`, empty without a judge), `summary.json` (`Summary`) and `smoke_question.json` (see
    `pick_smoke_question`; absent where no row fits). Finished measurements are kept in the
    workspace, so a second run makes no LLM call again. Raises `UserError` for unknown roles, weights that can't be
    loaded, or a judge that is configured but not given; `EngineDown` if a model server is gone.
    """
    roles = check_roles(models)
    if config.judge is not None and judge is None:
        raise UserError("evaluate.judge is set, but no engine was given for it")
    suite = grid_suite(config, mixture, seed)
    settings = run_settings(config, [judge] if judge else [], mixture, suite)
    judges = [load_judge(config.judge.engine, judge)] if config.judge is not None and judge is not None else []
    return run_suites(
        [suite],
        load_roles(models, roles),
        judges,
        workspace=workspace,
        seed=seed,
        settings=settings,
        allow_related=True,
    )[GRID]


def check_roles(models: Mapping[str, str]) -> list[Role]:
    """The roles of a run's models. Raises `UserError` if one is unknown or missing."""
    known: tuple[Role, ...] = get_args(Role)
    unknown = sorted(models.keys() - set(known))
    if unknown or not {"base", "challenger"} <= models.keys():
        raise UserError(f"models: expected base, challenger and perhaps champion; got {sorted(models)}")
    return [role for role in known if role in models]


def load_roles(models: Mapping[str, str], roles: list[Role]) -> list[Subject]:
    """The models of a run. Raises as `load_subject` does."""
    return [load_subject(role, models[role]) for role in roles]


def run_settings(
    config: EvaluateConfig, engines: list[EngineConfig], mixture: Artifact | None, suite: Suite
) -> Settings:
    """How the models of a run are served and measured: with room for the longest question and the suite's answers."""
    return Settings(
        max_model_len=config.max_length + suite.config.answer.max_tokens,
        concurrency=max([engine.concurrency for engine in engines], default=Settings.concurrency),
        fallback=mixture_template(mixture) if mixture is not None else None,
        passes=ForwardPasses(config.max_length, config.batch_size, config.dtype),
    )
