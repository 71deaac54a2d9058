"""Serving on this machine: vLLM, and before it the transformer, as they stand in a pod of the cluster."""

import os
import select
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from opencharacter.characters.profile import CharacterProfile
from opencharacter.characters.prompt import DEFAULT_PROMPT, PromptName
from opencharacter.engines import serve_vllm
from opencharacter.errors import OpenCharacterError, UserError
from opencharacter.serving.chat import Conversation
from opencharacter.serving.endpoint.contract.prompt import has_prompt, load_served_prompt, require_chat_template
from opencharacter.serving.endpoint.settings import EndpointSettings, as_arguments
from opencharacter.system.processes import end_supervised, free_port, start_supervised, tail

_START_TIMEOUT_S = 120.0
_POLL_S = 0.1
_ANY_ADDRESS = "0.0.0.0"


@dataclass(frozen=True)
class Server:
    """A server process that answers."""

    name: str
    url: str
    """Of the OpenAI API."""
    pid: int
    log: Path

    def failure(self) -> OpenCharacterError:
        """What to raise when it ended by itself."""
        return OpenCharacterError(
            f"{self.name} ended; the end of its log:\n{tail(self.log)}", hint=f"whole log: {self.log}"
        )


@dataclass(frozen=True)
class Endpoint:
    """A served model."""

    url: str
    """For OpenAI clients."""
    model: str
    servers: tuple[Server, ...]

    def wait(self) -> None:
        """Block for as long as all servers run; raises `OpenCharacterError` with the log of the one that ended."""
        ends = {os.pidfd_open(server.pid): server for server in self.servers}
        try:
            ended, _, _ = select.select(list(ends), [], [])
        finally:
            for descriptor in ends:
                os.close(descriptor)
        raise ends[ended[0]].failure()


@contextmanager
def serve(
    weights: Path,
    model_name: str,
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    max_model_len: int | None = None,
    allow_packaged_prompt: bool = False,
    packaged_prompt: PromptName = DEFAULT_PROMPT,
    workers: int = 1,
    settings: EndpointSettings | None = None,
) -> Iterator[Endpoint]:
    """Serve a model folder for the length of the block; both processes end with it, and with this process.

    `port` defaults to a free one, `max_model_len` (tokens) to the model's own. A folder that training did not write
    needs `allow_packaged_prompt`, and gets `packaged_prompt`. Raises `UserError` for a bad folder or a port in use,
    `OpenCharacterError` with the end of the log if a server does not start.
    """
    if allow_packaged_prompt and not has_prompt(weights):
        require_chat_template(weights)
    else:
        load_served_prompt(weights)  # its faults show now, not after vLLM has loaded
    predictor_port = free_port()
    predictor_host = f"127.0.0.1:{predictor_port}"
    with (
        run_transformer(
            predictor_host,
            model_name,
            model_dir=weights,
            host=host,
            port=port,
            allow_packaged_prompt=allow_packaged_prompt,
            packaged_prompt=packaged_prompt,
            workers=workers,
            settings=settings,
        ) as front,
        serve_vllm(weights, model_name, max_model_len=max_model_len, port=predictor_port) as vllm,
    ):
        yield Endpoint(front.url, model_name, (front, Server("vLLM", vllm.base_url, vllm.pid, vllm.log)))


