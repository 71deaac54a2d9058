"""How to reach a language model over the OpenAI chat API, and how to sample from it."""

import json
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

RequestField = Literal["seed", "temperature", "top_p", "max_tokens"]
_ENGINES_OWN = {"model", "messages", "response_format", "stream", "n"}


class Sampling(BaseModel):
    """Sampling of one kind of call; part of a row's content address. The seed is set per row."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    temperature: float = Field(default=0.8, ge=0, le=2)
    top_p: float = Field(default=0.95, gt=0, le=1)
    max_tokens: int = Field(default=1024, ge=1)


class RequestConfig(BaseModel):
    """Where a server takes other requests than OpenAI's chat API describes.

    What changes the text (`add`, a sampling field in `omit`, a system message under another role) counts as part of
    the row's content address; `rename`, `seed` and `developer` do not.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    omit: tuple[RequestField, ...] = Field(default=(), description="fields that are not sent")
    rename: dict[RequestField, str] = Field(default={}, description="e.g. max_tokens: max_completion_tokens")
    system_role: Literal["system", "developer", "user", "merge"] = Field(
        default="system", description="role of the system message; merge: it begins the first user message"
    )
    add: dict[str, Any] = Field(default={}, description="further fields of every request, e.g. reasoning_effort: low")

    @model_validator(mode="after")
    def _names_are_free(self) -> "RequestConfig":
        sampled = set(get_args(RequestField))
        if taken := sorted(self.add.keys() & (_ENGINES_OWN | sampled)):
            raise ValueError(f"add: {', '.join(taken)} cannot be set here; the sampling or the engine decides it")
        names = [*self.rename.values(), *(sampled - self.rename.keys() - set(self.omit)), *self.add, *_ENGINES_OWN]
        if doubled := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"rename: {', '.join(doubled)} would be sent twice")
        return self

    @property
    def deciding(self) -> dict[str, Any]:
        """What of it changes the model's text; empty by default."""
        parts = {
            "add": self.add,
            "omit": sorted(set(self.omit) - {"seed"}),
            "system_role": self.system_role if self.system_role in {"user", "merge"} else None,
        }
        return {name: value for name, value in parts.items() if value}


OWN_SERVER_TIMEOUT_S = 1800.0
"""For one request to a server of our own where nobody sets it: it is there, and on a slow machine it takes its time."""


class EngineConfig(BaseModel):
    """A chat model: a server that runs (`base_url`), or weights that this step serves with vLLM (`weights`).

    Only `model`, and what of `request` changes the text, decide a result; the rest may change between runs without a
    call being repeated.
    """

    model_config = ConfigDict(extra="forbid")

    model: str = Field(description="model name, sent in each request and recorded with each row")
    base_url: str | None = Field(default=None, description="OpenAI-compatible endpoint, ending in /v1")
    weights: str | None = Field(
        default=None, description="folder, hub id or package:NAME to serve with vLLM where there is no base_url"
    )
    api_key_env: str | None = Field(default=None, description="environment variable that holds the key")
    concurrency: int = Field(default=16, ge=1, description="requests under way at once, per worker")
    timeout_s: float = Field(default=300, gt=0, description="for one request")
    max_retries: int = Field(default=5, ge=0, description="on 429, 5xx, time-outs and broken connections")
    max_model_len: int | None = Field(default=None, ge=128, description="context length given to vLLM, tokens")
    tensor_parallel: int = Field(default=1, ge=1, description="GPUs that hold one copy of the model under vLLM")
    structured_output: bool = Field(default=True, description="send response_format json_schema; off: parse the text")
    request: RequestConfig = Field(default=RequestConfig(), description="for servers that take other requests")

    @property
    def identity(self) -> str:
        """What of the engine is part of a row's content address: the model, and what of `request` changes the text."""
        deciding = self.request.deciding
        return f"{self.model} {json.dumps(deciding, sort_keys=True)}" if deciding else self.model
