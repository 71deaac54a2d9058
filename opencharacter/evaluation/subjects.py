"""Who is measured, and who judges: weights on this machine, or an endpoint."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from opencharacter.engines import EngineConfig, localize_model
from opencharacter.errors import UserError
from opencharacter.hashing import tree_digest
from opencharacter.storage.kinds import model_template
from opencharacter.templates import Template

_DIGEST = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{52}\b")
_FORMS = "a folder, a hub id (owner/name), package:NAME, s3://BUCKET/PREFIX, or an endpoint https://HOST/v1#NAME"


@dataclass(frozen=True)
class Subject:
    """A model under evaluation."""

    name: str
    """What people call it: its role in a run, or the name that they gave."""
    reference: str
    """As it was given."""
    identity: str
    """Digest of the weights, or name and host of an endpoint."""
    folder: Path | None = None
    """The weights on this machine; none for an endpoint."""
    engine: EngineConfig | None = None
    """How to call it; none: the weights are served for the run."""
    template: Template | None = None
    """The system prompt that it was trained with."""
    family: str | None = None
    """What it descends from, such as `llama`: a judge of the same family is related."""
    address: str | None = None
    """What of it is part of the content address of its answers; none: the identity."""
    takes_character: bool = False
    """Whether it is one of our served models, which renders the system prompt itself, and so is measured with that."""


@dataclass(frozen=True)
class Judge:
    """A model that judges, writes examples, or classifies."""

    name: str
    """The key by which the run and suites know it."""
    engine: EngineConfig
    address: str
    """What of it is part of the content address of its judgements."""
    identity: str
    """Stands in each score: name and digest of the weights, or name and host of an endpoint."""
    family: str | None = None


def load_subject(
    name: str, reference: str, *, api_key_env: str | None = None, concurrency: int = 16, family: str | None = None
) -> Subject:
    """A model by reference.

    Args:
        name: What to call it.
        reference: A folder, hub id, `package:NAME`, `s3://` prefix, or an endpoint `https://HOST/v1#NAME`. An address
            in a model registry (`models:/…`) is resolved by the caller.
        api_key_env: The variable that holds an endpoint's key.
        concurrency: Requests under way at once at an endpoint.
        family: What the model descends from; none: what its `config.json` says.

    Returns:
        The model, with its weights on this machine.

    Raises:
        UserError: There is no such model, or the endpoint's address names no model.
        OpenCharacterError: The weights cannot be fetched.
    """
    if reference.startswith(("http://", "https://")):
        base_url, _, model = reference.partition("#")
        if not model or not urlsplit(base_url).hostname:
            raise UserError(
                f"model {name}: '{reference}' names no model",
                hint="write the model's name at the end: https://HOST/v1#NAME",
            )
        engine = EngineConfig(model=model, base_url=base_url, api_key_env=api_key_env, concurrency=concurrency)
        return endpoint_subject(name, engine, reference=reference, family=family)
    if reference.startswith("models:/") or ("://" in reference and not reference.startswith(("file://", "s3://"))):
        raise UserError(f"model {name}: '{reference}' is no model; expected {_FORMS}")
    folder = localize_model(reference)
    return Subject(
        name,
        reference,
        tree_digest(folder),
        folder=folder,
        template=model_template(folder),
        family=family or _family(folder),
    )


def endpoint_subject(
    name: str,
    engine: EngineConfig,
    *,
    reference: str | None = None,
    family: str | None = None,
    takes_character: bool = False,
) -> Subject:
    """A model behind an endpoint. Raises `UserError` if the engine has none."""
    if engine.base_url is None:
        raise UserError(f"model {name}: the engine has no base_url")
    return Subject(
        name,
        reference or f"{engine.base_url}#{engine.model}",
        endpoint_identity(engine),
        engine=engine,
        family=family,
        takes_character=takes_character,
    )


def load_judge(name: str, engine: EngineConfig, *, family: str | None = None) -> Judge:
    """A judge by its engine: known by the digest of its weights, or by its endpoint.

    Raises:
        UserError: The engine has neither `base_url` nor `weights`, or there are no such weights.
        OpenCharacterError: The weights cannot be fetched.
    """
    if engine.base_url is not None:
        return Judge(name, engine, engine.identity, endpoint_identity(engine), family)
    if engine.weights is None:
        raise UserError(f"judge {name}: its engine has neither base_url nor weights; set one of them")
    folder = localize_model(engine.weights)
    weights = tree_digest(folder)
    deciding = engine.identity.removeprefix(engine.model)
    return Judge(name, engine, f"{weights}{deciding}", f"{engine.model}@{weights}", family or _family(folder))


def short_identity(identity: str) -> str:
    """An identity for people to read: of a digest the first letters, the name of an endpoint as it is."""
    return _DIGEST.sub(r"\1", identity)


def is_same_model(judge: Judge, subject: Subject) -> bool:
    """Whether a judge has a model's weights, or its name at its endpoint, however each of them is asked."""
    if subject.engine is None:
        return judge.address.startswith(subject.identity)
    return _at_endpoint(judge.engine) == _at_endpoint(subject.engine)


def endpoint_identity(engine: EngineConfig) -> str:
    """Name and address of a model behind an endpoint: two servers on one host may give one name to different models."""
    return f"{engine.identity}@{_at_endpoint(engine)[1]}"


def _at_endpoint(engine: EngineConfig) -> tuple[str, str]:
    """The model's name there, and where that is."""
    url = urlsplit(engine.base_url or "")
    port = f":{url.port}" if url.port else ""
    return engine.model, f"{url.hostname}{port}{url.path.rstrip('/').removesuffix('/v1')}"


def _family(folder: Path) -> str | None:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return config.get("model_type") if isinstance(config, dict) else None
