"""Fetching inputs: from a path, a package, an object store or the Hugging Face hub."""

import importlib.resources
from pathlib import Path
from urllib.parse import urlsplit

from opencharacter.errors import UserError
from opencharacter.hashing import digest, file_digest
from opencharacter.records.folders import data_files
from opencharacter.sources.hub import HUB_SCHEME, fetch_dataset, parse_hub_uri
from opencharacter.storage.s3.client import OBJECT_SCHEME
from opencharacter.storage.s3.downloads import fetch_object
from opencharacter.storage.workspace import local_path

_PACKAGE_SCHEME = "package://"


def fetch(uri: str) -> Path:
    """The input on this machine: a file or, for a local folder, a folder.

    `uri` is a path, `file://PATH`, `package://PACKAGE/PATH` (a file that comes with a Python package),
    `s3://BUCKET/KEY` or `hf://OWNER/NAME[@REVISION][/CONFIG or /FILE]`. Files fetched over a network are cached and
    must not be changed. Raises `UserError` if the input does not exist or may not be read, `OpenCharacterError` if the
    store cannot be reached.
    """
    if uri.startswith(OBJECT_SCHEME):
        return fetch_object(uri)
    if uri.startswith(HUB_SCHEME):
        return fetch_dataset(uri)
    if uri.startswith(_PACKAGE_SCHEME):
        return _package_file(uri)
    if "://" in uri and not uri.startswith("file://"):
        raise UserError(f"'{uri}': unknown scheme; expected a path, file://, package://, s3:// or hf://")
    path = local_path(uri).expanduser()
    if not path.exists():
        raise UserError(f"{path}: no such file")
    return path.resolve()


def source_name(uri: str) -> str:
    """The data set's name for the licence lineage: the hub's id, otherwise the file's name."""
    if uri.startswith(HUB_SCHEME):
        return parse_hub_uri(uri).repository
    return urlsplit(uri).path.rstrip("/").rsplit("/", 1)[-1] if "://" in uri else Path(uri).name


def input_digest(path: Path) -> str:
    """Digest of a fetched input's content: of a file, or of the data files of a folder."""
    if not path.is_dir():
        return file_digest(path)
    files = data_files(path, str(path)).data
    return digest([[file.relative_to(path).as_posix(), file_digest(file)] for file in files])


def _package_file(uri: str) -> Path:
    package, _, inner = uri.removeprefix(_PACKAGE_SCHEME).partition("/")
    try:
        path = importlib.resources.files(package).joinpath(inner)
    except (ModuleNotFoundError, ValueError) as error:
        raise UserError(f"'{uri}': no Python package '{package}' is installed") from error
    if not isinstance(path, Path) or not path.is_file():
        raise UserError(f"'{uri}': the package '{package}' has no file '{inner}'")
    return path
