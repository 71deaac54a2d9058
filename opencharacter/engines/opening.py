"""From an engine's configuration to an engine that can be called."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

from opencharacter.engines.chat import ChatEngine
from opencharacter.engines.engine_config import EngineConfig
from opencharacter.engines.network import check_environment, read_base_url
from opencharacter.engines.rehearsal import current_rehearsal
from opencharacter.engines.replicas import Endpoint
from opencharacter.engines.shared_servers import SERVERS_VARIABLE, shared_owner, shared_server
from opencharacter.engines.spending import current_budget
from opencharacter.engines.vllm_server import serve_vllm
from opencharacter.engines.weights import localize_model
from opencharacter.errors import UserError
from opencharacter.redaction import protect
from opencharacter.system.api_keys import read_api_key
from opencharacter.system.open_files import room_for_connections


@asynccontextmanager
async def open_engine(config: EngineConfig) -> AsyncIterator[ChatEngine]:
    """The chat engine for `config`.

    With `base_url` it calls that server. With `weights` it calls a vLLM server for them, which is started at the first
    call: a shared one where $OPENCHARACTER_SERVERS names a folder, else a child that ends with the block. Raises
    `UserError` if neither is set, if the variable named by `api_key_env` holds no key, if a variable for proxies or
    certificates is wrong, or if the process can't have as many connections as `concurrency` asks for.
    Inside `rehearse` no server is called: a stand-in answers. Inside `limit_spending` the budget is asked first.
    """
    if (rehearsal := current_rehearsal()) is not None:
        yield rehearsal.engine(config)
        return
    api_key = config.api_key_env and read_api_key(config.api_key_env, f"model '{config.model}'")
    if config.base_url:
        protect(read_base_url(config.base_url).password or "")
        check_environment(config.base_url)
    if config.base_url is None and config.weights is None:
        raise UserError(f"the engine of model '{config.model}' has neither base_url nor weights; set one of them")
    with ExitStack() as servers:
        # Before a server starts: it inherits the limit, and needs as many files for its side of the connections.
        what = f"concurrency of the engine of model '{config.model}'"
        servers.enter_context(room_for_connections(config.concurrency, what))

        async def connect() -> Endpoint:
            return Endpoint(config.base_url) if config.base_url else await _start_in_thread(config, servers)

        engine = ChatEngine(config, connect, api_key=api_key, budget=current_budget())
        try:
            yield engine
        finally:
            await engine.close()


async def _start_in_thread(config: EngineConfig, servers: ExitStack) -> Endpoint:
    """Start the server without holding up the event loop; a cancellation ends the start first."""
    cancelled = threading.Event()
    start = asyncio.get_running_loop().run_in_executor(None, _start, config, servers, cancelled)
    try:
        return await asyncio.shield(start)
    except asyncio.CancelledError:
        cancelled.set()
        await asyncio.wait([start])
        start.exception()  # nobody else looks at it, and asyncio complains about errors that nobody has seen
        raise


def _start(config: EngineConfig, servers: ExitStack, cancelled: threading.Event) -> Endpoint:
    assert config.weights is not None
    weights = localize_model(config.weights)
    folder = os.environ.get(SERVERS_VARIABLE)
    if folder:
        server = shared_server(
            Path(folder),
            weights,
            config.model,
            owner_pid=shared_owner(),
            max_model_len=config.max_model_len,
            tensor_parallel=config.tensor_parallel,
            cancelled=cancelled,
        )
    else:
        server = servers.enter_context(
            serve_vllm(
                weights,
                config.model,
                max_model_len=config.max_model_len,
                tensor_parallel=config.tensor_parallel,
                cancelled=cancelled,
            )
        )
    return Endpoint(server.base_url, server.replicas)
