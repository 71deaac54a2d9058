"""The engine against a real vLLM server with the small real model."""

import asyncio
import json

from support.small_model import SMALL_MODEL_NAME

from opencharacter.engines import EngineConfig, Sampling, open_engine, run_bounded, server_request_count
from opencharacter.records.models import Usage

_SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 30},
        "answers": {"type": "array", "items": {"type": "string", "maxLength": 40}, "minItems": 3, "maxItems": 3},
    },
    "required": ["name", "answers"],
    "additionalProperties": False,
}


async def test_seed_schema_end_of_turn_and_accounting_with_a_real_server(vllm_url: str) -> None:
    config = EngineConfig(model=SMALL_MODEL_NAME, base_url=vllm_url, concurrency=8)
    question = [{"role": "user", "content": "Name a colour."}]
    before = server_request_count(vllm_url)
    async with open_engine(config) as engine:
        sampling = Sampling(temperature=1.0, max_tokens=24)
        first, again, other = [await engine.chat(question, sampling, seed=seed) for seed in (2**63 + 7, 2**63 + 7, 8)]
        assert first.text == again.text != other.text

        reply = await engine.chat(question, Sampling(max_tokens=300), seed=3, json_schema=_SCHEMA)
        assert reply.structured
        assert len(json.loads(reply.text)["answers"]) == 3

        greeting = [{"role": "user", "content": "Say only: hello"}]
        ended = await engine.chat(greeting, Sampling(temperature=0, max_tokens=300), seed=1)
        assert ended.finish_reason == "stop", "the model must stop at the end of its turn"
        assert "<|im_end|>" not in ended.text

        async def ask(number: int) -> Usage:
            reply = await engine.chat([{"role": "user", "content": f"Count to {number}."}], sampling, seed=number)
            return reply.usage

        tally = await run_bounded(ask, range(12), limit=8)
    assert (tally.done, tally.failed) == (12, 0)
    assert engine.usage.calls == 17
    assert server_request_count(vllm_url) - before >= 17, "other tests may use the same server"


async def test_more_seeded_prompts_at_once_than_one_batch_holds(vllm_url: str) -> None:
    """vLLM's CPU build dies if it has to prefill a seeded request's prompt in parts."""
    config = EngineConfig(model=SMALL_MODEL_NAME, base_url=vllm_url, concurrency=16)
    question = [{"role": "user", "content": "Tell me about " + "a long voyage on a cold sea, " * 60}]
    async with open_engine(config) as engine:
        replies = await asyncio.gather(
            *(engine.chat([*question], Sampling(max_tokens=1), seed=seed) for seed in range(10))
        )
    assert sum(reply.usage.prompt_tokens for reply in replies) > 4096
