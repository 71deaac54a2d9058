"""Finding versions by alias or number, and handing one from a step to the next as an output of the workspace."""

import re
from typing import TYPE_CHECKING

from opencharacter.errors import OpenCharacterError, UserError
from opencharacter.hashing import digest
from opencharacter.records.registry import RegisteredModel
from opencharacter.registry.client import mlflow_client
from opencharacter.registry.registered_model import CHAMPION, RegistryConfig, registered_model
from opencharacter.storage.kinds import VERSION
from opencharacter.storage.workspace import Artifact, Workspace
from opencharacter.tracking import find_experiment, is_missing

if TYPE_CHECKING:
    from mlflow import MlflowClient

_URI = re.compile(r"models:/(?P<name>[^/@]+)(?:@(?P<alias>[^/@]+)|/(?P<version>\d+))")


def resolve(uri: str) -> RegisteredModel:
    """The version behind `models:/NAME@ALIAS` or `models:/NAME/VERSION`.

    Raises `UserError` if the URI has another form, or names a model, alias or version that does not exist.
    """
    match = _URI.fullmatch(uri)
    if match is None:
        raise UserError(f"'{uri}' is not a model address; expected models:/NAME@ALIAS or models:/NAME/VERSION")
    alias_or_number = match["alias"] or int(match["version"])
    with mlflow_client() as client:
        return find_version(client, match["name"], alias_or_number)


def current_champion(config: RegistryConfig) -> RegisteredModel | None:
    """The champion of the configured model; none if there is no champion, or no such model, yet."""
    with mlflow_client() as client:
        return find_champion(client, config.model_name)


def check_registry(config: RegistryConfig, uri: str | None = None) -> None:
    """Look, before a run, for what would stop it at its end, on the server at `uri` or in MLFLOW_TRACKING_URI.

    Raises `UserError` if the experiment is deleted, `OpenCharacterError` if the server cannot be reached or refuses the
    account.
    """
    with mlflow_client(uri) as client:
        find_experiment(client, config.experiment)
        find_aliases(client, config.model_name)


def list_versions(name: str) -> list[RegisteredModel]:
    """All versions of a registered model, newest first. Raises `UserError` for an unknown model."""
    with mlflow_client() as client:
        return _versions(client, name)


def find_champion(client: "MlflowClient", name: str) -> RegisteredModel | None:
    """`current_champion` with a client at hand."""
    aliases = find_aliases(client, name) or {}
    return find_version(client, name, CHAMPION) if CHAMPION in aliases else None


def find_version(client: "MlflowClient", name: str, alias_or_number: str | int) -> RegisteredModel:
    """The version with an alias (text) or a number. Raises `UserError` listing what exists."""
    aliases = find_aliases(client, name)
    if aliases is None:
        raise _unknown_model(client, name)
    number = aliases.get(alias_or_number) if isinstance(alias_or_number, str) else alias_or_number
    found = next((version for version in _versions(client, name) if version.version == number), None)
    if found is not None:
        return found
    if isinstance(alias_or_number, str):
        present = ", ".join(f"{alias} (version {version})" for alias, version in sorted(aliases.items())) or "none"
        raise UserError(f"model '{name}' has no alias '{alias_or_number}'; aliases: {present}")
    numbers = ", ".join(str(version.version) for version in _versions(client, name)) or "none"
    raise UserError(f"model '{name}' has no version {alias_or_number}; versions: {numbers}")


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


_KIND = "version"


def keep_version(version: RegisteredModel, *, workspace: Workspace) -> Artifact:
    """Write what the registry knows of a version into an output of kind `version`, whose key is the content's."""
    key = digest(version.model_dump(mode="json"))
    if found := workspace.lookup(_KIND, key):
        return found
    with workspace.create(_KIND, key) as draft:
        VERSION.write(draft.path, version)
    return draft.committed()


def kept_version(key: str, *, workspace: Workspace) -> RegisteredModel:
    """Read a version back. Raises `OpenCharacterError` if the workspace does not hold it."""
    found = workspace.lookup(_KIND, key)
    if found is None:
        raise OpenCharacterError(
            f"{workspace.uri}: the workspace does not hold the {_KIND} '{key}' that an earlier step wrote",
            hint="was the workspace deleted during the run? Run the pipeline again",
        )
    return VERSION.read(found)
