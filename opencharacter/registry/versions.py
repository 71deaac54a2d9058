"""Finding versions: by alias, by number, all of them."""

import re
from typing import TYPE_CHECKING

from opencharacter.errors import UserError
from opencharacter.registry.client import is_missing, mlflow_client
from opencharacter.registry.config import RegistryConfig
from opencharacter.registry.models import CHAMPION, RegisteredModel, registered_model

if TYPE_CHECKING:
    from mlflow import MlflowClient

_URI = re.compile(r"models:/(?P<name>[^/@]+)(?:@(?P<alias>[^/@]+)|/(?P<version>\d+))")


def resolve(uri: str) -> RegisteredModel:
    """The version behind `models:/NAME@ALIAS` or `models:/NAME/VERSION`.

    Raises `UserError` if the URI has another form, or names a model, alias or version that does not exist.
    """
    match = _URI.fullmatch(uri)
    if match is None:
        raise UserError(f"'{uri}' is no model address; expected models:/NAME@ALIAS or models:/NAME/VERSION")
    wanted = match["alias"] or int(match["version"])
    with mlflow_client() as client:
        return find_version(client, match["name"], wanted)


def current_champion(config: RegistryConfig) -> RegisteredModel | None:
    """The champion of the configured model; none if there is no champion, or no such model, yet."""
    with mlflow_client() as client:
        return find_champion(client, config.model_name)


def list_versions(name: str) -> list[RegisteredModel]:
    """All versions of a registered model, newest first. Raises `UserError` for an unknown model."""
    with mlflow_client() as client:
        return _versions(client, name)


def find_champion(client: "MlflowClient", name: str) -> RegisteredModel | None:
    """`current_champion` with a client at hand."""
    aliases = find_aliases(client, name) or {}
    return find_version(client, name, CHAMPION) if CHAMPION in aliases else None


def find_version(client: "MlflowClient", name: str, wanted: str | int) -> RegisteredModel:
    """The version with an alias (text) or a number. Raises `UserError` listing what exists."""
    aliases = find_aliases(client, name)
    if aliases is None:
        raise _unknown_model(client, name)
    number = aliases.get(wanted) if isinstance(wanted, str) else wanted
    found = next((version for version in _versions(client, name) if version.version == number), None)
    if found is not None:
        return found
    if isinstance(wanted, str):
        present = ", ".join(f"{alias} (version {version})" for alias, version in sorted(aliases.items())) or "none"
        raise UserError(f"model '{name}' has no alias '{wanted}'; aliases: {present}")
    numbers = ", ".join(str(version.version) for version in _versions(client, name)) or "none"
    raise UserError(f"model '{name}' has no version {wanted}; versions: {numbers}")


def _versions(client: "MlflowClient", name: str) -> list[RegisteredModel]:
    aliases = find_aliases(client, name)
    if aliases is None:
        raise _unknown_model(client, name)
    found = client.search_model_versions(f"name='{name}'", order_by=["version_number DESC"], max_results=10_000)
    return [
        registered_model(
            version, tuple(sorted(alias for alias, number in aliases.items() if number == int(version.version)))
        )
        for version in found
    ]


def find_aliases(client: "MlflowClient", name: str) -> dict[str, int] | None:
    """Version numbers by alias; none if there is no such model."""
    from mlflow.exceptions import MlflowException

    try:
        model = client.get_registered_model(name)
    except MlflowException as error:
        if is_missing(error):
            return None
        raise
    return {alias: int(version) for alias, version in model.aliases.items()}


def _unknown_model(client: "MlflowClient", name: str) -> UserError:
    names = ", ".join(model.name for model in client.search_registered_models(max_results=50)) or "none"
    return UserError(f"no registered model '{name}'; there are: {names}")
