"""Bring an InferenceService to a version of a model: `roll_out`, which the command, the step and the promoter call."""

import time
from collections.abc import Callable

from opencharacter.serving.config import DeployConfig
from opencharacter.serving.deployment import DeployableModel, apply_deployment, deployment_manifest
from opencharacter.serving.rollout.outcome import Rollout, ServedVersion
from opencharacter.serving.rollout.smoke import SmokeQuestion


def _silent(_: str) -> None: ...


def roll_out(
    config: DeployConfig,
    model: DeployableModel,
    *,
    wait: bool = True,
    report: Callable[[str], None] = _silent,
    question: SmokeQuestion | None = None,
    timeout_s: float | None = None,
    pause: Callable[[float], None] = time.sleep,
) -> Rollout:
    """Bring the InferenceService to `model`.

    Raises `RolloutRefused` before anything has changed, `RolloutFailed` if the version did not come into service.
    """
    manifest = deployment_manifest(config.model_copy(update={"apply": True}), model)
    apply_deployment(manifest)
    name, namespace = manifest["metadata"]["name"], manifest["metadata"]["namespace"]
    return Rollout(name, namespace, "", model.version, True, f"http://{name}.{namespace}")


def served_version(name: str, namespace: str | None = None) -> ServedVersion | None:
    """The version that the InferenceService serves; none if there is no such service, or it is not ours."""
    raise NotImplementedError
