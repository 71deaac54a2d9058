"""What every component does around its one library call: check the arguments, pass references, report failures."""

import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from opencharacter.errors import OpenCharacterError, UserError
from opencharacter.library import fingerprint
from opencharacter.storage.workspace import Ref, Workspace
from opencharacter.templates import load_template

FAILURE_VARIABLE = "OPENCHARACTER_FAILURE_FILE"
"""Environment variable naming a file that a failing step writes its message to (the local runner reads it)."""


def point(artifact: Any, uri: str, page: Path | None = None, /, **metadata: Any) -> None:
    """Let an output artifact refer to `uri`; the metadata, `uri` among it, are what later steps read.

    On a cluster the artifact keeps KFP's own URI, with a small manifest behind it: KFP's launcher downloads all that an
    input's URI names, were it the weights, and refuses an output's URI that is not below its own root. `page` is a
    file of the output that KFP's interface shall show, instead of the manifest.
    """
    artifact.metadata.update(metadata, uri=uri)
    if "://" not in uri:
        artifact.uri = f"{uri}/{page.name}" if page else uri
    elif page:
        shutil.copyfile(page, artifact.path)
    else:
        Path(artifact.path).write_text(json.dumps(artifact.metadata, indent=2), encoding="utf-8")


class Step:
    """Context of one component: `with Step("mix", workspace, run) as step: …`.

    `run` is the run's identity, an argument of every component so that KFP's cache is sound: the seed, the library's
    fingerprint and the hash of each prompt template. A step that is not of that library, or would read other
    prompts, refuses to work.
    """

    def __init__(self, name: str, workspace: str, run: Mapping[str, Any]) -> None:
        self._name = name
        self._run = run
        self._root = workspace
        self.seed = int(run["seed"])

    def __enter__(self) -> "Step":
        _tell(event="step_started", step=self._name)
        try:
            self.workspace = Workspace(self._root)
            self._refuse_mismatch()
        except OpenCharacterError as error:
            self._fail(error)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, OpenCharacterError):
            self._fail(error)
        if isinstance(error, KeyboardInterrupt):
            sys.exit(130)

    def ref(self, artifact: Any) -> Ref:
        """The reference that an upstream step published on an artifact, as the workspace has it.

        Raises `OpenCharacterError` if the workspace no longer holds that output.
        """
        told = artifact.metadata
        found = self.workspace.lookup(told["kind"], told["key"])
        if found is None or found.digest != told["digest"]:
            raise OpenCharacterError(
                f"{told['uri']}: the workspace does not hold the {told['kind']} that an earlier step made there",
                hint="was the workspace deleted while KFP's cache was kept? Run again without that cache",
            )
        return found

    def publish(self, ref: Ref, artifact: Any, *, page: str | None = None) -> None:
        """Point an output artifact at a workspace output; digest and counts show in KFP's interface, or its `page`."""
        _tell(event="step_output", step=self._name, kind=ref.kind, counts=ref.counts, stats=ref.stats)
        shown = ref.file(page) if page else None
        point(artifact, ref.uri, shown, kind=ref.kind, key=ref.key, digest=ref.digest, **ref.counts)

    def _refuse_mismatch(self) -> None:
        if self._run["library"] != fingerprint():
            raise UserError(
                f"step '{self._name}' runs library {fingerprint()}, but the run was made for {self._run['library']}",
                hint="compile the pipeline with the version that the images hold, or build the images anew",
            )
        for name, expected in self._run["prompts"].items():
            if load_template(name).hash != expected:
                raise UserError(
                    f"prompt template '{name}' differs from the one that the run was made for",
                    hint="submit the run again, so that the new prompt's hash becomes part of it",
                )

    def _fail(self, error: OpenCharacterError) -> None:
        report = {"step": self._name, "message": str(error), "hint": error.hint, "exit_code": error.exit_code}
        if path := os.environ.get(FAILURE_VARIABLE):
            Path(path).write_text(json.dumps(report), encoding="utf-8")
        print(f"error: {error}" + (f"\n  {error.hint}" if error.hint else ""), file=sys.stderr)
        sys.exit(error.exit_code)


def _tell(**event: Any) -> None:
    print(json.dumps(event), flush=True)
