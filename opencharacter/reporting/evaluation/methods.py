"""How the figures were made: digests by which the same evaluation is known again."""

from collections.abc import Sequence
from dataclasses import dataclass

from opencharacter.reporting.evaluation.rows import SuiteRows


@dataclass(frozen=True)
class Method:
    """One suite's ground."""

    suite: str
    notice: str
    facts: list[tuple[str, list[str]]]


def methods(suites: Sequence[SuiteRows]) -> list[Method]:
    """What each suite's scores rest on."""
    return [_method(suite) for suite in suites]


def _method(suite: SuiteRows) -> Method:
    scoring = suite.summary.scoring
    facts = [
        ("suite digest", [suite.summary.suite_digest or ""]),
        ("items digest", [suite.summary.items_digest or ""]),
        ("items", [f"{len({row.question_id for row in suite.scores})}"]),
        ("characters", [f"{len({row.character_id for row in suite.scores if row.character_id})}"]),
        ("clusters", [" and ".join(name.removesuffix("_id") for name in scoring.clusters)]),
        ("system prompt", [suite.summary.system_prompt]),
        (
            "hashes of system messages",
            sorted({row.system_prompt_hash for row in suite.answers if row.system_prompt_hash})[:4],
        ),
        ("rubrics", sorted({f"{row.metric} {row.rubric_hash}" for row in suite.judgements})[:12]),
        ("judges", [f"{name} {identity}" for name, identity in suite.summary.judges.items()] or suite.judges),
        ("endpoints", [f"{identity}: {who}" for identity, who in suite.summary.endpoints.items()]),
        ("licence of the items", sorted({item.license for item in suite.items.values() if item.license})),
        ("evaluation", [suite.artifact.digest]),
        *((f"model {name}", [identity]) for name, identity in suite.models.items()),
    ]
    known = [(label, kept) for label, values in facts if (kept := [value for value in values if value])]
    return Method(suite.name, suite.summary.notice, known)
