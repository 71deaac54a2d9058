"""Why the routes of OpenAI's and vLLM's APIs that are not served are not."""

from opencharacter.serving.endpoint.api_errors import ApiError

_CHAT = "call /v1/chat/completions"
_ONE_MODEL = "this endpoint serves one chat model"

REASONS: dict[str, str] = {
    "/completions": "takes a prompt past the chat template, without which the models do not know a character; " + _CHAT,
    "/responses": "keeps state on the server and returns the prompt; " + _CHAT,
    "/messages": "is another API than OpenAI's; " + _CHAT,
    "/chat/completions/batch": "takes many chats in one request; send one request for each",
    "/chat/completions/render": "returns the prompt; /tokenize counts its tokens",
    "/detokenize": "turns tokens into text, which a chat has no use for",
    "/embeddings": f"makes vectors; {_ONE_MODEL}",
    "/rerank": f"ranks texts; {_ONE_MODEL}",
    "/score": f"scores texts; {_ONE_MODEL}",
    "/moderations": f"judges texts; {_ONE_MODEL}",
    "/images/generations": f"makes images; {_ONE_MODEL}",
    "/audio/speech": f"makes sound; {_ONE_MODEL}",
    "/audio/transcriptions": f"reads sound; {_ONE_MODEL}",
    "/files": "keeps files on the server, which this endpoint does not",
    "/threads": "keeps state on the server, which this endpoint does not",
    "/assistants": "keeps state on the server, which this endpoint does not",
}
"""What a route does, and why it is not served, by its path without a prefix."""


def no_such_route(method: str, path: str, prefixes: tuple[str, ...]) -> ApiError:
    """A 404 that says why a known route is not served."""
    name = next((path.removeprefix(prefix) for prefix in prefixes if path.startswith(f"{prefix}/")), path)
    reason = REASONS.get(name)
    if reason is None:
        shown = path if len(path) <= 100 else path[:100] + "…"
        return ApiError(404, f"there is no route {method} {shown}", code="not_found")
    return ApiError(404, f"{path} is not served: it {reason}", code="route_not_supported")
