"""Every command line for another program is parsed by that program: the chart's, and vLLM's of a step."""

import itertools
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.helm import CHART, NAMESPACE, VALUES_FILES, Manifest, helm, objects
from support.pod_security import pod_templates

from opencharacter.cluster.loading import load_cluster
from opencharacter.engines.vllm_server import vllm_command
from opencharacter.system.processes import free_port


def containers(name: str) -> Iterator[Manifest]:
    for values in VALUES_FILES:
        for pod in pod_templates(objects(values)):
            yield from (each for each in pod["containers"] if each["name"] == name)


def test_vllms_own_parser_takes_the_engines_arguments() -> None:
    from vllm.entrypoints.launchers.cli_args import make_arg_parser
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    parser = make_arg_parser(FlexibleArgumentParser())
    found = list(containers("kserve-container"))
    assert found
    for engine in found:
        assert engine["command"][1:] == ["-m", "vllm.entrypoints.openai.api_server"]
        parsed = parser.parse_args([*engine["args"], "--tensor-parallel-size=2", "--max-model-len=4096"])
        assert (parsed.host, parsed.port, parsed.trust_request_chat_template) == ("127.0.0.1", 8081, False)
        assert parsed.chat_template == "/mnt/models/chat_template.jinja"


def test_vllms_own_parser_takes_the_command_of_several_copies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from vllm.entrypoints.launchers.cli_args import make_arg_parser
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    with monkeypatch.context() as gpus:
        gpus.setattr("opencharacter.engines.vllm_server.visible_gpus", lambda: 8)
        gpus.setattr("importlib.metadata.distribution", lambda name: name)
        command = vllm_command(tmp_path, "m", max_model_len=512, tensor_parallel=2, port=1)
    assert command[1:4] == ["-m", "vllm.entrypoints.cli.main", "serve"]
    parsed = make_arg_parser(FlexibleArgumentParser()).parse_args(command[4:])
    assert (parsed.model_tag, parsed.data_parallel_size, parsed.tensor_parallel_size) == (str(tmp_path), 4, 2)
    # None is the default of `vllm serve`: one API process for each copy.
    assert parsed.api_server_count is None


