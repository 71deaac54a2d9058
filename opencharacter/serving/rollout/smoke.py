"""The smoke question: what a new version is asked before it serves, how it is asked, what its answer must be like."""

import json
import os
import re
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from opencharacter.errors import UserError
from opencharacter.kube import Cause, cause_of, in_pod, words_of
from opencharacter.serving.rollout.api import Namespace
from opencharacter.serving.rollout.outcome import Reason, RolloutFailed
from opencharacter.texts import is_blank

SMOKE_TAG = "smoke_question"
"""Tag of a registered model version with a `SmokeQuestion` as JSON: a character that training has not seen."""

_MAX_TOKENS = 512
"""Long enough for an answer in character; a model that has not ended by then does not know when to."""

_CHARACTERS_PER_TOKEN = 3
"""At the least, in the languages that profiles are written in."""

_MARKS = re.compile(
    r"<\|[\w ]{2,40}\|>"  # Llama 3's, ChatML's, Phi's
    r"|</?s>|\[/?INST\]|<</?SYS>>"  # Llama 2's, Mistral's
    r"|<(start|end)_of_turn>|<(bos|eos|pad|unk)>"  # Gemma's
    r"|\{%-? "  # a template that was not rendered
    r"|\A\s*(system|user|assistant)\s*\n"  # what is left of a header without its marks
)
_SHOWN = 160


class SmokeQuestion(BaseModel):
    """What a new version is asked before it serves."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    character: dict[str, Any] = Field(min_length=1, description="as the endpoint's field `character` takes it")
    question: str = Field(min_length=1)

    @classmethod
    def from_tag(cls, text: str) -> "SmokeQuestion":
        """The question that a tag holds. Raises `UserError`."""
        try:
            return cls.model_validate(json.loads(text))
        except (ValueError, ValidationError) as error:
            raise UserError(
                f"tag {SMOKE_TAG}: {error}", hint='expected {"character": {...}, "question": "..."} as JSON'
            ) from error

    def fitting(self, context: int | None) -> "SmokeQuestion":
        """This question, or the built-in one where a server of so small a context could not take it."""
        size = len(json.dumps(self.character, ensure_ascii=False)) + len(self.question)
        room = context is None or size / _CHARACTERS_PER_TOKEN + max_tokens(context) <= context
        return self if room else BUILT_IN

    def request(self, model: str, seed: int, context: int | None) -> dict[str, Any]:
        """The chat request, for a server of that context length. Special tokens stay in its answer, to be seen."""
        return {
            "model": model,
            "character": self.character,
            "messages": [{"role": "user", "content": self.question}],
            "max_tokens": max_tokens(context),
            "temperature": 0.7,
            "seed": seed,
            "skip_special_tokens": False,
        }


def max_tokens(context: int | None) -> int:
    """The longest answer that is asked for."""
    return _MAX_TOKENS if context is None else min(_MAX_TOKENS, context // 4)


BUILT_IN = SmokeQuestion(
    character={
        "name": "Odalys Quint",
        "age": "47",
        "birth_place": "a houseboat on the river Sorne",
        "experience": "Odalys repairs tower clocks. She has climbed every bell tower between the river and the sea.",
        "personality": "Patient and dry; she counts the seconds of a silence aloud.",
    },
    question="Who are you, and what did you repair last? Answer in two sentences.",
)
"""For models without a question of their own: a character that no data set holds."""


def fault_of(answer: Any) -> str | None:
    """What is wrong with a chat completion; none if nothing is."""
    try:
        choice = answer["choices"][0]
        text, end = choice["message"]["content"], choice["finish_reason"]
    except (KeyError, IndexError, TypeError):
        return f"the endpoint's answer is not a chat completion: {_shown(answer)}"
    if not isinstance(text, str) or is_blank(text):
        return "the answer is empty"
    if mark := _MARKS.search(text):
        return f"the answer holds a mark of the chat template, '{mark.group().strip()}': {_shown(text)}"
    return None if end == "stop" else f"the answer {cut(answer)}: {_shown(text)}"


def cut(answer: Any) -> str | None:
    """How an answer was cut; none if it ended by itself, or is not an answer. Another seed may end."""
    try:
        end = answer["choices"][0]["finish_reason"]
    except (KeyError, IndexError, TypeError):
        return None
    if end == "stop":
        return None
    return "was cut, since the model had not ended it" if end == "length" else f"ended for the reason '{end}'"


def _shown(value: Any) -> str:
    text = " ".join((value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)).split())
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


API_KEY = "OPENCHARACTER_API_KEY"
"""The environment variable with a key of the endpoint, where it asks for one."""

_ROUTE = "/openai/v1/chat/completions"
_NO_KEY = "invalid_api_key"
"""The endpoint's code for a call without a key that it knows."""
_SEEDS = range(5)
"""Draws before a cut answer counts: a sound small model leaves half of its longest answers unended."""
_RETRY_S = 5.0
_RETRIES = 12
"""A ready pod's endpoint takes some seconds to be known everywhere."""
_TIMEOUT_S = 300.0
_PASSING = {408, 425, 429}
"""Statuses below 500 that a server gives for now only."""


