"""How a run has ended: the failing steps' own last errors, the report, the model version."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from opencharacter.components.endings import Ending, read_ending
from opencharacter.errors import OpenCharacterError
from opencharacter.pipelines.watch.lines import last_error
from opencharacter.pipelines.watch.pods import Pods
from opencharacter.pipelines.watch.steps import Step
from opencharacter.registry import kept_version
from opencharacter.reporting import ReportInputs
from opencharacter.storage.kinds import REPORT
from opencharacter.storage.workspace import Artifact, Workspace

_VERSION = "version"
_REPORT = "report"
_VERSION_STEPS = ("promote", "register")
"""The steps that publish a model version, and are never cached; the later one first."""


@dataclass(frozen=True)
class Failure:
    """A step that failed, and its own words; `message` is none where nothing could be read."""

    step: Step
    message: str | None
    hint: str | None = None
    killed: bool = False
    """Whether the workspace can be read, and the step has left nothing there: it did not end by itself."""


@dataclass(frozen=True)
class Outcome:
    """How a run has ended, as far as this machine can read it."""

    failures: list[Failure]
    report: str | None = None
    """The report's address."""
    inputs: ReportInputs | None = None
    """What the report was made of."""
    version: str | None = None
    """`models:/NAME/VERSION`."""
    unread: list[str] = field(default_factory=list)
    """What could not be read, and why."""


def outcome_of(run: dict[str, Any], steps: list[Step], pods: Pods) -> Outcome:
    """Read how a run has ended: from its workspace, then from its pods."""
    kept = _Kept(run)
    failures = [_failure(step, kept, pods) for step in steps if step.state == "failed"]
    version = _version(steps, kept)
    report = _report(run, steps, kept, version)
    unread = [kept.unread] if kept.unread else []
    if any(not failure.message for failure in failures):
        unread += [f"logs of {source}: {why}" for source, why in pods.unread.items()]
    return Outcome(
        failures=failures,
        report=f"{report.uri}/{REPORT.name}" if report else None,
        inputs=_inputs(report) if report else None,
        version=version,
        unread=unread,
    )


class _Kept:
    """What the run's workspace holds; nothing once it has turned out to be unreadable."""

    def __init__(self, run: dict[str, Any]) -> None:
        self._root = _workspace_root(run)
        self.unread = "" if self._root else "the run names no workspace: it is not a run of opencharacter"

    def ending(self, step: Step) -> Ending | None:
        return self._read(read_ending, step.pod) if step.pod else None

    def version(self, key: str) -> str | None:
        found = self._read(lambda key, workspace: kept_version(key, workspace=workspace), key)
        return f"models:/{found.name}/{found.version}" if found else None

    def report(self, key: str) -> Artifact | None:
        found: Artifact | None = self._read(lambda key, workspace: workspace.lookup(_REPORT, key), key)
        return found

    def reports(self) -> list[Artifact]:
        return self._read(lambda _, workspace: workspace.list(_REPORT), "") or []

    def _read(self, read: Any, key: str) -> Any:
        if self.unread:
            return None
        try:
            return read(key, Workspace(self._root))
        except (OpenCharacterError, ValueError) as error:
            hint = getattr(error, "hint", None)
            self.unread = f"the workspace {self._root}: {error}" + (f" ({hint})" if hint else "")
            return None


def _workspace_root(run: dict[str, Any]) -> str:
    given = ((run.get("runtime_config") or {}).get("parameters") or {}).get("workspace")
    spec = run.get("pipeline_spec") or {}
    declared = (spec.get("pipeline_spec", spec).get("root") or {}).get("inputDefinitions") or {}
    return str(given or ((declared.get("parameters") or {}).get("workspace") or {}).get("defaultValue") or "")


def _failure(step: Step, kept: _Kept, pods: Pods) -> Failure:
    ending = kept.ending(step)
    if ending and ending.error:
        return Failure(step, ending.error, ending.hint)
    if not step.pod:
        return Failure(step, None)
    said = last_error(pods.tail(step.pod, final=True))
    trouble = pods.trouble(step.pod, final=True)
    killed = not kept.unread and not step.driver
    return Failure(step, "\n".join(filter(None, (trouble, said))) or None, killed=killed)


def _made(steps: Iterable[Step], name: str, kind: str, kept: _Kept) -> str | None:
    for step in steps:
        if step.name == name and step.state == "succeeded":
            ending = kept.ending(step)
            return ending.outputs.get(kind) if ending else None
    return None


def _version(steps: list[Step], kept: _Kept) -> str | None:
    keys = (_made(steps, name, _VERSION, kept) for name in _VERSION_STEPS)
    key = next(filter(None, keys), None)
    return kept.version(key) if key else None


def _report(run: dict[str, Any], steps: list[Step], kept: _Kept, version: str | None) -> Artifact | None:
    if key := _made(steps, _REPORT, _REPORT, kept):
        return kept.report(key)
    if not any(step.name == _REPORT and step.state == "cached" for step in steps):
        return None
    # KFP took an earlier run's report, whose pod is not known here: it is of this name and of this version.
    found = [ref for ref in kept.reports() if (ref.stats.get("run") or {}).get("name") == run.get("display_name")]
    same = [ref for ref in found if version and _version_of(ref) == version]
    return same[-1] if same else found[0] if len(found) == 1 else None


def _inputs(report: Artifact) -> ReportInputs | None:
    """What a report was made of; none for one of a library that wrote down something else."""
    try:
        return ReportInputs.model_validate(report.stats.get("run"))
    except ValidationError:
        return None


def _version_of(report: Artifact) -> str | None:
    registered = report.stats["run"].get("registered") or {}
    return f"models:/{registered.get('name')}/{registered.get('version')}"
