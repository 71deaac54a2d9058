"""Model servers that take or give something other than OpenAI's chat API describes: one fake for each way of behaving.

    async with serve_teacher(TEACHERS["gemini"]) as url: ...

The comments name where each shape was seen. docs/teachers.md says what to set for each of them.
"""

import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

ANSWER = "I wind the clock each morning. The tide waits for no one."
THOUGHTS = "The user asks about the morning. I should stay in character."
DATA = '{"answers": ["The tide waits for no one."]}'

Request = dict[str, Any]
Refusal = tuple[int, Any] | None
"""Status and body; none: the request is taken."""


@dataclass(frozen=True)
class Teacher:
    """One kind of server."""

    refuse: Callable[[Request], Refusal] = lambda request: None
    message: Callable[[Request], dict[str, Any]] = field(default_factory=lambda: plain_message)
    """The message of the answer, and its `finish_reason` if that is not `stop`."""
    first: Callable[[], Refusal] = lambda: None
    """What comes in place of the first answer to each conversation."""
    prefix: bytes = b""
    """Sent before the JSON."""


def text_for(request: Request) -> str:
    """What the model has to say: JSON where a schema or a JSON mode asks for it."""
    return DATA if request.get("response_format") or "JSON" in str(request["messages"]) else ANSWER


def plain_message(request: Request) -> dict[str, Any]:
    """A message as OpenAI's API describes it."""
    return {"content": text_for(request)}


def _openai_error(message: str, *, status: int = 400, **fields: Any) -> tuple[int, Any]:
    return status, {
        "error": {"message": message, "type": "invalid_request_error", "param": None, "code": None} | fields
    }


def _has_system(request: Request) -> bool:
    return any(message["role"] == "system" for message in request["messages"])


# --- hosted services -------------------------------------------------------------------------------------------------


def _openai_reasoning(request: Request) -> Refusal:
    # griptape-ai/ComfyUI-Griptape#312; temperature: QwenLM/qwen-code#921; top_p: lfnovo/open-notebook#107.
    if "max_tokens" in request:
        message = (
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
        )
        return _openai_error(message, param="max_tokens", code="unsupported_parameter")
    if request.get("temperature", 1) != 1:
        message = (
            f"Unsupported value: 'temperature' does not support {request['temperature']} with this model. "
            "Only the default (1) value is supported."
        )
        return _openai_error(message, param="temperature", code="unsupported_value")
    if "top_p" in request:
        message = "Unsupported parameter: 'top_p' is not supported with this model."
        return _openai_error(message, param="top_p", code="unsupported_parameter")
    return None


def _o1_mini(request: Request) -> Refusal:
    # microsoft/agent-framework#1077; it takes no developer message either (QuantumNous/new-api#847).
    role = request["messages"][0]["role"]
    if role in {"system", "developer"}:
        message = f"Unsupported value: 'messages[0].role' does not support '{role}' with this model."
        return _openai_error(message, param="messages[0].role", code="unsupported_value")
    return _openai_reasoning(request)


def _claude(request: Request) -> Refusal:
    # BerriAI/litellm#15097, anomalyco/opencode#28930: since Opus 4.1 and Sonnet 4.5.
    if "temperature" in request and "top_p" in request:
        message = "`temperature` and `top_p` cannot both be specified for this model. Please use only one."
        return 400, {"type": "error", "error": {"type": "invalid_request_error", "message": message}}
    return None


def _gemini(request: Request) -> Refusal:
    # The error is an object in a list: Vali-98/ChatterUI#227, algorithmicsuperintelligence/openevolve#105.
    if "seed" in request:
        message = 'Invalid JSON payload received. Unknown name "seed": Cannot find field.'
        violations = {
            "@type": "type.googleapis.com/google.rpc.BadRequest",
            "fieldViolations": [{"description": message}],
        }
        error = {"code": 400, "message": message, "status": "INVALID_ARGUMENT", "details": [violations]}
        return 400, [{"error": error}]
    return None


