"""The answers to a suite that a workspace holds, of all runs together."""

from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

from opencharacter.characters import CharacterProfile
from opencharacter.errors import UserError
from opencharacter.records.evaluation import AnswerRow
from opencharacter.storage.artifacts import Artifact
from opencharacter.storage.kinds import ANSWERS, CHARACTERS, SUMMARY
from opencharacter.storage.workspace import Workspace


class StoredAnswers(NamedTuple):
    """Answers to one suite, an answer of each model to each item."""

    suite: str
    answers: list[AnswerRow]
    characters: Mapping[str, CharacterProfile]
    names: Mapping[str, str]
    """What the runs called the models, by identity."""


def stored_answers(workspace: Workspace, suite: str) -> StoredAnswers:
    """The answers of all runs of a suite. Of runs with different items those count of which there are most answers.

    Raises `UserError` if the suite was never run here.
    """
    versions: dict[str, list[Artifact]] = defaultdict(list)
    known = set()
    for artifact in workspace.list("evaluation"):
        if not (SUMMARY.exists(artifact) and ANSWERS.exists(artifact) and CHARACTERS.exists(artifact)):
            continue
        summary = SUMMARY.read(artifact)
        known.add(summary.suite)
        if summary.suite == suite:
            versions[summary.items_digest or ""].append(artifact)
    if not versions:
        raise UserError(
            f"{workspace.uri}: holds no run of suite '{suite}'",
            hint=f"runs there: {', '.join(sorted(known)) or 'none'}; run it first: opencharacter evaluate run",
        )
    return max((_together(suite, artifacts) for artifacts in versions.values()), key=lambda each: len(each.answers))


def _together(suite: str, artifacts: list[Artifact]) -> StoredAnswers:
    answers: dict[tuple[str, int, str], AnswerRow] = {}
    characters: dict[str, CharacterProfile] = {}
    names: dict[str, str] = {}
    for artifact in sorted(artifacts, key=lambda artifact: artifact.key):
        for row in ANSWERS.read(artifact):
            answers.setdefault((row.question_id, row.repeat, row.model), row)
        characters |= {profile.id: profile for profile in CHARACTERS.read(artifact)}
        names |= {identity: role for role, identity in SUMMARY.read(artifact).models.items()}
    return StoredAnswers(suite, [answers[key] for key in sorted(answers)], characters, names)
