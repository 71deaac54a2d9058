"""The rows of one suite's evaluation, by model, in the form that the parts of the page read."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from opencharacter.evaluation.measures.turns import DRIFT
from opencharacter.evaluation.summary import summarise
from opencharacter.records.evaluation import (
    LOSS,
    MODEL_FAILURES,
    SWAP_GAP,
    AnswerRow,
    Item,
    Judgement,
    Scale,
    ScoreRow,
    Summary,
)
from opencharacter.storage.artifacts import Artifact
from opencharacter.storage.kinds import ANSWERS, CHARACTERS, ITEMS, JUDGEMENTS, SCORES, SUMMARY

T = TypeVar("T")

BASE, CHAMPION, CHALLENGER = "base", "champion", "challenger"
LIKELIHOOD = (LOSS, SWAP_GAP)
SLOPES = (DRIFT,)

Key = tuple[str, str]
"""A measure and a question."""


@dataclass(frozen=True)
class Measured:
    """What one model got for one question by one measure."""

    score: float
    """Mean over judges and repeats; the worst score where the model failed."""
    rows: Sequence[ScoreRow]

    @property
    def failed(self) -> bool:
        """Whether the model itself failed, so that its score is the worst one."""
        return any(row.status in MODEL_FAILURES for row in self.rows)


@dataclass(frozen=True)
class SuiteRows:
    """Everything that an evaluation of one suite holds."""

    name: str
    artifact: Artifact
    summary: Summary
    models: Mapping[str, str]
    """Identity of each model, by the name that the page shows; base, champion and challenger first."""
    scores: Sequence[ScoreRow]
    answers: Sequence[AnswerRow]
    judgements: Sequence[Judgement]
    items: Mapping[str, Item]
    character_names: Mapping[str, str]

    @cached_property
    def metrics(self) -> list[str]:
        """The measures, in the order of the rows."""
        return list(dict.fromkeys(row.metric for row in self.scores))

    @cached_property
    def rated(self) -> frozenset[str]:
        """The measures whose scores are on the suite's scale, and no losses or slopes."""
        return frozenset(self.metrics) - {*LIKELIHOOD, *SLOPES}

    @cached_property
    def averaged(self) -> frozenset[str]:
        """Rated measures of one scale, whose scores may be averaged: one on which more is better, if there is one."""
        by_scale: dict[Scale, set[str]] = defaultdict(set)
        for metric in sorted(self.rated):
            by_scale[self.summary.scoring.scale(metric)].add(metric)
        scale = max(by_scale, key=lambda scale: (not scale.lower_is_better, len(by_scale[scale])), default=None)
        return frozenset(by_scale[scale]) if scale else frozenset()

    @cached_property
    def judges(self) -> list[str]:
        """Identities of the judges."""
        return sorted({row.judge for row in self.scores if row.judge})

    @cached_property
    def by_model(self) -> dict[str, dict[Key, Measured]]:
        """What each model got, by measure and question. A judge's failures are left out."""
        found: dict[str, dict[Key, list[ScoreRow]]] = defaultdict(lambda: defaultdict(list))
        for row in self.scores:
            if row.score is not None or row.status in MODEL_FAILURES:
                found[row.model][row.metric, row.question_id].append(row)
        return {
            name: {
                key: Measured(sum(map(self._score, rows)) / len(rows), rows)
                for key, rows in found.get(identity, {}).items()
            }
            for name, identity in self.models.items()
        }

    def is_lower_better(self, metric: str) -> bool:
        """Whether less is better by this measure."""
        return self.summary.scoring.scale(metric).lower_is_better

    def _score(self, row: ScoreRow) -> float:
        if row.score is not None:
            return row.score
        scoring = self.summary.scoring
        worst = scoring.failures.get(row.status, scoring.scale(row.metric).worst)
        return self._worst_measured[row.metric] if worst is None else worst

    @cached_property
    def _worst_measured(self) -> dict[str, float]:
        """The worst score that any model got, for scales that have no end."""
        worst: dict[str, float] = defaultdict(float)
        for row in self.scores:
            if row.score is not None:
                choose = max if self.is_lower_better(row.metric) else min
                worst[row.metric] = choose(row.score, worst.get(row.metric, row.score))
        return worst

    @cached_property
    def answer_of(self) -> dict[tuple[str, str], AnswerRow]:
        """The first answer of each model (by name) to each question."""
        names = {identity: name for name, identity in self.models.items()}
        found: dict[tuple[str, str], AnswerRow] = {}
        for row in self.answers:
            if row.model in names:
                found.setdefault((names[row.model], row.question_id), row)
        return found


def read_suite(name: str, artifact: Artifact, roles: Mapping[str, str] | None = None) -> SuiteRows:
    """Read the evaluation of one suite (kind `evaluation`).

    `roles` names the models that are challenger, champion or base, where they were measured under other names. Raises
    `UserError` if a file is absent or damaged.
    """
    scores = list(SCORES.read(artifact))
    summary = _with_roles(SUMMARY.read(artifact), scores, roles or {})
    order = [role for role in (BASE, CHAMPION, CHALLENGER) if role in summary.models]
    order += [role for role in summary.models if role not in order]
    return SuiteRows(
        name=name,
        artifact=artifact,
        summary=summary,
        models={role: summary.models[role] for role in order},
        scores=scores,
        answers=list(ANSWERS.read(artifact)) if ANSWERS.exists(artifact) else [],
        judgements=list(JUDGEMENTS.read(artifact)) if JUDGEMENTS.exists(artifact) else [],
        items={item.id: item for item in ITEMS.read(artifact)} if ITEMS.exists(artifact) else {},
        character_names={one.id: one.name or one.persona or one.label for one in CHARACTERS.read(artifact)}
        if CHARACTERS.exists(artifact)
        else {},
    )


def _with_roles(summary: Summary, scores: Sequence[ScoreRow], roles: Mapping[str, str]) -> Summary:
    """The summary with models under their roles, and so with the challenger's differences."""
    role_of = {name: role for role, name in roles.items() if name in summary.models}
    if all(known == name for name, known in role_of.items()):
        return summary

    def role(name: str) -> str:
        taken = name in role_of.values() and name not in role_of
        return f"other {name}" if taken else role_of.get(name, name)

    def renamed(values: Mapping[str, T]) -> dict[str, T]:
        return {role(name): value for name, value in values.items()}

    found = summarise(scores, renamed(summary.models), summary.scoring)
    about = {"models", "scores", "differences", "families", "published"}
    return found.model_copy(
        update={name: getattr(summary, name) for name in Summary.model_fields.keys() - about}
        | {"families": renamed(summary.families), "published": renamed(summary.published)}
    )
