"""The body of a chat request, in the form that the engine's server takes."""

from collections.abc import Mapping
from typing import Any

from opencharacter.engines.engine_config import RequestConfig, Sampling

_SEED_RANGE = 2**31

Message = dict[str, str]


def build_request(
    form: RequestConfig,
    model: str,
    messages: list[Message],
    sampling: Sampling,
    *,
    seed: int,
    extra: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The fields of a request. `seed` may be any integer; it is folded to 31 bits, which every server takes."""
    fields = {"seed": seed % _SEED_RANGE, **sampling.model_dump()}
    names = {str(name): other for name, other in form.rename.items()}
    sent = {names.get(name, name): value for name, value in fields.items() if name not in form.omit}
    return {"model": model, "messages": _with_role(messages, form.system_role), **sent, **(extra or {}), **form.add}


def with_schema(request: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """The request with a JSON schema for the answer."""
    return request | {"response_format": {"type": "json_schema", "json_schema": {"name": "reply", "schema": schema}}}


def _with_role(messages: list[Message], role: str) -> list[Message]:
    """The messages with the system message as the server takes it."""
    if role == "system" or not messages or messages[0]["role"] != "system":
        return messages
    system, *rest = messages
    if role == "merge" and rest and rest[0]["role"] == "user":
        return [{"role": "user", "content": f"{system['content']}\n\n{rest[0]['content']}"}, *rest[1:]]
    return [{"role": "developer" if role == "developer" else "user", "content": system["content"]}, *rest]