@contextmanager
def run_transformer(
    predictor_host: str,
    model_name: str,
    *,
    model_dir: Path,
    host: str = "127.0.0.1",
    port: int | None = None,
    allow_packaged_prompt: bool = False,
    packaged_prompt: PromptName = DEFAULT_PROMPT,
    use_ssl: bool = False,
    workers: int = 1,
    settings: EndpointSettings | None = None,
) -> Iterator[Server]:
    """The transformer alone, started as KServe starts it, before the model server at `predictor_host` (HOST:PORT).

    `workers` processes share the port. It answers once the block begins, and is ready when the model server is.
    """
    port = port or free_port()
    _refuse_used_port(host, port)
    command = [sys.executable, "-m", "opencharacter.serving.transformer", "--model_name", model_name]
    command += ["--predictor_host", predictor_host, "--predictor_protocol", "v2"]
    command += ["--http_host", host, "--http_port", str(port), "--model_dir", str(model_dir)]
    command += ["--workers", str(workers), *as_arguments(settings or EndpointSettings())]
    if allow_packaged_prompt:
        command += ["--allow_packaged_prompt", "--packaged_prompt", packaged_prompt]
    if use_ssl:
        command += ["--predictor_use_ssl", "true"]
    descriptor, log = tempfile.mkstemp(prefix="opencharacter-transformer-", suffix=".log")
    os.close(descriptor)
    process = start_supervised(
        command, owner_pid=os.getpid(), log=Path(log), environment={"HF_HUB_OFFLINE": "1"} | os.environ
    )
    root_url = f"http://{'127.0.0.1' if host == _ANY_ADDRESS else host}:{port}"
    server = Server("the transformer", f"{root_url}/openai/v1", process.pid, Path(log))
    try:
        _wait_until_alive(process, root_url, server)
        yield server
    finally:
        end_supervised(process)
    Path(log).unlink()


def serve_until_interrupted(
    weights: Path,
    model_name: str,
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    max_model_len: int | None = None,
    packaged_prompt: PromptName = DEFAULT_PROMPT,
    workers: int = 1,
    settings: EndpointSettings | None = None,
) -> None:
    """Serve in the foreground until Ctrl-C. Raises like `serve`, and if one of the servers ends by itself.

    A model that was not trained for characters gets `packaged_prompt`.
    """
    print(f"loading {model_name} from {weights} …", flush=True)
    untrained = not has_prompt(weights)
    try:
        with serve(
            weights,
            model_name,
            host=host,
            port=port,
            max_model_len=max_model_len,
            allow_packaged_prompt=untrained,
            packaged_prompt=packaged_prompt,
            workers=workers,
            settings=settings,
        ) as endpoint:
            print(f"{model_name} is served at {endpoint.url}; Ctrl-C ends it", flush=True)
            endpoint.wait()
    except KeyboardInterrupt:
        print("\nended", flush=True)


def front_endpoint_until_interrupted(
    url: str,
    model_name: str | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    packaged_prompt: PromptName = DEFAULT_PROMPT,
    workers: int = 1,
    settings: EndpointSettings | None = None,
) -> None:
    """Put the transformer before an OpenAI-compatible endpoint, in the foreground until Ctrl-C.

    Requests may then have the field `character`; their API key is passed on. `model_name` defaults to the first that
    the endpoint lists. Raises `UserError` for an address that is not `SCHEME://HOST[:PORT]/v1`.
    """
    address = urlsplit(url)
    if address.path.rstrip("/") != "/v1" or not address.hostname:
        raise UserError(
            f"'{url}': expected an endpoint such as http://HOST:8000/v1",
            hint="`opencharacter chat --model URL` talks to an endpoint at any path",
        )
    name = model_name or Conversation(CharacterProfile(name="check"), url=url).model
    with tempfile.TemporaryDirectory(prefix="opencharacter-endpoint-") as folder:
        try:
            with run_transformer(
                address.netloc,
                name,
                model_dir=Path(folder),
                host=host,
                port=port,
                allow_packaged_prompt=True,
                packaged_prompt=packaged_prompt,
                use_ssl=address.scheme == "https",
                workers=workers,
                settings=settings,
            ) as front:
                print(f"{name} of {url} is served at {front.url}; Ctrl-C ends it", flush=True)
                Endpoint(front.url, name, (front,)).wait()
        except KeyboardInterrupt:
            print("\nended", flush=True)


def _refuse_used_port(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise UserError(f"cannot listen on {host}:{port}: {error.strerror}", hint="give another --port") from error


def _wait_until_alive(process: "subprocess.Popen[bytes]", root_url: str, server: Server) -> None:
    import httpx

    deadline = time.monotonic() + _START_TIMEOUT_S
    with httpx.Client(trust_env=False, timeout=_START_TIMEOUT_S) as client:
        while process.poll() is None and time.monotonic() < deadline:
            try:
                if client.get(root_url).is_success:
                    return
            except httpx.TransportError:
                time.sleep(_POLL_S)
    raise server.failure()