def _gemini_message(request: Request) -> dict[str, Any]:
    # Thoughts count against max_tokens, and a message without content is left: envoyproxy/ai-gateway#2107.
    if request.get("reasoning_effort") not in {"none", "low", "minimal"}:
        return {"finish_reason": "length"}
    return plain_message(request)


def _mistral(request: Request) -> Refusal:
    # editor-code-assistant/eca#231 for the shape; the API's own name is random_seed (mistralai/client-python#16).
    known = {"model", "messages", "temperature", "top_p", "max_tokens", "random_seed", "response_format", "stream"}
    if unknown := sorted(request.keys() - known):
        extra = [
            {
                "type": "extra_forbidden",
                "loc": ["body", name],
                "msg": "Extra inputs are not permitted",
                "input": request[name],
            }
            for name in unknown
        ]
        error = {"object": "error", "message": {"detail": extra}, "type": "invalid_request_error", "param": None}
        return 422, error | {"code": None}
    return None


def _mistral_message(request: Request) -> dict[str, Any]:
    # microsoft/agent-framework#6978.
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": THOUGHTS}]}
    return {"content": [thinking, {"type": "text", "text": text_for(request)}]}


def _groq(request: Request) -> Refusal:
    # console.groq.com/docs/structured-outputs lists the models; the words: ItzCrazyKns/Vane#980.
    if request.get("response_format", {}).get("type") == "json_schema":
        return _openai_error(
            "This model does not support response format `json_schema`. "
            "See supported models at https://console.groq.com/docs/structured-outputs#supported-models"
        )
    return None


def _groq_busy() -> Refusal:
    message = "Rate limit reached for model `fake`. Please try again in 10ms."
    return 429, {"error": {"message": message, "type": "tokens", "code": "rate_limit_exceeded"}}


def _deepseek(request: Request) -> Refusal:
    # ItzCrazyKns/Vane#969.
    if request.get("response_format", {}).get("type") == "json_schema":
        return _openai_error("This response_format type is unavailable now", code="invalid_request_error")
    return None


def _reasoning_content(request: Request) -> dict[str, Any]:
    return {"content": text_for(request), "reasoning_content": THOUGHTS}


def _openrouter_failure() -> Refusal:
    # 200 with an error inside: xyOz-dev/Saturn#43; its fields: anomalyco/opencode#22448.
    metadata = {"provider_name": "somebody", "error_type": "provider_unavailable"}
    return 200, {"error": {"code": 502, "message": "Provider returned error", "metadata": metadata}}


def _reasoning(request: Request) -> dict[str, Any]:
    return {"content": text_for(request), "reasoning": THOUGHTS}


def _azure(request: Request) -> Refusal:
    # The words and fields of Azure's own documentation of content filters.
    if "storm" in str(request["messages"]):
        message = (
            "The response was filtered due to the prompt triggering Azure OpenAI's content management policy. "
            "Please modify your prompt and retry."
        )
        inner = {"code": "ResponsibleAIPolicyViolation", "content_filter_result": {"violence": {"filtered": True}}}
        return _openai_error(message, type=None, param="prompt", code="content_filter", status=400, innererror=inner)
    return None


# --- servers of one's own --------------------------------------------------------------------------------------------


def _no_system_role(request: Request) -> Refusal:
    # Gemma's chat template raises; vLLM passes its words on: vllm-project/vllm#2964, huggingface/chat-ui#1386.
    if _has_system(request):
        return 400, {
            "error": {"message": "System role not supported", "type": "BadRequestError", "param": None, "code": 400}
        }
    return None


def _tagged(request: Request) -> dict[str, Any]:
    # The chat template of DeepSeek-R1 ends with the opening tag, so the answer holds the closing one alone.
    return {"content": f"{THOUGHTS}\n</think>\n\n{text_for(request)}"}


def _qwen(request: Request) -> dict[str, Any]:
    # Qwen3's chat template; under `max_tokens` that are few for thoughts the answer never begins.
    if request.get("chat_template_kwargs", {}).get("enable_thinking", True):
        return {"content": None, "reasoning": THOUGHTS, "finish_reason": "length"}
    return plain_message(request)