class _NoAnswer(Exception):
    """The endpoint does not answer (yet).

    `refused`: it never will answer this account. `final`: asking again is of no use. `slow`: it was waited for.
    `unreached`: the API server could not be reached, so the endpoint is not to blame.
    """

    def __init__(
        self,
        message: str,
        *,
        refused: bool = False,
        final: bool = False,
        slow: bool = False,
        unreached: bool = False,
    ) -> None:
        super().__init__(message)
        self.refused, self.final, self.slow, self.unreached = refused, final, slow, unreached


def ask(
    namespace: Namespace,
    service: str,
    model: str,
    question: SmokeQuestion,
    pause: Callable[[float], None],
    *,
    context: int | None = None,
) -> str:
    """The answer of a predictor's Service. Raises `RolloutFailed` with what is wrong with it.

    `context`: the server's context length in tokens, where it is not the model's own.
    """
    for seed in _SEEDS:
        answer = _answer(namespace, service, question.request(model, seed, context), pause)
        # A cut answer may be the draw's fault; all else is the model's.
        if cut(answer) is None or seed == _SEEDS[-1]:
            break
    if fault := fault_of(answer):
        raise RolloutFailed(
            f"{service} was asked '{question.question}': {fault}",
            reason="bad-answer",
            hint="compare the model's chat template and prompt with those of the version before",
        )
    return str(answer["choices"][0]["message"]["content"])


def _answer(namespace: Namespace, service: str, body: dict[str, Any], pause: Callable[[float], None]) -> Any:
    found = namespace.service(service) or {"spec": {}}
    port = _port(found)
    send = _directly if in_pod() else _through_server
    for attempt in range(_RETRIES + 1):
        try:
            return send(namespace, service, port, body)
        except _NoAnswer as error:
            if error.refused:
                raise RolloutFailed(
                    f"{service} is ready, but can't be asked: {error}",
                    reason="refused",
                    hint="the account needs the verb create on services/proxy, or deploy with --no-wait",
                ) from error
            if error.final:
                hint = f"{API_KEY} names the endpoint's key" if _NO_KEY in str(error) else None
                raise RolloutFailed(
                    f"{service} was asked, and answers {error}", reason="bad-answer", hint=hint
                ) from error
            if attempt == _RETRIES or (error.slow and attempt):
                reason: Reason = "cluster" if error.unreached else "bad-answer"
                raise RolloutFailed(f"{service} is ready, but does not answer: {error}", reason=reason) from error
        pause(_RETRY_S)
    raise AssertionError("unreachable")


def _port(service: dict[str, Any]) -> int:
    """A headless Service has no port of its own: its name leads to the pods."""
    spec = service["spec"]
    first = (spec.get("ports") or [{"port": 80}])[0]
    headless = spec.get("clusterIP") == "None"
    return int(first.get("targetPort", 8080)) if headless else int(first["port"])


def service_url(service: str, namespace: str, port: int) -> str:
    """Where a pod of the cluster reaches a Service."""
    return f"http://{service}.{namespace}:{port}"


def _headers() -> dict[str, str]:
    """Not `Authorization`: the API server takes that for its own, and does not pass it on."""
    key = os.environ.get(API_KEY)
    return {"X-Api-Key": key} if key else {}


def _directly(namespace: Namespace, service: str, port: int, body: dict[str, Any]) -> Any:
    import httpx

    url = service_url(service, namespace.name, port) + _ROUTE
    try:
        with httpx.Client(trust_env=False, timeout=httpx.Timeout(_TIMEOUT_S, connect=5)) as client:
            response = client.post(url, json=body, headers=_headers())
    except httpx.HTTPError as error:
        raise _NoAnswer(f"{url}: {error!r}", slow=isinstance(error, httpx.ReadTimeout)) from error
    if not response.is_success:
        passing = response.status_code >= 500 or response.status_code in _PASSING
        raise _NoAnswer(f"{response.status_code}: {response.text[:300]}", final=not passing)
    try:
        return response.json()
    except ValueError:
        return response.text  # not a chat completion


def _through_server(namespace: Namespace, service: str, port: int, body: dict[str, Any]) -> Any:
    from kubernetes.client import ApiException
    from urllib3.exceptions import HTTPError, ReadTimeoutError

    try:
        return namespace.post_through_server(service, port, _ROUTE, body, _headers())
    except ApiException as error:
        if _NO_KEY in str(error.body):
            raise _NoAnswer(f"{error.status}: {_NO_KEY}", final=True) from error
        reason = f"{error.status}: {words_of(error)}"
        if cause_of(error) in (Cause.LOGIN, Cause.RIGHTS):
            raise _NoAnswer(reason, refused=True) from error
        raise _NoAnswer(reason, final=cause_of(error) is Cause.INVALID) from error
    except HTTPError as error:
        slow = isinstance(error, ReadTimeoutError)
        raise _NoAnswer(str(error), slow=slow, unreached=not slow) from error
