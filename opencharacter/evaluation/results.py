"""Finds the results of evaluations in a workspace."""

from collections.abc import Collection

from opencharacter.errors import UserError
from opencharacter.evaluation.evaluation_config import GateConfig, PrimaryConfig
from opencharacter.records.evaluation import Summary
from opencharacter.storage.kinds import SUMMARY
from opencharacter.storage.workspace import Artifact, Workspace


def newest_results(
    workspace: Workspace, *, suites: Collection[str] = (), models: Collection[str] = ()
) -> dict[str, Artifact]:
    """The newest results of each suite that hold all these models.

    Args:
        workspace: Where they are.
        suites: Names of suites; none: all.
        models: Names of models, as they were measured; none: any.

    Raises:
        UserError: There are none. The message says what there is.
    """
    found: dict[str, Artifact] = {}
    seen: list[Summary] = []
    for artifact in all_results(workspace):
        summary = SUMMARY.read(artifact)
        seen.append(summary)
        if set(models) <= summary.models.keys() and (not suites or summary.suite in suites):
            found[summary.suite] = artifact
    if missing := [suite for suite in suites if suite not in found] or ([] if found else ["any suite"]):
        raise _absent(missing[0], models, seen)
    return found


def all_results(workspace: Workspace) -> list[Artifact]:
    """All results of a workspace, the oldest first."""
    return sorted(workspace.list("evaluation"), key=finished_at)


def find_mixture(workspace: Workspace, key: str | None) -> Artifact:
    """The mixture whose held-out rows the suite `grid` asks: by the beginning of its key, or the only one.

    Raises `UserError` if there is none, or more than one.
    """
    found = [artifact for artifact in workspace.list("mixture") if artifact.key.startswith(key or "")]
    if len(found) != 1:
        there = ", ".join(sorted(artifact.key[:12] for artifact in workspace.list("mixture"))) or "none"
        raise UserError(
            f"suite grid: asks the held-out rows of a run's mixture; the workspace has {len(found)}"
            + (f" whose key begins with {key}" if key else "")
            + f" (mixtures: {there})",
            hint="give --workdir of a run, and --mixture KEY where there are several; the suite `frozen` needs no run",
        )
    return found[0]


def with_primary(config: GateConfig, suites: Collection[str]) -> GateConfig:
    """The gate's settings; who names one suite alone, and no primary comparison, has declared that suite."""
    if config.primary is not None or config.metric is not None or len(suites) != 1:
        return config
    (suite,) = suites
    return config.model_copy(update={"primary": PrimaryConfig(suite=suite)})


def _absent(suite: str, models: Collection[str], seen: Collection[Summary]) -> UserError:
    there = sorted({f"{', '.join(summary.models)} in {summary.suite}" for summary in seen})
    options = " ".join(f"--model {name}=…" for name in models)
    return UserError(
        f"no results of {' and '.join(models) or 'any model'} in {suite}; there are: {'; '.join(there) or 'none'}",
        hint=f"measure them in one run, which reuses finished calls: opencharacter evaluate run --suite … {options}",
    )


def finished_at(artifact: Artifact) -> str:
    """When an output was made; outputs of earlier releases do not say, and are older."""
    return str(artifact.stats.get("finished_at", ""))
