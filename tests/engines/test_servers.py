"""Life and death of model servers; a light stand-in takes vLLM's place in the command line."""

import asyncio
import os
import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import fake_llm as stand_in
from support.weights import write_model_folder

from opencharacter.engines import EngineConfig, Sampling, open_engine, serve_vllm, stop_servers
from opencharacter.engines.shared_servers import shared_server
from opencharacter.engines.vllm_server import vllm_command
from opencharacter.errors import OpenCharacterError, UserError
from opencharacter.system import supervisor

_FAMILY = """
import os, subprocess, sys
grandchild = subprocess.Popen(["sleep", "600"])
print(os.getpid(), grandchild.pid, flush=True)
grandchild.wait()
"""


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return write_model_folder(tmp_path / "weights")


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Ports of the servers that were started; they are stand-ins from here on."""
    ports: list[int] = []

    def command(weights: Path, model_name: str, *, port: int, **_: object) -> list[str]:
        ports.append(port)
        return [sys.executable, stand_in.__file__, "--port", str(port)]

    monkeypatch.setattr("opencharacter.engines.shared_servers.vllm_command", command)
    monkeypatch.setattr("opencharacter.engines.vllm_server.vllm_command", command)
    return ports


@pytest.fixture
def servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of shared servers, named in the environment."""
    folder = tmp_path / "servers"
    monkeypatch.setenv("OPENCHARACTER_SERVERS", str(folder))
    monkeypatch.setenv("OPENCHARACTER_OWNER_PID", str(os.getpid()))
    yield folder
    stop_servers(folder)


