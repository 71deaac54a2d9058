"""The OpenAI chat API's wire forms, as the fake model sends them."""

import json
from typing import Any

from aiohttp import web

from opencharacter.hashing import digest


def error_reply(status: int, message: str, headers: dict[str, str] | None = None) -> web.Response:
    """An OpenAI error body."""
    body = {"error": {"message": message, "type": "fake", "code": status}}
    return web.json_response(body, status=status, headers=headers)


def envelope(request: dict[str, Any], kind: str) -> dict[str, Any]:
    """The fields that every answer has."""
    return {"id": f"chatcmpl-{digest(request)[:16]}", "object": kind, "created": 0, "model": request["model"]}


def usage(request: dict[str, Any], text: str) -> dict[str, int]:
    """Tokens, counted as words."""
    prompt = sum(len(str(message["content"]).split()) for message in request["messages"])
    completion = len(text.split())
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


async def stream_reply(http: web.Request, request: dict[str, Any], text: str, finish: str) -> web.StreamResponse:
    """The answer as server-sent events, a word each."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(http)
    words = text.split(" ")
    deltas: list[tuple[dict[str, str], str | None]] = [({"role": "assistant", "content": ""}, None)]
    deltas += [({"content": word if i == 0 else f" {word}"}, None) for i, word in enumerate(words)]
    deltas.append(({}, finish))
    for delta, reason in deltas:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        await _event(response, {**envelope(request, "chat.completion.chunk"), "choices": [choice]})
    if (request.get("stream_options") or {}).get("include_usage"):
        last = {**envelope(request, "chat.completion.chunk"), "choices": [], "usage": usage(request, text)}
        await _event(response, last)
    await response.write(b"data: [DONE]\n\n")
    return response


async def _event(response: web.StreamResponse, value: dict[str, Any]) -> None:
    await response.write(f"data: {json.dumps(value, ensure_ascii=False)}\n\n".encode())
