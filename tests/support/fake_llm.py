"""A deterministic stand-in for an OpenAI-compatible server: its answers are a pure function of the request.

In a thread of the test: `with FakeLLM(faults=[Fault("rate_limit", times=1)]) as server: server.base_url`.
As a process that outlives a killed client: `with fake_llm_process() as url`, or on the command line
`python tests/support/fake_llm.py --port 0`, which prints its base URL.

Over HTTP: `GET /calls` tells every chat call (digest of the request, outcome) in order of arrival, `POST /faults`
replaces the faults, `GET /metrics` counts finished requests as vLLM does.
"""

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from aiohttp import web

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from support.fake_answers import embedded_schema, from_schema, prose
from support.fake_wire import envelope, error_reply, stream_reply, usage

from opencharacter.hashing import digest, fraction, seed64

FaultKind = Literal[
    "rate_limit",  # 429 with Retry-After
    "server_error",  # 500
    "bad_request",  # 400
    "unknown_model",  # 404
    "echo_key",  # 400 that repeats the Authorization header
    "html",  # 200 with a page in place of JSON
    "no_response_format",  # 400 that mentions response_format, for requests that hold it
    "slow",  # answers after `seconds`
    "drop",  # closes the connection without an answer
    "truncated",  # the first half of the text, finish_reason "length"
    "garbage",  # text that is not what was asked for
    "refusal",  # "As an AI language model..."
]


_ANSWERED = {"ok", "slow", "truncated", "garbage", "refusal"}


@dataclass(frozen=True)
class Fault:
    """A fault that hits a seeded `share` of the conversations, the first `times` calls of each (none: always).

    `match` limits it to conversations that hold the text. Calls that differ in the seed only count as the same
    conversation.
    """

    kind: FaultKind
    share: float = 1.0
    times: int | None = None
    match: str | None = None
    seconds: float = 0.0

    def hits(self, conversation: str, seen: int) -> bool:
        """Whether the call number `seen` (from 0) of a conversation (its messages as JSON) meets this fault."""
        if self.match is not None and self.match not in conversation:
            return False
        return (self.times is None or seen < self.times) and fraction("fault", self.kind, conversation) < self.share


@dataclass(frozen=True)
class Call:
    """One chat call that reached the server."""

    digest: str
    outcome: str
    """`ok`, or the kind of the fault."""
    request: dict[str, Any]
    authorization: str = ""
    rank: str | None = None
    """The copy of the model that the request names."""


Rule = Callable[[dict[str, Any], int], "tuple[int, Any] | None"]
"""Status and JSON in place of an answer to the n-th request (from 0); None: the usual answer."""

Answer = Callable[[dict[str, Any]], str]
"""Makes the text from the request's body, in place of `default_answer`."""


def default_answer(request: dict[str, Any]) -> str:
    """Prose, or JSON where the request (or the text of its prompt) holds a JSON schema."""
    rng = random.Random(seed64("fake", request["model"], request["messages"], request.get("seed")))
    form = request.get("response_format") or {}
    if form.get("type") == "json_schema":
        schema = form["json_schema"]["schema"]
    else:
        schema = embedded_schema(" ".join(str(message["content"]) for message in request["messages"]))
    return prose(rng) if schema is None else json.dumps(from_schema(schema, rng), ensure_ascii=False)


