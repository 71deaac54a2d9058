"""The process in which `kfp.local` runs a pipeline.

Usage: `python -m opencharacter.pipelines.local_worker RUN WORKDIR RESULT WORKSPACE [--containers]`.
"""

import logging
import sys
import warnings
from pathlib import Path

from opencharacter.config.run import RunConfig
from opencharacter.pipelines.containers import docker_runner
from opencharacter.pipelines.dag import build_pipeline
from opencharacter.storage.workspace import Workspace


def main(request: Path, workdir: Path, result: Path, root: str, *, containers: bool) -> None:
    """Run the configuration in `request` with its data at `root`, and write the report's reference to `result`."""
    # kfp warns of every image whose name lacks the word python.
    warnings.simplefilter("ignore")
    # kfp says which tasks its cache has spared at this level.
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    from kfp import local

    config = RunConfig.model_validate_json(request.read_text(encoding="utf-8"))
    local.init(
        runner=docker_runner(config, workdir) if containers else local.SubprocessRunner(use_venv=False),
        pipeline_root=str(workdir / "kfp"),
        enable_caching=True,
        cache_root=str(workdir / "kfp" / "cache"),
    )
    workspace = Workspace(root)
    metadata = build_pipeline(config)(workspace=workspace.uri).output.metadata
    report = workspace.lookup(metadata["kind"], metadata["key"])
    assert report is not None, "the report step has just made it"
    result.write_text(report.model_dump_json(), encoding="utf-8")


if __name__ == "__main__":
    try:
        request, workdir, result, root, *options = sys.argv[1:]
        main(Path(request), Path(workdir), Path(result), root, containers="--containers" in options)
    except RuntimeError as error:
        # kfp raises it after a step has failed; the step has said why.
        sys.exit(str(error))
