"""Requests put through the contract without a server."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from opencharacter.serving.endpoint.api_errors import ApiError
from opencharacter.serving.endpoint.call import Call
from opencharacter.serving.endpoint.contract import Contract
from opencharacter.serving.endpoint.contract.prompt import ServedPrompt, packaged_prompt
from opencharacter.serving.endpoint.library import CharacterLibrary
from opencharacter.serving.endpoint.settings import EndpointSettings

USER = {"role": "user", "content": "hello"}


def contract(prompt: ServedPrompt | None = None, library: CharacterLibrary | None = None) -> Contract:
    return Contract(prompt or packaged_prompt(), "m", library or CharacterLibrary(), EndpointSettings())


CONTRACT = contract()


def call(
    fields: Mapping[str, Any],
    headers: Mapping[str, str] | None = None,
    *,
    strict: bool = False,
    contract: Contract = CONTRACT,
) -> Call:
    """The call that a request becomes; `messages` are one word of the user's if there are none."""
    body = json.dumps({"messages": [USER], **fields}).encode()
    return contract.chat(body, headers or {}, strict=strict)


def upstream(fields: Mapping[str, Any], **how: Any) -> dict[str, Any]:
    """The body that the model server gets."""
    body: dict[str, Any] = json.loads(call(fields, **how).body)
    return body


def refused(fields: Mapping[str, Any], **how: Any) -> ApiError:
    """The error that a request ends with."""
    with pytest.raises(ApiError) as caught:
        call(fields, **how)
    return caught.value
