"""Bespoke Labs' curator: one LLM block on the OpenAI backend, with its request cache in the work folder."""

import importlib.util
import os
from pathlib import Path

from measured import SAMPLING, Job, run

# curator counts tokens with a vocabulary that tiktoken downloads; litellm, which curator requires, ships it.
_litellm = importlib.util.find_spec("litellm")
assert _litellm is not None
assert _litellm.origin is not None
_tokenizers = Path(_litellm.origin).parent / "litellm_core_utils" / "tokenizers"
os.environ.setdefault("TIKTOKEN_CACHE_DIR", str(_tokenizers))

from bespokelabs import curator  # noqa: E402  # pyright: ignore[reportMissingImports]
from datasets import Dataset  # noqa: E402

_NO_LIMIT = 10**9


class Answers(curator.LLM):
    """A row's system prompt and question in, its answer out."""

    def prompt(self, input: dict) -> list[dict[str, str]]:
        """See `curator.LLM`."""
        return [{"role": "system", "content": input["system"]}, {"role": "user", "content": input["user"]}]

    def parse(self, input: dict, response: str) -> dict[str, str]:
        """See `curator.LLM`."""
        return {"user": input["user"], "answer": response}


def _make(job: Job) -> None:
    answers = Answers(
        model_name="fake",
        backend="openai",
        generation_params=dict(SAMPLING),
        backend_params={
            "base_url": job.url,
            "api_key": "none",
            "request_timeout": 300,
            "max_concurrent_requests": job.in_flight,
            "max_requests_per_minute": _NO_LIMIT,
            "max_tokens_per_minute": _NO_LIMIT,
        },
    )
    answers(Dataset.from_list(list(job.read())), working_dir=str(job.work))


if __name__ == "__main__":
    run(_make)
