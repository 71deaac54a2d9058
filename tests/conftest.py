"""Fixtures of the whole session: the fake model, the small real model, one real vLLM server and one real S3 server."""

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from support.fake_llm import FakeLLM
from support.faulty_proxy import FaultyProxy, faulty_proxy
from support.kserve_cluster import kserve  # noqa: F401
from support.kubernetes_api import cluster  # noqa: F401
from support.mlflow_fixture import mlflow_folder, mlflow_uri  # noqa: F401
from support.object_store import BUCKET, ObjectStore, object_store
from support.registry_api import registry  # noqa: F401
from support.small_model import SMALL_MODEL_CONTEXT, SMALL_MODEL_NAME, SMALL_MODEL_REF
from support.trainer_api import trainer_cluster  # noqa: F401

from opencharacter.engines import localize_model, stop_servers
from opencharacter.engines.shared_servers import shared_server

# How fast this machine is, with what else runs on it, is no property of the code.
settings.register_profile(
    "any machine",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("any machine")

# The session's first process sets these; pytest-xdist's workers inherit them and so share the server.
_FOLDER_VARIABLE = "OPENCHARACTER_TEST_SERVERS"
_OWNER_VARIABLE = "OPENCHARACTER_TEST_OWNER_PID"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write the golden files anew")


@pytest.fixture(scope="session")
def update_golden(request: pytest.FixtureRequest) -> bool:
    """Whether golden files are to be written anew."""
    return bool(request.config.getoption("--update-golden"))


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    """Name no test by bytes: gzip's hold the time, and workers that start in different seconds must agree on names."""
    return argname if isinstance(val, bytes) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Files that are allowed the most time start first, so that no worker is left alone with one at the end.
    allowed: dict[Path, float] = {}
    for item in items:
        mark = item.get_closest_marker("timeout")
        allowed[item.path] = max(allowed.get(item.path, 0.0), mark.args[0] if mark else 0.0)
    items.sort(key=lambda item: -allowed[item.path])


def pytest_configure() -> None:
    if _OWNER_VARIABLE not in os.environ:
        os.environ[_OWNER_VARIABLE] = str(os.getpid())
        name = f"opencharacter-tests-{secrets.token_hex(8)}"
        os.environ[_FOLDER_VARIABLE] = str(Path(tempfile.gettempdir(), name))


def pytest_unconfigure() -> None:
    folder = Path(os.environ[_FOLDER_VARIABLE])
    if os.environ[_OWNER_VARIABLE] == str(os.getpid()) and folder.exists():
        stop_servers(folder)
        shutil.rmtree(folder)


@pytest.fixture
def fake_llm() -> Iterator[FakeLLM]:
    """A deterministic OpenAI-compatible server in a thread, without faults; set `faults` on it as needed."""
    with FakeLLM() as server:
        yield server


@pytest.fixture(scope="session")
def small_model() -> Path:
    """The Hugging Face folder of a small real chat model, converted once per machine."""
    return localize_model(SMALL_MODEL_REF)


@pytest.fixture(scope="session")
def vllm_url(small_model: Path) -> str:
    """Base URL of the session's vLLM server, which serves the small model as `SMALL_MODEL_NAME`."""
    server = shared_server(
        Path(os.environ[_FOLDER_VARIABLE]),
        small_model,
        SMALL_MODEL_NAME,
        owner_pid=int(os.environ[_OWNER_VARIABLE]),
        max_model_len=SMALL_MODEL_CONTEXT,
    )
    return server.base_url


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    """A real S3 server, with the bucket `BUCKET`."""
    with object_store(tmp_path_factory.mktemp("s3")) as running:
        running.client().create_bucket(Bucket=BUCKET)
        yield running


@pytest.fixture
def s3_root(s3_server: ObjectStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """An empty prefix of that server, which the environment names; the cache is the test's own."""
    for name, value in {**s3_server.environment(), "OPENCHARACTER_CACHE": str(tmp_path / "cache")}.items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/{secrets.token_hex(6)}"


@pytest.fixture
def s3_proxy(s3_server: ObjectStore, s3_root: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    """A proxy through which the library reaches the server of `s3_root`, and which fails when told to."""
    host, port = s3_server.url.removeprefix("http://").split(":")
    with faulty_proxy(host, int(port)) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        yield proxy