def _ollama(request: Request) -> dict[str, Any]:
    # ollama's openai/openai.go: `reasoning` beside the content, `reasoning_effort: none` ends thinking; ollama#15288.
    if request.get("reasoning_effort") != "none":
        return {"content": "", "reasoning": THOUGHTS, "finish_reason": "length"}
    return plain_message(request)


def _llama_cpp(request: Request) -> Refusal:
    # ggml-org/llama.cpp#25746: a bound of 2,000 or more cannot be compiled.
    if _has_large_bound(request.get("response_format", {})):
        return _openai_error("Failed to initialize samplers: failed to parse grammar", code=400)
    return None


def _has_large_bound(value: Any) -> bool:
    if isinstance(value, dict):
        bounds = (value.get(name, 0) for name in ("maxLength", "maxItems"))
        return any(isinstance(bound, int) and bound >= 2000 for bound in bounds) or any(
            map(_has_large_bound, value.values())
        )
    return isinstance(value, list) and any(map(_has_large_bound, value))


def _lm_studio(request: Request) -> Refusal:
    # The error is a plain string: lmstudio-ai/lmstudio-bug-tracker#307.
    if "storm" in str(request["messages"]):
        message = (
            "The number of tokens to keep from the initial prompt is greater than the context length (n_keep: 5030 >= "
            "n_ctx: 4096). Try to load the model with a larger context length, or provide a shorter input."
        )
        return 400, {"error": message}
    return None


def _lm_studio_message(request: Request) -> dict[str, Any]:
    return {"content": f"<think>\n{THOUGHTS}\n</think>\n\n{text_for(request)}"}


TEACHERS: dict[str, Teacher] = {
    "openai-reasoning": Teacher(_openai_reasoning),
    "openai-o1-mini": Teacher(_o1_mini),
    "azure": Teacher(_azure),
    "claude": Teacher(_claude),
    "gemini": Teacher(_gemini, _gemini_message),
    "mistral": Teacher(_mistral, _mistral_message),
    "groq": Teacher(_groq, _reasoning, _groq_busy),
    "deepseek": Teacher(_deepseek, _reasoning_content),
    "openrouter": Teacher(message=_reasoning, first=_openrouter_failure, prefix=b"\n         \n\n         \n"),
    "vllm": Teacher(message=_reasoning),
    "vllm-without-parser": Teacher(message=_tagged),
    "vllm-qwen3": Teacher(message=_qwen),
    "vllm-no-system-role": Teacher(_no_system_role),
    "ollama": Teacher(message=_ollama),
    "llama.cpp": Teacher(_llama_cpp, _reasoning_content),
    "lm-studio": Teacher(_lm_studio, _lm_studio_message),
}


@asynccontextmanager
async def serve_teacher(teacher: Teacher) -> AsyncIterator[str]:
    """The base URL of a server that behaves so."""
    seen: Counter[str] = Counter()

    async def chat(http: web.Request) -> web.Response:
        request = await http.json()
        conversation = json.dumps(request["messages"])
        seen[conversation] += 1
        refusal = teacher.refuse(request) or (teacher.first() if seen[conversation] == 1 else None)
        if refusal is not None:
            status, body = refusal
            return _json(body, status)
        message = {"role": "assistant"} | teacher.message(request)
        choice = {"index": 0, "finish_reason": message.pop("finish_reason", "stop"), "message": message}
        usage = {"prompt_tokens": 20, "completion_tokens": 12, "total_tokens": 32}
        return _json({"id": "1", "object": "chat.completion", "model": "fake", "choices": [choice], "usage": usage})

    def _json(body: Any, status: int = 200) -> web.Response:
        return web.Response(
            body=teacher.prefix + json.dumps(body).encode(), status=status, content_type="application/json"
        )

    application = web.Application()
    application.router.add_post("/v1/chat/completions", chat)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    finally:
        await runner.cleanup()
