"""Whole trainings of a tiny model: killed and resumed, and over two processes, along one and the same loss curve."""

import itertools
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest
from support.object_store import BUCKET, ObjectStore
from support.small_mixture import make_mixture, small_rows
from support.tiny_llama import save_tiny_llama

from opencharacter.errors import UserError
from opencharacter.records.training import LossPoint
from opencharacter.storage.jsonl import read_models
from opencharacter.storage.workspace import Artifact, Workspace
from opencharacter.system.cache import CACHE_VARIABLE
from opencharacter.templates import load_template
from opencharacter.training import SftConfig, train
from opencharacter.training.job import NodeArguments
from opencharacter.training.sft import output_key
from opencharacter.training.trainjob import TrainJobSettings
from opencharacter.training.trainjob.manifest import train_job

# A fixture starts up to eight processes that import torch; on a busy machine that alone takes minutes.
pytestmark = pytest.mark.timeout(900)

# float32 sums in another order; a wrong batch, mask or learning rate moves the loss by far more.
LOSS_TOLERANCE = 2e-3
WEIGHT_TOLERANCE = 2e-3
STEPS = 12
SEED = 5

_CHILD = """
import json, logging, sys
from opencharacter.storage.workspace import Artifact, Workspace
from opencharacter.training import SftConfig, train
logging.basicConfig(level=logging.INFO)
config, mixture, root, seed = json.loads(sys.argv[1])
train(SftConfig(**config), Artifact(**mixture), workspace=Workspace(root), seed=seed)
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_llama(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture(scope="module")
def mixture(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return make_mixture(Workspace(tmp_path_factory.mktemp("mixture")), small_rows(sessions=12))


def _config(base: Path, **fields: Any) -> SftConfig:
    values: dict[str, Any] = {
        "base_model": str(base),
        "max_steps": STEPS,
        "global_batch_size": 4,
        "learning_rate": 3e-3,
        "min_learning_rate": 3e-4,
        "max_length": 512,
        "packing": False,
        "dtype": "float32",
        "gradient_checkpointing": False,
        "logging_steps": 1,
        "save_steps": 3,
    }
    return SftConfig.model_validate(values | fields)


@pytest.fixture(scope="module")
def resumed(base: Path, mixture: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """One process, killed by SIGKILL after step 7 and run again."""
    root = tmp_path_factory.mktemp("resumed")
    config = _config(base)
    arguments = json.dumps([config.model_dump(), mixture.model_dump(), str(root), SEED])
    child = subprocess.Popen([sys.executable, "-c", _CHILD, arguments], stderr=subprocess.PIPE, text=True)
    assert child.stderr is not None
    output = []
    for line in child.stderr:
        output.append(line)
        if f"step 7 of {STEPS}" in line:
            break
    else:
        pytest.fail("".join(output))
    workers = psutil.Process(child.pid).children(recursive=True)
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stderr.close()
    # Nobody listens to the workers any more: they must not train on behind the back of the next attempt.
    _, orphans = psutil.wait_procs(workers, timeout=60)
    assert not orphans
    return train(config, mixture, workspace=Workspace(root), seed=SEED)


@pytest.fixture(scope="module")
def distributed(base: Path, mixture: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """Two processes of one pod, with ZeRO-2; two nodes train with ZeRO-3."""
    config = _config(base, processes=2, zero_stage=2)
    return train(config, mixture, workspace=Workspace(tmp_path_factory.mktemp("distributed")), seed=SEED)


class _Node:
    """One node's launcher as Kubeflow Trainer would start it, with a disk of its own, and what it prints."""

    def __init__(self, job: dict[str, Any], rank: int, port: int, environment: dict[str, str], disk: Path) -> None:
        trainer = job["spec"]["trainer"]
        pet = {"NNODES": "2", "NODE_RANK": str(rank), "NPROC_PER_NODE": "1"}
        pet |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        environment = environment | {f"PET_{name}": value for name, value in pet.items()} | {CACHE_VARIABLE: str(disk)}
        self.process = subprocess.Popen(
            [sys.executable, *trainer["command"][1:], *trainer["args"]],
            env=os.environ | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []

    def read(self, until: str | None = None) -> bool:
        """Follow the output up to a line with `until` in it. Says whether there was one."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            if until and until in line:
                return True
        return False

    def end(self) -> str:
        """What the node printed, once it has ended."""
        self.read()
        self.process.wait()
        self.process.stdout.close()
        return "".join(self.lines)


class _Ended(NamedTuple):
    stats: dict[str, Any]
    curve: list[LossPoint]
    checkpoints_left: list[str]


@pytest.fixture(scope="module")
def over_nodes(
    base: Path, mixture: Artifact, s3_server: ObjectStore, tmp_path_factory: pytest.TempPathFactory
) -> _Ended:
    """Two nodes of one process each, killed by SIGKILL after step 7 and started anew, on other machines."""
    root = f"s3://{BUCKET}/{secrets.token_hex(6)}"
    config = _config(base, processes=2, zero_stage=3)
    key = output_key(config, mixture, SEED)
    task = NodeArguments(config=config, mixture=mixture, workspace=root, seed=SEED, experiment=None, key=key)

    job = train_job(TrainJobSettings(image="training:1", nodes=2), task, "team")

    def start() -> list[_Node]:
        with socket.socket() as held:
            held.bind(("127.0.0.1", 0))
            port = held.getsockname()[1]
        disks = [tmp_path_factory.mktemp("disk") for _ in range(2)]
        return [_Node(job, rank, port, s3_server.environment(), disk) for rank, disk in enumerate(disks)]

    nodes = start()
    assert nodes[0].read(until=f'"step":7,"total_steps":{STEPS}'), "".join(nodes[0].lines)
    workers = [child for node in nodes for child in psutil.Process(node.process.pid).children(recursive=True)]
    for node in nodes:
        node.process.kill()
    for node in nodes:
        node.end()
    _, orphans = psutil.wait_procs(workers, timeout=60)
    assert not orphans
    nodes = start()
    printed = [node.end() for node in nodes]
    assert [node.process.returncode for node in nodes] == [0, 0], "\n".join(printed)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in s3_server.environment().items():
            patch.setenv(name, value)
        patch.setenv(CACHE_VARIABLE, str(tmp_path_factory.mktemp("reader")))
        model = Workspace(root).lookup("model", key)
        assert model is not None
        left = s3_server.client().list_objects_v2(Bucket=BUCKET, Prefix=f"{root.rpartition('/')[2]}/checkpoints")
        return _Ended(model.stats, _curve(model), [entry["Key"] for entry in left.get("Contents", [])])


def _curve(model: Artifact) -> list[LossPoint]:
    return list(read_models(model.path / "loss.jsonl", LossPoint))


def _weights(model: Artifact) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(model.path / "model" / "model.safetensors")


def test_a_killed_training_goes_on_from_its_last_checkpoint(resumed: Artifact) -> None:
    assert resumed.stats["resumed_from_step"] == 6
    curve = _curve(resumed)
    assert [point.step for point in curve] == list(range(1, STEPS + 1))
    assert curve[-1].loss < curve[0].loss - 0.5


def test_two_processes_follow_the_loss_curve_of_one(resumed: Artifact, distributed: Artifact) -> None:
    """At the same global batch; the reference was interrupted, the two processes were not."""
    assert (resumed.stats["world_size"], distributed.stats["world_size"]) == (1, 2)
    alone, together = _curve(resumed), _curve(distributed)
    assert [point.loss for point in together] == pytest.approx([point.loss for point in alone], abs=LOSS_TOLERANCE)
    assert [point.learning_rate for point in together] == pytest.approx([point.learning_rate for point in alone])
    expected = _weights(resumed)
    found = _weights(distributed)
    assert found.keys() == expected.keys()
    assert max(float((found[name] - expected[name]).abs().max()) for name in expected) < WEIGHT_TOLERANCE


def test_the_learning_rate_falls_in_a_straight_line(resumed: Artifact) -> None:
    rates = [point.learning_rate for point in _curve(resumed)]
    assert rates[0] == 0  # one step of warm-up
    falls = [before - after for before, after in itertools.pairwise(rates[1:])]
    assert falls == pytest.approx([(3e-3 - 3e-4) / (STEPS - 1)] * len(falls))


def test_the_output_can_be_served_and_traced(resumed: Artifact, base: Path, mixture: Artifact) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = resumed.path / "model"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert tokenizer.chat_template == AutoTokenizer.from_pretrained(base).chat_template
    stops = model.generation_config.eos_token_id
    assert tokenizer.convert_tokens_to_ids("<|im_end|>") in ([stops] if isinstance(stops, int) else stops)
    assert not list(folder.rglob("*.bin")), "pickled files are not to be shipped"

    prompt = load_template("system.md")
    assert (folder / "opencharacter" / "system.md").read_text() == prompt.text
    lineage = json.loads((folder / "opencharacter" / "model.json").read_text())
    assert (lineage["prompt_hash"], lineage["mixture_digest"]) == (prompt.hash, mixture.digest)
    assert lineage["system_prompt"] == "immersive", "what a mixture without a name has"
    assert lineage["base_model"] == str(base)
    card = (resumed.path / "README.md").read_text()
    assert mixture.digest in card
    assert f"{_curve(resumed)[-1].loss:.4f}" in card


def test_a_finished_training_is_not_repeated(
    resumed: Artifact, base: Path, mixture: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a worker was started"))
    workspace = Workspace(Path(resumed.uri).parents[2])
    spread = _config(base, processes=2, per_device_batch_size=2, save_steps=1)
    assert train(spread, mixture, workspace=workspace, seed=SEED) == resumed
    assert not any((Path(workspace.uri) / "checkpoints").iterdir()), (
        "checkpoints are dropped once the model is committed"
    )


def test_what_is_no_mixture_is_refused(base: Path, tmp_path: Path) -> None:
    wrong = Artifact(kind="mixture", key="k", uri=str(tmp_path), digest="d")
    with pytest.raises(UserError, match=r"train\.jsonl\.zst"):
        train(_config(base), wrong, workspace=Workspace(tmp_path / "w"), seed=1)
    assert os.listdir(tmp_path) == []


def test_two_nodes_lose_their_disks_and_go_on_along_the_same_curve(resumed: Artifact, over_nodes: _Ended) -> None:
    """Each had pushed its own part of the checkpoints to the object store while they trained."""
    assert over_nodes.stats["world_size"] == 2
    assert over_nodes.stats["resumed_from_step"] in (3, 6), "6, if its push had ended by step 7"
    alone, together = _curve(resumed), over_nodes.curve
    assert [point.step for point in together] == list(range(1, STEPS + 1))
    assert [point.loss for point in together] == pytest.approx([point.loss for point in alone], abs=LOSS_TOLERANCE)
    assert over_nodes.checkpoints_left == [], "both nodes' checkpoints are dropped once the model is committed"
