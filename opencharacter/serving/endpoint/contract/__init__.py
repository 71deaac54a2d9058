"""The contract: from the bytes of a request to the call of the model server. Pure and synchronous; no I/O."""

import json
from collections.abc import Mapping

from opencharacter.serving.endpoint.call import Call
from opencharacter.serving.endpoint.contract.body import read_chat_request
from opencharacter.serving.endpoint.contract.prompt import ServedPrompt
from opencharacter.serving.endpoint.library import CharacterLibrary
from opencharacter.serving.endpoint.settings import EndpointSettings


class Contract:
    """What requests mean for one served model."""

    def __init__(self, prompt: ServedPrompt, model: str, library: CharacterLibrary, settings: EndpointSettings) -> None:
        self._prompt = prompt
        self._model = model
        self._library = library
        self._settings = settings

    def chat(self, body: bytes, headers: Mapping[str, str], *, strict: bool) -> Call:
        """Read and check a chat request and render its character.

        Args:
            body: As it came, no larger than `max_body_bytes`.
            headers: Of the request; names in lower case.
            strict: Whether a field that is not understood is refused.

        Raises:
            ApiError: 400 for what is not JSON, 422 naming the field for the rest.
        """
        checked = read_chat_request(body)
        passed = checked.model_dump(exclude={"character", "messages"}, exclude_unset=True)
        payload = {"model": self._model} | passed | {"messages": self._prompt.messages(checked)}
        options = passed.get("stream_options")
        wanted = isinstance(options, dict) and options.get("include_usage") is True
        if checked.stream:
            payload["stream_options"] = (options if isinstance(options, dict) else {}) | {"include_usage": True}
        return Call(
            path="/v1/chat/completions",
            body=json.dumps(payload, ensure_ascii=False).encode(),
            stream=checked.stream,
            model=payload["model"],
            character_id=checked.character.id if checked.character else None,
            choices=checked.n,
            usage_wanted=wanted,
        )

    def models(self, listed: bytes) -> bytes:
        """The model server's list of models as the endpoint gives it."""
        models = json.loads(listed)
        # `models` is the list of KServe's own v1 protocol, which has the same path.
        return json.dumps(models | {"models": [model["id"] for model in models["data"]]}).encode()
