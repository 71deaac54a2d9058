"""How people name models and judges: NAME=REFERENCE, where a reference may be the key of an engine."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NamedTuple
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field

from opencharacter.engines.engine_config import OWN_SERVER_TIMEOUT_S, EngineConfig
from opencharacter.errors import UserError
from opencharacter.yaml_files import load_document, read_text

_NAMED = re.compile(r"(?P<name>[A-Za-z0-9][\w.-]*)=(?P<reference>.+)", re.DOTALL)
FORMS = "a folder, a hub id (owner/name), package:NAME, models:/NAME@ALIAS, or an endpoint https://HOST/v1#NAME"
"""What a reference may be besides the key of an engine."""
_ENDPOINT = ("http://", "https://")


class EnginesFile(BaseModel):
    """A file with a section `engines`, such as a run configuration; other sections are not read."""

    model_config = ConfigDict(extra="ignore")

    engines: dict[str, EngineConfig] = Field(description="chat models by name")
    families: dict[str, Annotated[str, Field(min_length=1)]] = Field(
        default={}, description="what a model descends from, such as `llama`: a judge of the same family is related"
    )


class Named(NamedTuple):
    """A model or judge, as it was given."""

    name: str
    reference: str
    engine: EngineConfig | None = None
    """None: the reference names weights."""
    family: str | None = None

    @property
    def asked(self) -> EngineConfig:
        """The engine that is asked: the one given, or one that serves the weights."""
        own = EngineConfig(model=self.name, weights=self.reference, timeout_s=OWN_SERVER_TIMEOUT_S)
        return self.engine or own


def load_engines(path: Path | None) -> EnginesFile:
    """The engines of a file, or none. Raises `UserError` naming file, line and key."""
    if path is None:
        return EnginesFile(engines={})
    return load_document(EnginesFile, read_text(path), str(path), hint="docs/evaluate.md shows an engines file")


def key_variable(texts: Sequence[str], usual: str | None) -> str | None:
    """The variable whose key endpoints get without being told: `usual`, unless they are of several hosts.

    A key is meant for one of them. Raises `UserError` if there are several.
    """
    addresses = [match["reference"] if (match := _NAMED.fullmatch(text)) else text for text in texts]
    hosts = sorted({urlsplit(address).hostname or "" for address in addresses if address.startswith(_ENDPOINT)})
    if usual is not None and len(hosts) > 1:
        raise UserError(
            f"{usual} is set, and there are endpoints of several hosts: {', '.join(hosts)}; its key is sent to none",
            hint="name the variable for all with --api-key-env, or describe each endpoint in an --engines file",
        )
    return usual


def read_references(
    texts: Sequence[str], option: str, file: EnginesFile, *, api_key_env: str | None = None
) -> list[Named]:
    """Models or judges by what people write: `[NAME=]REFERENCE`.

    Args:
        texts: Each a key of `file`, an endpoint `https://HOST/v1#NAME`, or what names weights.
        option: What messages call them.
        file: The engines that may be named by key.
        api_key_env: Variable that holds the key of endpoints; those of `file` name their own.

    Raises:
        UserError: Two have one name, an endpoint's address names no model, or a reference can be nothing.
    """
    found = [_read(text, option, file, api_key_env) for text in texts]
    if twice := [name for name, count in Counter(named.name for named in found).items() if count > 1]:
        raise UserError(f"{option}: two are called '{twice[0]}'", hint=f"give each a name: {option} NAME=REFERENCE")
    return found


def _read(text: str, option: str, file: EnginesFile, api_key_env: str | None) -> Named:
    match = _NAMED.fullmatch(text)
    name, reference = (match["name"], match["reference"]) if match else (None, text)
    if engine := file.engines.get(reference):
        return Named(name or reference, reference, engine, file.families.get(reference))
    if not re.search(r"[/:]", reference) and not Path(reference).expanduser().is_dir():
        raise UserError(
            f"{option} {text}: no engine has that key, and there is no such folder",
            hint=f"keys of --engines: {', '.join(sorted(file.engines)) or 'none'}; or give {FORMS}",
        )
    if not reference.startswith(_ENDPOINT):
        weights = re.split(r"[/:]", reference.rstrip("/"))[-1]
        return Named(name or weights, reference, family=file.families.get(name or weights))
    base_url, _, model = reference.partition("#")
    if not model:
        raise UserError(
            f"{option} {text}: the address names no model",
            hint="write the model's name at its end: https://HOST/v1#NAME",
        )
    engine = EngineConfig(model=model, base_url=base_url, api_key_env=api_key_env)
    return Named(name or model.rpartition("/")[2], reference, engine, file.families.get(name or model))
