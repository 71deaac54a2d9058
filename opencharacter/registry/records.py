"""A registered version as one step of a run hands it to the next: a small output of the workspace."""

from opencharacter.errors import OpenCharacterError
from opencharacter.hashing import digest
from opencharacter.registry.models import RegisteredModel
from opencharacter.storage.workspace import Artifact, Workspace

_KIND = "version"
_FILE = "version.json"


def keep_version(version: RegisteredModel, *, workspace: Workspace) -> Artifact:
    """Write what the registry knows of a version into an output of kind `version`, whose key is the content's."""
    key = digest(version.model_dump(mode="json"))
    if found := workspace.lookup(_KIND, key):
        return found
    with workspace.create(_KIND, key) as draft:
        (draft.path / _FILE).write_text(version.model_dump_json(indent=2), encoding="utf-8")
    return draft.committed()


def kept_version(key: str, *, workspace: Workspace) -> RegisteredModel:
    """Read a version back. Raises `OpenCharacterError` if the workspace does not hold it."""
    found = workspace.lookup(_KIND, key)
    if found is None:
        raise OpenCharacterError(
            f"{workspace.uri}: the workspace does not hold the {_KIND} '{key}' that an earlier step wrote",
            hint="was the workspace deleted during the run? Run the pipeline again",
        )
    return RegisteredModel.model_validate_json(found.file(_FILE).read_text(encoding="utf-8"))
