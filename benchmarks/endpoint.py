"""What benchmarks of serving share: the fake model server, the transformer before it, and the requests."""

import json
import os
import sys
import urllib.request
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from processes import running

from opencharacter.characters import CharacterProfile, system_prompt
from opencharacter.client import as_field
from opencharacter.serving import Server, run_transformer

MODEL = "fake"

_CHARACTER = CharacterProfile(
    name="Ilse Brandt",
    age="61",
    birth_place="Sylt",
    persona="A lighthouse keeper who writes letters",
    personality="Dry, patient, and fond of weather. " * 15,
    experience="She kept the light through forty winters and wrote to everyone who passed. " * 18,
)
"""Some 2 KB."""
_TURN = "The rain came in from the west again, and I thought of what you said about the lamp. " * 3
_MESSAGES = [{"role": ("user", "assistant")[turn % 2], "content": _TURN} for turn in range(11)]


def chat_body(*, stream: bool, tokens: int, rendered: bool = False) -> bytes:
    """A chat request with a character; `rendered` has its system message, as the transformer makes it."""
    body: dict[str, Any] = {"model": MODEL, "messages": _MESSAGES, "max_tokens": tokens, "stream": stream}
    if rendered:
        body["messages"] = [{"role": "system", "content": system_prompt(_CHARACTER)}, *_MESSAGES]
    else:
        body["character"] = as_field(_CHARACTER)
    return json.dumps(body).encode()


def allowed_cores() -> tuple[list[int], list[int]]:
    """The processor cores of what is measured, and those of the fake model server and the callers."""
    cores = sorted(os.sched_getaffinity(0))
    return cores[:1], cores[1:3] or cores


@contextmanager
def model_server(cores: Collection[int]) -> Iterator[str]:
    """The address of a fake model server, without a path."""
    with running([sys.executable, str(Path(__file__).parent / "paced_server.py")], cores=cores) as server:
        assert server.stdout is not None
        yield server.stdout.readline().strip().removesuffix("/v1")


def set_pace(server: str, first_s: float, gap_s: float) -> None:
    """Set the seconds until the first token, and between two."""
    post(f"{server}/pace?first={first_s}&gap={gap_s}", b"")


def stats(server: str) -> dict[str, int]:
    """What is open at the fake model server, and what it has done."""
    with _opener.open(f"{server}/stats", timeout=10) as answer:
        counts: dict[str, int] = json.load(answer)
    return counts


def post(url: str, body: bytes) -> None:
    """Send a request and drop its answer. Raises `OSError`, also for an error answer."""
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"}, method="POST")
    _opener.open(request, timeout=10).close()


# A proxy of the environment is not for this machine.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@contextmanager
def transformer(server: str, folder: Path, cores: Collection[int]) -> Iterator[Server]:
    """The transformer on these processor cores, before the fake model server."""
    allowed = os.sched_getaffinity(0)
    model = folder / "model"
    model.mkdir(exist_ok=True)
    os.sched_setaffinity(0, cores)  # what is started inherits it
    try:
        with run_transformer(
            server.removeprefix("http://"), MODEL, model_dir=model, allow_packaged_prompt=True
        ) as started:
            os.sched_setaffinity(0, allowed)
            yield started
    finally:
        os.sched_setaffinity(0, allowed)
