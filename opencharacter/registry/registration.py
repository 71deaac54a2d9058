"""Registering a trained model: a version that points at the weights, its lineage as tags, its scores on the run."""

import json
import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from opencharacter.errors import UserError
from opencharacter.records.evaluation import GRID
from opencharacter.registry.client import mlflow_client
from opencharacter.registry.registered_model import (
    CHALLENGER,
    DIGEST_TAG,
    SMOKE_TAG,
    URI_TAG,
    RegisteredModel,
    RegistryConfig,
)
from opencharacter.registry.versions import find_version
from opencharacter.storage.kinds import LINEAGE, SMOKE_QUESTION, SUMMARY, WEIGHTS, suite_of
from opencharacter.storage.workspace import Artifact
from opencharacter.tracking import REPLACES_TAG, make_experiment, usable_run

if TYPE_CHECKING:
    from mlflow import MlflowClient

_LINEAGE_KEYS = {
    "base_model": "base_model",
    "dataset_digest": "mixture_digest",
    "system_prompt": "system_prompt",
    "prompt_hash": "prompt_hash",
    "library": "library",
}
_REFERENCE = "weights"
_EVALUATION_TAG = "evaluation_digest"
_SCORES_RUN_TAG = "scores_run"
"""Tag of a version whose own run is deleted: the run that holds its scores."""

_log = logging.getLogger(__name__)


def register(
    config: RegistryConfig, model: Artifact, evaluations: Sequence[Artifact] = (), *, tags: dict[str, str] | None = None
) -> RegisteredModel:
    """Register a model that `train` made, as alias `challenger`, and return its version.

    Weights that are registered already keep their version. The weights are not copied: the version's tags hold their
    URI and digest beside prompt hash, data set digest, licences, base model and `tags`. The evaluations' means are
    logged as metrics of the training run (of a new run where the server does not know that one, or it is deleted), and
    the smoke question of the suite `grid` becomes a tag: what a deployment of the version is asked before it serves.
    Raises `UserError` where the model folder has no lineage or the experiment is deleted, `OpenCharacterError` where
    the server fails.
    """
    described = _lineage(model) | {URI_TAG: f"{model.uri}/{WEIGHTS}", DIGEST_TAG: model.part_digest(WEIGHTS)}
    described |= tags or {}
    with mlflow_client() as client:
        _create_model(client, config.model_name)
        found = client.search_model_versions(
            f"name='{config.model_name}' and tags.{DIGEST_TAG}='{described[DIGEST_TAG]}'"
        )
        version = found[0] if found else _create_version(client, config, model, described)
        # The same weights may lie elsewhere by now, in a new workspace for instance.
        client.set_model_version_tag(config.model_name, version.version, URI_TAG, described[URI_TAG])
        scores_run = _scores_run(client, config, version) if evaluations else ""
        for evaluation in evaluations:
            _log_scores(client, scores_run, evaluation)
            _tag_smoke_question(client, config.model_name, version.version, evaluation)
        client.set_registered_model_alias(config.model_name, CHALLENGER, version.version)
        return find_version(client, config.model_name, int(version.version))


def _lineage(model: Artifact) -> dict[str, str]:
    try:
        recorded: dict[str, Any] = json.loads(model.file(LINEAGE.name).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(
            f"{model.uri}/{LINEAGE.name}: no such file; expected the model folder that training wrote"
        ) from error
    tags = {tag: recorded.get(key) for tag, key in _LINEAGE_KEYS.items()}
    tags["licences"] = ", ".join(sorted(recorded.get("licences") or ()))
    return {tag: str(value) for tag, value in tags.items() if value}


def _create_model(client: "MlflowClient", name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _create_version(client: "MlflowClient", config: RegistryConfig, model: Artifact, tags: dict[str, str]) -> Any:
    run_id = _training_run(client, config, model)
    uri = tags[URI_TAG]
    if "://" not in uri:
        # MLflow takes no local folder outside the run's own artifacts: the source is a note of where the weights are.
        client.log_dict(run_id, {"uri": uri, "digest": tags[DIGEST_TAG]}, f"{_REFERENCE}/reference.json")
        uri = f"runs:/{run_id}/{_REFERENCE}"
    return client.create_model_version(config.model_name, uri, run_id=run_id, tags=tags)


def _training_run(client: "MlflowClient", config: RegistryConfig, model: Artifact) -> str:
    known = model.stats.get("mlflow_run_id")
    return known if known and usable_run(client, known) else _new_run(client, config, replaces=known)


def _scores_run(client: "MlflowClient", config: RegistryConfig, version: Any) -> str:
    """The version's run, or the one that took its place: MLflow cannot give a version another run."""
    for known in (version.run_id, version.tags.get(_SCORES_RUN_TAG)):
        if known and usable_run(client, known):
            return str(known)
    run_id = _new_run(client, config, replaces=version.run_id)
    client.set_model_version_tag(config.model_name, version.version, _SCORES_RUN_TAG, run_id)
    return run_id


def _new_run(client: "MlflowClient", config: RegistryConfig, *, replaces: str | None) -> str:
    tags = {REPLACES_TAG: replaces} if replaces else {}
    run = client.create_run(make_experiment(client, config.experiment), run_name="register", tags=tags)
    client.set_terminated(run.info.run_id)
    if replaces:
        _log.warning("MLflow has no run %s, or it is deleted: run %s takes its place", replaces, run.info.run_id)
    return str(run.info.run_id)


def _log_scores(client: "MlflowClient", run_id: str, evaluation: Artifact) -> None:
    from mlflow.entities import Metric

    suite = suite_of(evaluation)
    # The names that the suite `grid` had before there were others.
    tag, prefix = (_EVALUATION_TAG, "eval") if suite == GRID else (f"{_EVALUATION_TAG}.{suite}", f"eval/{suite}")
    if client.get_run(run_id).data.tags.get(tag) == evaluation.digest:
        return
    now = time.time_ns() // 1_000_000
    scores = [
        Metric(f"{prefix}/{score.model}/{score.cell}/{score.metric}", score.mean, now, 0)
        for score in SUMMARY.read(evaluation).scores
        if score.mean is not None
    ]
    client.log_batch(run_id, metrics=scores)
    client.set_tag(run_id, tag, evaluation.digest)


def _tag_smoke_question(client: "MlflowClient", name: str, version: str, evaluation: Artifact) -> None:
    if SMOKE_QUESTION.exists(evaluation):
        client.set_model_version_tag(name, version, SMOKE_TAG, SMOKE_QUESTION.read(evaluation))