def wait_for_end(*pids: int) -> None:
    for pid in pids:
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        ended, _, _ = select.select([descriptor], [], [], 20)
        os.close(descriptor)
        assert ended, f"process {pid} lives on"


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("ended_by", ["owner killed", "supervisor told"])
def test_a_supervised_family_ends_with_its_owner_or_on_demand(ended_by: str) -> None:
    owner = subprocess.Popen(["sleep", "600"])
    watcher = subprocess.Popen(
        [sys.executable, supervisor.__file__, str(owner.pid), sys.executable, "-c", _FAMILY],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert watcher.stdout is not None
    family = [int(pid) for pid in watcher.stdout.readline().split()]
    assert len(family) == 2
    if ended_by == "owner killed":
        owner.kill()
    else:
        watcher.terminate()
    wait_for_end(*family, watcher.pid)
    assert watcher.wait() == 1
    watcher.stdout.close()
    owner.kill()
    owner.wait()


def test_a_server_that_dies_at_the_start_is_reported_at_once_with_its_log(
    monkeypatch: pytest.MonkeyPatch, weights: Path
) -> None:
    command = [sys.executable, "-c", "import sys; sys.exit('not enough memory for the weights')"]
    monkeypatch.setattr("opencharacter.engines.vllm_server.vllm_command", lambda *_, **__: command)
    with (
        pytest.raises(OpenCharacterError, match="not enough memory for the weights") as caught,
        serve_vllm(weights, "m"),
    ):
        pytest.fail("the server cannot have started")
    Path(str(caught.value.hint).removeprefix("whole log: ")).unlink()


@pytest.mark.usefixtures("starts")
def test_a_child_server_ends_with_its_block_and_leaves_no_log(weights: Path) -> None:
    with serve_vllm(weights, "m") as server:
        assert alive(server.pid)
    assert not alive(server.pid)
    assert not server.log.exists()


def test_shared_servers_are_started_once_for_each_model_and_set_of_options(
    starts: list[int], servers: Path, weights: Path
) -> None:
    first = shared_server(servers, weights, "m", owner_pid=os.getpid())
    again = shared_server(servers, weights, "m", owner_pid=os.getpid())
    other = shared_server(servers, weights, "m", owner_pid=os.getpid(), max_model_len=512)
    assert first == again != other
    assert len(starts) == 2
    stop_servers(servers)
    wait_for_end(first.pid, other.pid)
    assert not list(servers.glob("*.json"))


def test_a_shared_server_that_died_is_replaced(starts: list[int], servers: Path, weights: Path) -> None:
    first = shared_server(servers, weights, "m", owner_pid=os.getpid())
    os.kill(first.pid, 9)
    wait_for_end(first.pid)
    second = shared_server(servers, weights, "m", owner_pid=os.getpid())
    assert second.pid != first.pid
    assert len(starts) == 2


@pytest.mark.usefixtures("starts")
def test_a_shared_server_ends_with_its_owner(servers: Path, weights: Path) -> None:
    owner = subprocess.Popen(["sleep", "600"])
    server = shared_server(servers, weights, "m", owner_pid=owner.pid)
    owner.kill()
    owner.wait()
    wait_for_end(server.pid)


async def test_an_engine_starts_its_shared_server_at_the_first_call_only(
    starts: list[int], servers: Path, weights: Path
) -> None:
    config = EngineConfig(model="m", weights=str(weights))
    async with open_engine(config):
        pass
    assert not starts, "no call, no server"
    for _ in range(2):
        async with open_engine(config) as engine:
            reply = await engine.chat([{"role": "user", "content": "Hello"}], Sampling(), seed=1)
            assert reply.text
    assert len(starts) == 1


async def test_an_engine_without_shared_servers_has_a_child_of_its_own(
    starts: list[int], weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENCHARACTER_SERVERS", raising=False)
    async with open_engine(EngineConfig(model="m", weights=str(weights))) as engine:
        assert (await engine.chat([{"role": "user", "content": "Hello"}], Sampling(), seed=1)).text
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", starts[0])):
        pass


async def test_a_cancelled_start_ends_the_server_first(
    tmp_path: Path, servers: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pids = tmp_path / "pids"
    command = [
        sys.executable,
        "-c",
        f"import os, time; open({str(pids)!r}, 'w').write(str(os.getpid())); time.sleep(600)",
    ]
    monkeypatch.setattr("opencharacter.engines.shared_servers.vllm_command", lambda *_, **__: command)
    async with open_engine(EngineConfig(model="m", weights=str(weights))) as engine:
        call = asyncio.create_task(engine.chat([{"role": "user", "content": "Hello"}], Sampling(), seed=1))
        while not (pids.exists() and pids.read_text(encoding="ascii")):
            await asyncio.sleep(0.01)
        call.cancel()
        await asyncio.wait([call])
    assert not alive(int(pids.read_text(encoding="ascii")))


async def test_shared_servers_need_an_owner(servers: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENCHARACTER_OWNER_PID")
    async with open_engine(EngineConfig(model="m", weights=str(weights))) as engine:
        with pytest.raises(OpenCharacterError, match="OPENCHARACTER_OWNER_PID"):
            await engine.chat([{"role": "user", "content": "Hello"}], Sampling(), seed=1)


_COMMAND = """
import sys, pathlib
from opencharacter.engines.vllm_server import vllm_command
from opencharacter.errors import UserError
try:
    vllm_command(pathlib.Path("m"), "m", max_model_len=None, port=1)
except UserError as error:
    print(error, error.hint)
"""


def test_too_small_a_dev_shm_is_named_before_vllm_starts() -> None:
    """A container has 64 MiB unless it asks for more, and vLLM's own error comes a minute later, in its log."""

    def refusal(size: str) -> str:
        mount = f'mount -t tmpfs -o size={size} tmpfs /dev/shm && exec "$0" -c "$1"'
        command = ["unshare", "--map-root-user", "--mount", "sh", "-c", mount, sys.executable, _COMMAND]
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OPENCHARACTER_GPUS": "0"})
        if "unshare" in done.stderr or "mount:" in done.stderr:
            pytest.skip(f"needs a mount of its own: {done.stderr.strip()}")
        assert done.returncode == 0, done.stderr
        return done.stdout

    told = refusal("64m")
    assert "/dev/shm has 64 MiB free; vLLM needs 241 MiB here" in told
    assert "steps.STEP.shm" in told
    assert refusal("241m") == ""


def test_the_gpus_of_a_pod_hold_copies_of_the_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("opencharacter.engines.vllm_server.visible_gpus", lambda: 8)
    command = vllm_command(tmp_path, "m", max_model_len=None, tensor_parallel=4, port=1)
    assert command[-4:] == ["--tensor-parallel-size", "4", "--data-parallel-size", "2"]
    with pytest.raises(UserError, match="tensor_parallel of model 'm' is 3, but there are 8 GPUs"):
        vllm_command(tmp_path, "m", max_model_len=None, tensor_parallel=3, port=1)
