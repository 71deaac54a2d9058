"""The evaluation step: a mixture and models by role in, one row per measurement and their summary out."""

import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

from opencharacter.engines import EngineConfig, localize_model
from opencharacter.errors import UserError
from opencharacter.evaluation.evaluation_config import EvaluateConfig
from opencharacter.evaluation.judging import JudgeScorer
from opencharacter.evaluation.likelihood import LikelihoodScorer
from opencharacter.evaluation.questions import Question, pick_questions, pick_smoke_question
from opencharacter.evaluation.scorers import EvalModel, Scorer, ScorerResult
from opencharacter.evaluation.summary import summarise
from opencharacter.hashing import digest, tree_digest
from opencharacter.library import fingerprint
from opencharacter.records.evaluation import Role, is_final
from opencharacter.storage.kinds import ANSWERS, SCORES, SMOKE_QUESTION, SUMMARY, mixture_template, model_template
from opencharacter.storage.rowstore import open_rows
from opencharacter.storage.workspace import Artifact, ArtifactDraft, Workspace
from opencharacter.system.event_loop import run_coroutine
from opencharacter.templates import Template, packaged_templates


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
    began = time.monotonic()
    roles = _check_roles(models)
    if config.judge is not None and judge is None:
        raise UserError("evaluate.judge is set, but no engine was given for it")
    eval_models = {role: _eval_model(role, models[role]) for role in roles}
    weights: dict[str, str] = {role: eval_model.digest for role, eval_model in eval_models.items()}
    key = digest(
        {
            "step": "evaluate",
            "config": config.model_dump(exclude={"batch_size"}),
            "judge": judge.identity if judge and config.judge else None,
            "mixture": mixture.digest,
            "models": weights,
            "prompts": [template.hash for name, template in packaged_templates().items() if name.startswith("judge")],
            "seed": seed,
            "library": fingerprint(),
        }
    )
    if artifact := workspace.lookup("evaluation", key):
        return artifact
    scorers: list[Scorer] = [LikelihoodScorer(config, _chat_template(eval_models["challenger"].folder))]
    if config.judge is not None and judge is not None:
        scorers.append(JudgeScorer(config, config.judge, judge, seed))
    distinct = list({eval_model.digest: eval_model for eval_model in reversed(eval_models.values())}.values())[::-1]
    groups = _groups(config, mixture, seed, distinct)
    questions, _ = groups[0]
    measured = run_coroutine(_score_all(scorers, groups, workspace))
    with workspace.create("evaluation", key) as draft:
        _write(draft, measured, weights)
        if (smoke_question := pick_smoke_question(questions)) is not None:
            SMOKE_QUESTION.write(draft.path, json.dumps(smoke_question, ensure_ascii=False))
        draft.counts |= {"questions": len(questions)} | Counter(row.status for row in measured.rows)
        draft.stats |= {"wall_s": round(time.monotonic() - began, 3), "usage": measured.usage.model_dump()}
    return draft.committed()


def _check_roles(models: Mapping[str, str]) -> list[Role]:
    known: tuple[Role, ...] = get_args(Role)
    unknown = sorted(models.keys() - set(known))
    if unknown or not {"base", "challenger"} <= models.keys():
        raise UserError(f"models: expected base, challenger and perhaps champion; got {sorted(models)}")
    return [role for role in known if role in models]


def _eval_model(role: Role, reference: str) -> EvalModel:
    folder = localize_model(reference)
    return EvalModel(role, reference, folder, tree_digest(folder))


def _chat_template(folder: Path) -> str:
    """The tuned model's template: a base model that has none is measured with the one that tuning gave it."""
    path = folder / "chat_template.jinja"
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _groups(
    config: EvaluateConfig, mixture: Artifact, seed: int, eval_models: Sequence[EvalModel]
) -> list[tuple[list[Question], list[EvalModel]]]:
    """The questions, and the models that are asked with them: each in the system prompt that it was trained with.

    A model that was not trained for characters gets the mixture's. Usually all models have the same, and are one group.
    """
    groups: dict[str, tuple[Template, list[EvalModel]]] = {}
    for eval_model in eval_models:
        template = model_template(eval_model.folder) or mixture_template(mixture)
        groups.setdefault(template.hash, (template, []))[1].append(eval_model)
    return [(pick_questions(config, mixture, seed, template), group) for template, group in groups.values()]


async def _score_all(
    scorers: Sequence[Scorer], groups: Sequence[tuple[list[Question], list[EvalModel]]], workspace: Workspace
) -> ScorerResult:
    total = ScorerResult()
    async with open_rows(workspace.rows("evaluation"), is_final=is_final) as store:
        for scorer in scorers:
            for questions, eval_models in groups:
                part = await scorer.score(questions, eval_models, store)
                total.rows += part.rows
                total.answers += part.answers
                total.usage += part.usage
    return total


def _write(draft: ArtifactDraft, measured: ScorerResult, weights: Mapping[str, str]) -> None:
    SCORES.write(draft.path, measured.rows)
    ANSWERS.write(draft.path, measured.answers)
    SUMMARY.write(draft.path, summarise(measured.rows, dict(weights.items())))
