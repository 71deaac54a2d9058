"""The deploy step: write the InferenceService of a registered model, and, with `apply`, bring it into service."""

import logging
import time
from typing import Any

import yaml

from opencharacter.hashing import digest
from opencharacter.library import fingerprint
from opencharacter.serving.deploy_config import DeployConfig
from opencharacter.serving.manifest import DeployableModel, deployment_manifest
from opencharacter.serving.rollout import roll_out
from opencharacter.storage.kinds import SERVICE
from opencharacter.storage.workspace import Artifact, Workspace

_log = logging.getLogger(__name__)


def deploy(config: DeployConfig, model: DeployableModel, *, workspace: Workspace) -> Artifact:
    """Write the manifest (kind `deployment`, file `inferenceservice.yaml`) and, with `config.apply`, roll it out.

    Raises like `deployment_manifest` and `roll_out`.
    """
    ref = _write(deployment_manifest(config, model), workspace)
    if config.apply:
        # The root logger of a step's pod may hide what is less than a warning.
        rollout = roll_out(config, model, report=_log.warning)
        _log.warning("version %d of %s serves at %s", rollout.version, model.name, rollout.address)
    return ref


def _write(manifest: dict[str, Any], workspace: Workspace) -> Artifact:
    key = digest({"step": "deploy", "manifest": manifest, "library": fingerprint()})
    if found := workspace.lookup("deployment", key):
        return found
    started = time.monotonic()
    with workspace.create("deployment", key) as draft:
        SERVICE.write(draft.path, yaml.safe_dump(manifest, sort_keys=False, allow_unicode=True))
        draft.stats = {"service": manifest["metadata"]["name"], "wall_s": round(time.monotonic() - started, 3)}
    ref = workspace.lookup("deployment", key)
    assert ref is not None
    return ref
