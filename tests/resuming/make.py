"""Makes `workspaces.tar.zst` and `calls.json`; see the README beside this file.

Usage: `python tests/resuming/make.py FOLDER`. The workspaces' manifests name FOLDER, so choose a neutral one.
"""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import zstandard
from support.begun_run import FOLDER, BegunRun, answer, asked
from support.fake_llm import FakeLLM, Fault
from support.tiny_llama import byte_tokenizer

from opencharacter.errors import OpenCharacterError
from opencharacter.library import fingerprint


def save_model(folder: Path) -> None:
    """A Llama of some three thousand weights."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = byte_tokenizer()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=8,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def the_run(root: Path, url: str, model: Path, *overrides: str) -> BegunRun:
    """The run, with its inputs in the new folder, since manifests name where inputs were."""
    return BegunRun(root, url, model, overrides, inputs=root.parent / "run")


def run_killed(root: Path, model: Path, step: str, *, after: int) -> list[str]:
    """Run a step in a process that is killed when it makes one call more than `after`; the answered calls."""
    child: subprocess.Popen[bytes]

    def kill_late(request: dict[str, Any]) -> str:
        if len(server.calls) > after:
            os.kill(child.pid, signal.SIGKILL)
        return answer(request)

    with FakeLLM(answer=kill_late) as server:
        child = subprocess.Popen([sys.executable, __file__, "--step", step, str(root), server.base_url, str(model)])
        assert child.wait() == -signal.SIGKILL
        return asked(server)


def run_refused(make: Callable[[str], Any], *, share: float) -> list[str]:
    """Run a step on a server that fails a share of the calls; the answered calls."""
    with FakeLLM(answer=answer, faults=[Fault("server_error", share=share)]) as server:
        try:
            make(server.base_url)
        except OpenCharacterError as error:
            print("stopped:", error)
        return asked(server)


def run_whole(make: Callable[[str], Any]) -> list[str]:
    """Run steps to their end; the calls."""
    with FakeLLM(answer=answer) as server:
        make(server.base_url)
        return asked(server)


def begin_responses(root: Path, model: Path) -> None:
    """Profiles done; of the responses one shard is partly committed, the other was killed."""

    def begin(url: str) -> None:
        run = the_run(root, url, model)
        for shard in range(run.config.shards):
            run.profiles(shard)
        run.characters()

    run_whole(begin)
    run_refused(lambda url: the_run(root, url, model).responses(0), share=0.4)
    run_killed(root, model, "responses-1", after=9)


def begin_judging(root: Path, model: Path) -> None:
    """Dialogues and mixture done; an evaluation on one dimension done, with failures; the whole one was killed."""
    run_whole(lambda url: the_run(root, url, model).synthesise())
    less = "evaluate.judge.dimensions=[persona_consistency]"
    run_refused(lambda url: the_run(root, url, model, less).evaluate(), share=0.3)
    run_killed(root, model, "evaluate", after=4)


def missing(root: Path, model: Path, finish: Callable[[BegunRun], Any]) -> list[str]:
    """The calls that this version makes to finish the run of a workspace, of which a copy is used."""
    copy = root.with_name(f"{root.name}-copy")
    shutil.copytree(root, copy)
    calls = run_whole(lambda url: finish(the_run(copy, url, model)))
    shutil.rmtree(copy)
    return sorted(calls)


def pack(folder: Path) -> None:
    """Write both workspaces and the model into the archive, without anything of this machine."""

    def plain(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        member.uid = member.gid = member.mtime = 0
        member.uname = member.gname = ""
        return None if "/locks/" in member.name else member

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in ("begun", "judging", "model"):
            archive.add(folder / name, name, filter=plain)
    (FOLDER / "workspaces.tar.zst").write_bytes(zstandard.ZstdCompressor(level=19).compress(buffer.getvalue()))


def main(folder: Path) -> None:
    """Make everything in a new folder."""
    model = folder / "model"
    save_model(model)
    shutil.copytree(FOLDER / "run", folder / "run")
    begin_responses(folder / "begun", model)
    begin_judging(folder / "judging", model)
    whole = run_whole(lambda url: the_run(folder / "whole", url, model).evaluate_all())
    rest = {
        "begun": missing(folder / "begun", model, BegunRun.synthesise),
        "judging": missing(folder / "judging", model, BegunRun.evaluate),
    }
    assert all(set(calls) < set(whole) and len(set(calls)) == len(calls) for calls in rest.values())
    addresses = the_run(folder / "whole", "http://127.0.0.1:9/v1", model).addresses()
    pack(folder)
    (FOLDER / "calls.json").write_text(json.dumps({"whole": sorted(whole), **rest}, indent=1) + "\n")
    (FOLDER / "addresses.json").write_text(json.dumps(addresses, indent=1) + "\n")
    print(
        f"library {fingerprint()}: {len(whole)} calls; missing: { {name: len(calls) for name, calls in rest.items()} }"
    )


def step(name: str, root: str, url: str, model: str) -> None:
    """One step, in a process that will be killed."""
    run = the_run(Path(root), url, Path(model))
    if name == "evaluate":
        run.evaluate()
    else:
        run.responses(int(name.removeprefix("responses-")))


if __name__ == "__main__":
    if sys.argv[1] == "--step":
        step(*sys.argv[2:])
    else:
        main(Path(sys.argv[1]))
