"""Access by API key: whose a request is, and whether that key has enough left."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from opencharacter.serving.endpoint.access.key_file import KeyFile
from opencharacter.serving.endpoint.access.keys import ApiKey, KeyRules
from opencharacter.serving.endpoint.access.queue import RequestQueue
from opencharacter.serving.endpoint.access.quotas import DAY, Counters, Quota, Taken, Usage
from opencharacter.serving.endpoint.api_errors import ApiError
from opencharacter.serving.endpoint.call import Call

_BYTES_A_TOKEN = 4
"""Of a request's JSON, for a first guess at its prompt."""
_USUAL_ANSWER_TOKENS: Final = 512
"""Reserved for an answer whose request sets no `max_tokens`."""
_LONGEST_WAIT_S = 60
"""The stock clients wait no longer than this before they try again."""


class KeyAccess:
    """Lets in who bears a key, or everybody where there are none, as far as quotas and the queue allow."""

    def __init__(self, keys: KeyFile | None, counters: Counters, queue: RequestQueue) -> None:
        self._keys = keys
        self.counters, self.queue = counters, queue
        self.in_flight: Counter[str] = Counter()
        """By key."""
        self._watch = asyncio.create_task(keys.watch()) if keys else None

    async def admit(self, headers: Mapping[str, str], client: str) -> "KeyPermit":
        """See `Access`."""
        if self._keys is None:
            return KeyPermit(self, None)
        rules = self._keys.table.find(_secret(headers))
        if rules is None:
            raise _unknown_key()
        permit = KeyPermit(self, rules)
        await permit.count_request()
        return permit

    async def close(self) -> None:
        """See `Access`."""
        if self._watch:
            self._watch.cancel()
        await self.counters.close()


class KeyPermit:
    """One admitted request."""

    def __init__(self, access: KeyAccess, rules: KeyRules | None) -> None:
        self._access, self._rules = access, rules
        self._key = rules.key if rules else None
        self._owner = rules.key.hash if rules else ""
        self._requests: Taken | None = None
        self._tokens: Taken | None = None
        self._prompt_guess = 0
        self._counted = self._entered = False

    @property
    def key_id(self) -> str | None:
        """See `Permit`."""
        return self._key.id if self._key else None

    @property
    def strict(self) -> bool | None:
        """See `Permit`."""
        return self._key.strict if self._key else None

    async def count_request(self) -> None:
        """Take one request of the key's quota. Raises `ApiError` (429)."""
        if self._rules and self._rules.requests:
            self._requests = await self._access.counters.take(self._owner, self._rules.requests, 1)
            self._refuse_overdrawn(self._requests)

    async def spend(self, call: Call) -> None:
        """See `Permit`."""
        if self._rules:
            _require_allowed(self._rules.key, call)
            self._count_in_flight(self._rules)
            if quotas := self._rules.tokens:
                self._prompt_guess = len(call.body) // _BYTES_A_TOKEN
                amount = _reserved(call, self._prompt_guess, quotas)
                tokens = await self._access.counters.take(self._owner, quotas, amount)
                self._refuse_overdrawn(tokens)
                self._tokens = tokens
        await self._access.queue.enter()
        self._entered = True

    async def settle(self, prompt_tokens: int, completion_tokens: int, *, cut: bool = False) -> None:
        """See `Permit`."""
        if self._entered:
            self._entered = False
            self._access.queue.leave()
        if self._counted and self._key:
            self._counted = False
            self._access.in_flight[self._key.id] -= 1
        if self._tokens:
            tokens, self._tokens = self._tokens, None
            if cut and not prompt_tokens:
                prompt_tokens = self._prompt_guess
            await self._access.counters.correct(self._owner, tokens, prompt_tokens + completion_tokens)

    def headers(self) -> dict[str, str]:
        """What is left, in the headers that OpenAI's API has."""
        headers: dict[str, str] = {}
        for taken in (self._requests, self._tokens):
            if taken:
                headers |= _rate_headers(taken.usages[0])
        return headers

    def _count_in_flight(self, rules: KeyRules) -> None:
        limit = rules.max_in_flight
        if limit is None:
            return
        if self._access.in_flight[rules.key.id] >= limit:
            raise ApiError(
                429,
                f"this key has {limit} requests under way, its limit",
                code="rate_limit_exceeded",
                kind="requests",
                retry_after_s=1,
            )
        self._access.in_flight[rules.key.id] += 1
        self._counted = True

    def _refuse_overdrawn(self, taken: Taken) -> None:
        if taken.refused is None:
            return
        error = _overdrawn(taken.refused, taken.amount)
        error.headers |= self.headers() | _rate_headers(taken.refused)
        raise error


def _secret(headers: Mapping[str, str]) -> str:
    """The key of a request; `X-Api-Key` is for callers behind a proxy that keeps `Authorization` for itself."""
    scheme, _, secret = headers.get("authorization", "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")


def _unknown_key() -> ApiError:
    error = ApiError(401, "no valid API key; expected the header `Authorization: Bearer KEY`", code="invalid_api_key")
    error.headers["WWW-Authenticate"] = "Bearer"
    return error


def _require_allowed(key: ApiKey, call: Call) -> None:
    if key.models is not None and call.model not in key.models:
        raise ApiError(403, f"this key may not use the model '{call.model}'", param="model", code="model_not_allowed")
    if key.characters is not None and call.character_id not in key.characters:
        raise ApiError(
            403,
            "this key may use characters of the library only, those that it lists",
            param="character",
            code="character_not_allowed",
        )


def _reserved(call: Call, prompt_guess: int, quotas: Sequence[Quota]) -> int:
    """Tokens that a call may cost; no more than the quotas hold where the request does not say."""
    if call.max_tokens is not None:
        return prompt_guess + call.choices * call.max_tokens
    return min(prompt_guess + call.choices * _USUAL_ANSWER_TOKENS, *(quota.limit for quota in quotas))


def _overdrawn(usage: Usage, amount: int) -> ApiError:
    quota = usage.quota
    error = ApiError(
        429,
        f"{quota.name} of this key: limit {quota.limit}, used {min(usage.used, quota.limit)}, requested {amount}; "
        + (f"try again in {usage.reset_s} s" if amount <= quota.limit else "ask for fewer tokens"),
        code="insufficient_quota" if quota.period_s == DAY else "rate_limit_exceeded",
        kind=quota.unit,
        retry_after_s=usage.reset_s if amount <= quota.limit else None,
    )
    if amount > quota.limit or usage.reset_s > _LONGEST_WAIT_S:
        error.headers["X-Should-Retry"] = "false"  # the stock clients try no more then
    return error


def _rate_headers(usage: Usage) -> dict[str, str]:
    prefix, unit = "x-ratelimit", usage.quota.unit
    minutes, seconds = divmod(usage.reset_s, 60)
    return {
        f"{prefix}-limit-{unit}": str(usage.quota.limit),
        f"{prefix}-remaining-{unit}": str(max(0, usage.quota.limit - usage.used)),
        f"{prefix}-reset-{unit}": f"{minutes}m{seconds}s" if minutes else f"{seconds}s",
    }