def test_the_transformer_takes_its_arguments() -> None:
    (args,) = {tuple(front["args"]) for front in containers("transformer-container")}
    filled = [each.replace("{{.Name}}", "bard") for each in args if not each.startswith("--model_dir")]
    command = [sys.executable, "-m", "opencharacter.serving.transformer", *filled, "--model_dir=/nowhere"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert "/nowhere/opencharacter/model.json: no such file" in done.stderr, "it got as far as the model folder"


def test_mlflow_takes_its_arguments() -> None:
    from mlflow.cli import cli

    found = list(containers("mlflow"))
    assert len(found) == len(VALUES_FILES)
    for server in found:
        program, command = server["command"]
        assert program == "mlflow"
        context = cli.commands[command].make_context(command, list(server["args"]))
        assert context.params["port"] == 5000


def test_the_check_pods_run_commands_that_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    from opencharacter.cli import main

    asked: list[object] = []
    monkeypatch.setattr("opencharacter.preflight.checks.check_all", lambda needs: asked.append(needs) or [])
    found = [*containers("preflight"), *containers("runtime-is-there")]
    for each in found:
        program, *arguments = each["command"]
        assert program == "opencharacter"
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert not caught.value.code, shlex.join(each["command"])
    assert len(asked) == len(found) == 2 * len(VALUES_FILES)


def test_the_check_starts_without_the_secrets_that_it_looks_for() -> None:
    for check in containers("preflight"):
        named = [each["valueFrom"]["secretKeyRef"] for each in check["env"] if "valueFrom" in each]
        assert all(each["optional"] for each in named), named
    keys = [each for check in containers("preflight") for each in check["env"] if "valueFrom" in each]
    assert keys, "with a bucket it takes the keys"


def notes(values: str, *settings: str) -> str:
    """What an installation ends with."""
    sets = [part for setting in settings for part in ("--set", setting)]
    done = helm(
        "install", "opencharacter", str(CHART), "-f", str(CHART / values), "-n", "team", "--dry-run=client", *sets
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.partition("\nNOTES:\n")[2]


@pytest.mark.parametrize(
    ("values", "settings", "told"),
    [
        ("values-trial.yaml", ("images.pullPolicy=Never",), {"name": "cpu", "images": {"pull_policy": "Never"}}),
        (
            "values-gpu.yaml",
            ("images.tag=1.10", "s3.endpoint=https://minio.example.com", "s3.region=eu-central-1"),
            {
                "name": "node8",
                "images": {"tag": "1.10"},
                "env": {"AWS_ENDPOINT_URL": "https://minio.example.com", "AWS_DEFAULT_REGION": "eu-central-1"},
            },
        ),
        (
            "values-production.yaml",
            (f"images.digests.tools=sha256:{'a' * 64}", "images.pullSecrets={one,two}", "mlflow.enabled=false"),
            {
                "name": "pool",
                "images": {"digests": {"tools": f"sha256:{'a' * 64}"}, "pull_secrets": ["one", "two"]},
                "env": {"MLFLOW_TRACKING_URI": "https://MLFLOW"},
            },
        ),
    ],
)
def test_the_next_command_that_an_install_prints_is_a_good_one(
    values: str, settings: tuple[str, ...], told: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    from opencharacter.cli import main

    text = notes(values, "images.registry=registry.example.com/oc", *settings)
    [line] = [line for line in text.splitlines() if line.startswith("  opencharacter pipeline submit")]
    _, *arguments = shlex.split(line.replace("s3://BUCKET/PREFIX", "s3://bucket/prefix"))
    with pytest.raises(SystemExit) as caught:
        main([*arguments, "--dry-run", "--no-preflight"])
    assert not caught.value.code, capsys.readouterr().err
    options = list(itertools.pairwise(arguments))
    [source] = [word for flag, word in options if flag == "--cluster"]
    profile = load_cluster(source, [word for flag, word in options if flag == "--cluster-set"]).model_dump()
    assert (profile["namespace"], profile["images"]["registry"]) == ("team", "registry.example.com/oc")
    for key, value in told.items():
        assert profile[key] == (profile[key] | value if isinstance(value, dict) else value)


def test_words_of_the_next_command_are_quoted_for_a_shell() -> None:
    assert "'s3://b/my $(id)'\\''s'" in notes("values.yaml", "preflight.bucket=s3://b/my $(id)'s")


def test_names_that_the_profile_does_not_know_are_told() -> None:
    assert "cluster show cpu" in notes("values.yaml", "s3.secretName=mine")
    assert "cluster show" not in notes("values.yaml")


def test_the_test_pod_asks_mlflow_in_python_that_compiles() -> None:
    for each in containers("mlflow-answers"):
        compile(each["command"][2], "test", "exec")


def test_probes_of_the_engine_are_python_that_compiles() -> None:
    for engine in containers("kserve-container"):
        compile(engine["readinessProbe"]["exec"]["command"][2], "probe", "exec")


def test_mlflow_starts_as_told_and_answers_to_its_names_in_the_cluster(tmp_path: Path) -> None:
    """The real server with the chart's arguments; only the folder, the address and the port are this machine's."""
    server = next(containers("mlflow"))
    port = free_port()
    moved = {"--host=0.0.0.0": "--host=127.0.0.1", "--port=5000": f"--port={port}", "--workers=2": "--workers=1"}
    args = [moved.get(each, each.replace("/var/mlflow", str(tmp_path))) for each in server["args"]]
    settings = {each["name"]: each["value"] for each in server["env"] if "value" in each} | {"HOME": str(tmp_path)}
    with (tmp_path / "log").open("w") as log:
        command = [sys.executable, "-m", *server["command"], *args]
        process = subprocess.Popen(
            command, env=os.environ | settings, cwd=tmp_path, stdout=log, stderr=log, start_new_session=True
        )
    url = f"http://127.0.0.1:{port}"
    path = "/api/2.0/mlflow/experiments/search?max_results=1"
    try:
        wait_for(f"{url}/health", process)
        for host in ("opencharacter-mlflow:5000", f"opencharacter-mlflow.{NAMESPACE}.svc.cluster.local:5000"):
            assert httpx.get(url + path, headers={"Host": host}).status_code == 200
        assert httpx.get(url + path, headers={"Host": "elsewhere.example.com"}).status_code == 403
        assert httpx.get(f"{url}/health", headers={"Host": "10.1.2.3:5000"}).status_code == 200, "the kubelet's probe"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_for(url: str, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 240
    with httpx.Client(transport=httpx.HTTPTransport(retries=3)) as client:
        while process.poll() is None and time.monotonic() < deadline:
            try:
                if client.get(url).is_success:
                    return
            except httpx.TransportError:
                time.sleep(0.2)
    raise AssertionError(f"{url} does not answer")