class FakeLLM:
    """The server, in a thread of this process. `calls` are the chat calls so far."""

    def __init__(
        self,
        *,
        faults: list[Fault] | None = None,
        delay_s: float = 0.0,
        answer: Answer = default_answer,
        rule: Rule | None = None,
        port: int = 0,
        model: str = "fake",
    ) -> None:
        self.faults = faults or []
        self._model = model
        self.calls: list[Call] = []
        self.most_at_once = 0
        self.port = port
        self._delay_s = delay_s
        self._answer = answer
        self._rule = rule
        self._at_once = 0
        self._seen: Counter[str] = Counter()
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()

    @property
    def base_url(self) -> str:
        """What an OpenAI client calls `base_url`."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def outcomes(self) -> Counter[str]:
        """Number of calls by outcome."""
        return Counter(call.outcome for call in self.calls)

    def __enter__(self) -> "FakeLLM":
        threading.Thread(target=self.serve, daemon=True).start()
        if not self._ready.wait(30):
            raise RuntimeError("the fake server did not start")
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)

    def serve(self) -> None:
        """Serve until the loop is stopped."""
        asyncio.set_event_loop(self._loop)
        runner = web.AppRunner(self._application(), access_log=None, shutdown_timeout=0)
        self._loop.run_until_complete(self._start(runner))
        try:
            self._loop.run_forever()
        finally:
            self._loop.run_until_complete(runner.cleanup())
            self._loop.close()

    async def _start(self, runner: web.AppRunner) -> None:
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self.port)
        await site.start()
        self.port = runner.addresses[0][1]
        self._ready.set()

    def _application(self) -> web.Application:
        application = web.Application(client_max_size=64 << 20)
        application.router.add_post("/v1/chat/completions", self._chat)
        application.router.add_post("/tokenize", self._tokenize)
        application.router.add_get("/v1/models", self._models)
        application.router.add_get("/health", self._health)
        application.router.add_get("/metrics", self._metrics)
        application.router.add_get("/calls", self._list_calls)
        application.router.add_post("/faults", self._set_faults)
        return application

    async def _chat(self, http: web.Request) -> web.StreamResponse:
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            return await self._reply(http, await http.json())
        finally:
            self._at_once -= 1

    async def _reply(self, http: web.Request, request: dict[str, Any]) -> web.StreamResponse:
        conversation = json.dumps(request["messages"], ensure_ascii=False)
        ruled = self._rule(request, len(self.calls)) if self._rule else None
        fault = self._fault_for(request, conversation) if ruled is None else None
        kind = fault.kind if fault else "ok" if ruled is None else "ruled"
        authorization = http.headers.get("Authorization", "")
        content = digest({k: v for k, v in request.items() if k != "stream"})
        rank = http.headers.get("X-data-parallel-rank")
        self.calls.append(Call(content, kind, request, authorization, rank))
        if ruled is not None:
            return web.json_response(ruled[1], status=ruled[0])
        if delay := self._delay_s + (fault.seconds if fault else 0):
            await asyncio.sleep(delay)
        if kind == "rate_limit":
            return error_reply(
                429, "slow down", {"Retry-After": str(fault.seconds) if fault and fault.seconds else "0.01"}
            )
        if kind == "server_error":
            return error_reply(500, "something broke")
        if kind == "bad_request":
            return error_reply(400, "the request is too long for this model")
        if kind == "unknown_model":
            return error_reply(404, "the model does not exist")
        if kind == "echo_key":
            return error_reply(400, f"what is {http.headers['Authorization']}?")
        if kind == "html":
            return web.Response(text="<html>a proxy's login page</html>", content_type="text/html")
        if kind == "no_response_format":
            return error_reply(400, "response_format of type json_schema is not supported")
        if kind == "drop":
            assert http.transport is not None
            http.transport.abort()
            return web.Response()
        text, finish = self._text(request, kind)
        if request.get("stream"):
            return await stream_reply(http, request, text, finish)
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": finish}
        return web.json_response(
            {**envelope(request, "chat.completion"), "choices": [choice], "usage": usage(request, text)}
        )

    def _fault_for(self, request: dict[str, Any], conversation: str) -> Fault | None:
        seen = self._seen[conversation]
        self._seen[conversation] += 1
        for fault in self.faults:
            applies = fault.kind != "no_response_format" or "response_format" in request
            if applies and fault.hits(conversation, seen):
                return fault
        return None

    def _text(self, request: dict[str, Any], kind: str) -> tuple[str, str]:
        if kind == "garbage":
            return "%%% <<lorem>> [[[ }{ " * 3, "stop"
        if kind == "refusal":
            return "As an AI language model, I cannot take part in that.", "stop"
        text = self._answer(request)
        if kind == "truncated":
            return text[: len(text) // 2], "length"
        words = text.split(" ")
        limit = request.get("max_tokens") or request.get("max_completion_tokens") or len(words)
        return (text, "stop") if len(words) <= limit else (" ".join(words[:limit]), "length")

    async def _tokenize(self, http: web.Request) -> web.Response:
        request = await http.json()
        words = " ".join(message["content"] for message in request["messages"]).split()
        return web.json_response({"count": len(words), "max_model_len": 4096, "tokens": list(range(len(words)))})

    async def _models(self, _: web.Request) -> web.Response:
        return web.json_response(
            {"object": "list", "data": [{"id": self._model, "object": "model", "owned_by": "tests"}]}
        )

    async def _health(self, _: web.Request) -> web.Response:
        return web.Response()

    async def _metrics(self, _: web.Request) -> web.Response:
        done = sum(call.outcome in _ANSWERED for call in self.calls)
        name = "vllm:request_success_total"
        return web.Response(text=f'# TYPE {name} counter\n{name}{{finished_reason="stop"}} {float(done)}\n')

    async def _list_calls(self, _: web.Request) -> web.Response:
        calls = [{"digest": call.digest, "outcome": call.outcome, "request": call.request} for call in self.calls]
        return web.json_response({"total": len(calls), "outcomes": dict(self.outcomes), "calls": calls})

    async def _set_faults(self, http: web.Request) -> web.Response:
        self.faults = [Fault(**fault) for fault in await http.json()]
        return web.Response()


@contextmanager
def fake_llm_process(*, faults: list[Fault] | None = None, delay_s: float = 0.0) -> Iterator[str]:
    """The server as a process of its own; yields its base URL. It ends with this process at the latest."""
    command = [sys.executable, __file__, "--with-parent", "--delay", str(delay_s)]
    command += ["--faults", json.dumps([asdict(fault) for fault in faults or []])]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        url = process.stdout.readline().strip()
        if not url:
            raise RuntimeError("the fake server did not start")
        yield url
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        threading.Event().wait(1)
    os._exit(0)


def main() -> None:
    parser = argparse.ArgumentParser(description="A deterministic fake of an OpenAI-compatible server.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before each answer")
    parser.add_argument("--faults", type=json.loads, default=[], help="JSON list of faults")
    parser.add_argument("--with-parent", action="store_true", help="end when the starting process ends")
    arguments = parser.parse_args()
    if arguments.with_parent:
        threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    faults = [Fault(**fault) for fault in arguments.faults]
    with FakeLLM(faults=faults, delay_s=arguments.delay, port=arguments.port) as server:
        print(server.base_url, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
