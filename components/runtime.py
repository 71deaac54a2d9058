"""What every component does around its one library call: check the arguments, pass references, report failures."""

import json
import logging
import math
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from opencharacter.characters.prompt import DEFAULT_PROMPT, PromptName
from opencharacter.components.endings import Ending, keep_ending
from opencharacter.errors import OpenCharacterError, UserError
from opencharacter.library import fingerprint
from opencharacter.storage.workspace import Artifact, Workspace
from opencharacter.templates import load_template

if TYPE_CHECKING:
    from opencharacter.registry import RegisteredModel

FAILURE_VARIABLE = "OPENCHARACTER_FAILURE_FILE"
"""Environment variable naming a file that a failing step writes its message to (the local runner reads it)."""

_LARGEST = 2**53
"""Every number is a double on its way through KFP, which is exact up to here."""
_KFPS_OWN = frozenset({"display_name", "store_session_info"})
"""Metadata that KFP adds to each artifact."""


def point(artifact: Any, uri: str, page: Path | None = None, /, **metadata: str | int | float) -> None:
    """Let an output artifact refer to `uri`; the metadata, `uri` among it, are what later steps read.

    Metadata are texts and numbers only, since KFP keeps them in ML Metadata: a list would come back wrapped in
    another value, a boolean as a number, and a null fails the step. What is richer goes by reference, into the
    workspace. Raises `TypeError` or `ValueError` for metadata that would come back changed.

    On a cluster the artifact keeps KFP's own URI, with a small manifest behind it: KFP's launcher downloads
    everything behind an input's URI, weights too, and refuses an output's URI that is not below its own root. `page`
    is a file of the output that KFP's interface shall show, instead of the manifest.
    """
    for key, value in metadata.items():
        _refuse_changeable(key, value)
    artifact.metadata.update(metadata, uri=uri)
    if "://" not in uri:
        artifact.uri = f"{uri}/{page.name}" if page else uri
    elif page:
        shutil.copyfile(page, artifact.path)
    else:
        Path(artifact.path).write_text(json.dumps(artifact.metadata, indent=2), encoding="utf-8")


def _refuse_changeable(key: str, value: object) -> None:
    if type(value) not in (str, int, float):
        raise TypeError(f"metadata '{key}': expected a text or a number, got {type(value).__name__}")
    if isinstance(value, int | float) and not (math.isfinite(value) and abs(value) <= _LARGEST):
        raise ValueError(f"metadata '{key}': {value} does not fit a double exactly")
    if key in _KFPS_OWN:
        raise ValueError(f"metadata '{key}': KFP sets this key itself")


