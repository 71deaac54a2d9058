"""The version that an alias asks to serve, and the record of its deployment."""

from pydantic import ValidationError

from opencharacter.registry.client import mlflow_client
from opencharacter.registry.registered_model import DEPLOYMENT_TAG, Deployment, RegisteredModel, registered_model
from opencharacter.registry.versions import find_aliases
from opencharacter.tracking import is_missing


def find_alias(name: str, alias: str) -> RegisteredModel | None:
    """The version that an alias points at; None if there is no such alias or model.

    Raises `OpenCharacterError` where the server fails.
    """
    from mlflow.exceptions import MlflowException

    with mlflow_client() as client:
        aliases = find_aliases(client, name) or {}
        if alias not in aliases:
            return None
        try:
            version = client.get_model_version(name, str(aliases[alias]))
        except MlflowException as error:
            if is_missing(error):  # deleted in between
                return None
            raise
        return registered_model(version, tuple(sorted(key for key in aliases if aliases[key] == aliases[alias])))


def read_deployment(version: RegisteredModel) -> Deployment | None:
    """The record of a version's last deployment; None if there is none, or none that can be read."""
    try:
        return Deployment.model_validate_json(version.tags.get(DEPLOYMENT_TAG, ""))
    except ValidationError:
        return None


def record_deployment(name: str, version: int, deployment: Deployment) -> None:
    """Keep a record with a version, in place of the one before; nothing happens if the version is gone.

    Raises `OpenCharacterError` where the server fails.
    """
    from mlflow.exceptions import MlflowException

    with mlflow_client() as client:
        try:
            client.set_model_version_tag(name, str(version), DEPLOYMENT_TAG, deployment.model_dump_json())
        except MlflowException as error:
            if not is_missing(error):
                raise


def record_replaced(name: str, version: int, deployment: Deployment) -> None:
    """`record_deployment` for the version that was served until now, if it is on record as serving that service."""
    from mlflow.exceptions import MlflowException

    with mlflow_client() as client:
        try:
            before = read_deployment(registered_model(client.get_model_version(name, str(version)), ()))
        except MlflowException as error:
            if is_missing(error):
                return
            raise
    if before is not None and before.state == "serving" and before.service == deployment.service:
        record_deployment(name, version, deployment)
