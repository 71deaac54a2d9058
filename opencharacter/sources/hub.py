"""Fetching data sets from the Hugging Face hub."""

import os
import re
import tempfile
from pathlib import Path
from typing import NamedTuple

from opencharacter.errors import OpenCharacterError, UserError
from opencharacter.hashing import digest
from opencharacter.records.identify import DATA_SUFFIXES, bare_suffix
from opencharacter.system.cache import cache_folder

HUB_SCHEME = "hf://"

_URI = re.compile(
    r"hf://(?:datasets/)?(?P<repository>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w.-]+))?(?:/(?P<inner>[\w./ -]+))?",
    re.ASCII,
)


class HubUri(NamedTuple):
    """A data set of the hub; `inner` is a configuration's name, a file, or None for the only configuration."""

    repository: str
    revision: str | None
    inner: str | None

    @property
    def names_a_file(self) -> bool:
        """Whether `inner` is a file of the repository."""
        return self.inner is not None and bare_suffix(self.inner) in DATA_SUFFIXES


def parse_hub_uri(uri: str) -> HubUri:
    """Parse `hf://OWNER/NAME[@REVISION][/CONFIG or /FILE]`. Raises `UserError` for another form."""
    match = _URI.fullmatch(uri)
    if match is None:
        raise UserError(f"'{uri}': expected hf://OWNER/NAME, with @REVISION and /CONFIG or /FILE after it if needed")
    return HubUri(match["repository"], match["revision"], match["inner"])


def fetch_dataset(uri: str) -> Path:
    """A file of the data set's repository, or the split `train` of a configuration as one Parquet file.

    Raises `UserError` if the hub has no such data set or does not let you read it, `OpenCharacterError` if it cannot
    be reached.
    """
    dataset = parse_hub_uri(uri)
    try:
        return _fetch_file(uri, dataset) if dataset.names_a_file else _fetch_configuration(uri, dataset)
    except ImportError as error:
        raise UserError(f"'{uri}': reading hf:// needs datasets", hint="pip install 'opencharacter[inputs]'") from error


def fetch_dataset_folder(uri: str) -> Path:
    """A local folder with the files of `hf://OWNER/NAME[@REVISION][/FOLDER]`. Raises as `fetch_dataset` does."""
    import huggingface_hub
    from huggingface_hub import errors

    dataset = parse_hub_uri(uri)
    try:
        folder = huggingface_hub.snapshot_download(
            dataset.repository,
            repo_type="dataset",
            revision=dataset.revision,
            allow_patterns=f"{dataset.inner.rstrip('/')}/*" if dataset.inner else None,
        )
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise _no_such_dataset(uri, str(error).splitlines()[0]) from error
    except (OSError, errors.HTTPError) as error:
        raise _unreachable(uri, error) from error
    return Path(folder, dataset.inner or "")


def _fetch_file(uri: str, dataset: HubUri) -> Path:
    import huggingface_hub
    from huggingface_hub import errors

    try:
        path = huggingface_hub.hf_hub_download(
            dataset.repository, str(dataset.inner), revision=dataset.revision, repo_type="dataset"
        )
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.RemoteEntryNotFoundError) as error:
        raise _no_such_dataset(uri, str(error).splitlines()[0]) from error
    except (OSError, errors.HTTPError) as error:
        raise _unreachable(uri, error) from error
    return Path(path)


def _fetch_configuration(uri: str, dataset: HubUri) -> Path:
    import datasets
    from datasets import exceptions

    try:
        rows = datasets.load_dataset(dataset.repository, name=dataset.inner, revision=dataset.revision, split="train")
    except (exceptions.DatasetNotFoundError, exceptions.DatasetsError, ValueError) as error:
        raise _no_such_dataset(uri, str(error)) from error
    except RuntimeError as error:  # raised for a data set that is a script
        raise UserError(
            f"'{uri}': {error}", hint="name a file of the repository: hf://OWNER/NAME/FILE.jsonl"
        ) from error
    except OSError as error:
        raise _unreachable(uri, error) from error
    folder = cache_folder("inputs", "hub", digest([uri])[:32])
    target = folder / f"{dataset.repository.replace('/', '--')}.parquet"
    with tempfile.TemporaryDirectory(prefix=".", dir=folder) as scratch:
        draft = Path(scratch) / target.name
        rows.to_parquet(draft)
        os.replace(draft, target)
    return target


def _no_such_dataset(uri: str, reason: str) -> UserError:
    return UserError(
        f"'{uri}': the hub has no such data set, or you may not read it: {reason}",
        hint="correct the name; for a gated or private data set accept its terms and set HF_TOKEN",
    )


def _unreachable(uri: str, error: BaseException) -> OpenCharacterError:
    return OpenCharacterError(
        f"'{uri}': the Hugging Face hub cannot be reached: {error}",
        hint="download the data set on a machine with a network and give its local path",
    )