class Step:
    """Context of one component: `with Step("mix", workspace, run) as step: …`.

    `run` is the run's identity, an argument of every component so that KFP's cache is sound: the seed, the library's
    fingerprint, the hash of each prompt template, and the system prompt's name where it is not the default. A step that
    is not of that library, or would read other prompts, refuses to work.
    """

    def __init__(self, name: str, workspace: str, run: Mapping[str, Any]) -> None:
        self._name = name
        self._run = run
        self._root = workspace
        self._outputs: dict[str, str] = {}
        self.seed = int(run["seed"])
        self.system_prompt: PromptName = run.get("system_prompt", DEFAULT_PROMPT)

    def __enter__(self) -> "Step":
        self._root_level = _quiet_libraries()
        _tell(event="step_started", step=self._name)
        try:
            self.workspace = Workspace(self._root)
        except OpenCharacterError as error:
            self._fail(error)
        try:
            self._refuse_mismatch()
        except OpenCharacterError as error:
            self._keep(error)
            self._fail(error)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        logging.getLogger().setLevel(self._root_level)
        if isinstance(error, KeyboardInterrupt):
            sys.exit(130)
        self._keep(error)
        if isinstance(error, OpenCharacterError):
            self._fail(error)

    def ref(self, artifact: Any) -> Artifact:
        """The reference that an upstream step published on an artifact, as the workspace has it.

        Raises `OpenCharacterError` if the workspace no longer holds that output.
        """
        metadata = artifact.metadata
        kind = metadata["kind"]
        found = self.workspace.lookup(kind, metadata["key"])
        if found is None or found.digest != metadata["digest"]:
            raise OpenCharacterError(
                f"{metadata['uri']}: the workspace does not hold the {kind} that an earlier step made there",
                hint="was the workspace deleted while KFP's cache was kept? Run again without that cache",
            )
        return found

    def publish(self, ref: Artifact, artifact: Any, *, page: str | None = None) -> None:
        """Point an output artifact at a workspace output; digest and counts show in KFP's interface, or its `page`."""
        _tell(event="step_output", step=self._name, kind=ref.kind, counts=ref.counts, stats=ref.stats)
        self._outputs[ref.kind] = ref.key
        shown = ref.file(page) if page else None
        point(artifact, ref.uri, shown, kind=ref.kind, key=ref.key, digest=ref.digest, **ref.counts)

    def log_metrics(self, values: Mapping[str, object], artifact: Any) -> None:
        """Log the finite numbers among `values` on a `dsl.Metrics` output, so that KFP can compare runs by them."""
        for name, value in values.items():
            if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
                _refuse_changeable(name, value)
                artifact.log_metric(name, float(value))

    def publish_version(self, version: "RegisteredModel", artifact: Any) -> None:
        """Point an output artifact at a registered version's weights; `version` reads all of it back."""
        from opencharacter.registry import keep_version

        record = keep_version(version, workspace=self.workspace)
        self._outputs[record.kind] = record.key
        known = {"name": version.name, "digest": version.digest, "record": record.key}
        point(artifact, version.uri, **known, version=version.version)

    def version(self, artifact: Any) -> "RegisteredModel":
        """The registered version that an upstream step published, with the aliases and tags that it had then.

        Raises `OpenCharacterError` if the workspace no longer holds the record.
        """
        from opencharacter.registry import kept_version

        return kept_version(artifact.metadata["record"], workspace=self.workspace)

    def _refuse_mismatch(self) -> None:
        if self._run["library"] != fingerprint():
            raise UserError(
                f"step '{self._name}' runs library {fingerprint()}, but the run was made for {self._run['library']}",
                hint="compile the pipeline with the version that the images hold, or rebuild the images",
            )
        for name, expected in self._run["prompts"].items():
            if load_template(name).hash != expected:
                raise UserError(
                    f"prompt template '{name}' differs from the one that the run was made for",
                    hint="submit the run again, so that the new prompt's hash becomes part of it",
                )

    def _keep(self, error: BaseException | None) -> None:
        message, hint = (str(error), getattr(error, "hint", None)) if error else (None, None)
        if error and not isinstance(error, OpenCharacterError):
            message = f"{type(error).__name__}: {error}"
        keep_ending(Ending(self._name, message, hint, self._outputs), self.workspace)

    def _fail(self, error: OpenCharacterError) -> None:
        report = {"step": self._name, "message": str(error), "hint": error.hint, "exit_code": error.exit_code}
        if path := os.environ.get(FAILURE_VARIABLE):
            Path(path).write_text(json.dumps(report), encoding="utf-8")
        print(f"error: {error}" + (f"\n  {error.hint}" if error.hint else ""), file=sys.stderr)
        sys.exit(error.exit_code)


def _quiet_libraries() -> int:
    """Let libraries log warnings only, and return the root logger's previous level.

    KFP's executor sets it to INFO, at which HTTP clients write a line for each call: millions in one synthesis. Our own
    lines stay, and so does another level, such as DEBUG, that somebody has asked for.
    """
    root = logging.getLogger()
    before = root.level
    if before == logging.INFO:
        logging.getLogger(__name__.partition(".")[0]).setLevel(before)
        root.setLevel(logging.WARNING)
    return before


def _tell(**event: Any) -> None:
    print(json.dumps(event), flush=True)
