"""Whether a character can answer: the model server is well, serves the model, and the character's prompt renders."""

import asyncio
import json
import logging
import time
from collections.abc import Callable

from opencharacter.serving.endpoint.api_errors import ApiError
from opencharacter.serving.endpoint.contract import Contract
from opencharacter.serving.endpoint.upstream import Upstream

_FRESH_S = 1.0
"""A probe asks no more often; who else asks gets the last answer."""
_PROBE = b'{"messages": [{"role": "user", "content": "Hello"}], "character": {"name": "Probe"}}'

_logger = logging.getLogger("kserve")


class Readiness:
    """Asks, and remembers for a moment. Each change is a line in the log, with its reason."""

    def __init__(self, upstream: Upstream, contract: Contract, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._upstream, self._contract, self._clock = upstream, contract, clock
        self._lock = asyncio.Lock()
        self._asked: float | None = None
        self._problem: str | None = "nobody has asked yet"

    async def check(self) -> bool:
        """Whether a request would be answered."""
        async with self._lock:
            if self._asked is None or self._clock() - self._asked >= _FRESH_S:
                self._note(await self._find_problem())
                self._asked = self._clock()
            return self._problem is None

    async def _find_problem(self) -> str | None:
        if not await self._upstream.ready():
            return "the model server is not ready"
        try:
            model = self._contract.chat(_PROBE, {}, strict=False).model
        except ApiError as error:
            return f"the prompt of a character cannot be rendered: {error.message}"
        try:
            listed, _ = await self._upstream.read("/v1/models", {})
            models = [each["id"] for each in json.loads(listed)["data"]]
        except ApiError as error:
            # A server that shows its models to nobody, or only to who has a key, may still serve them.
            return None if error.status < 500 else f"the model server does not list its models: {error.message}"
        except (ValueError, KeyError, TypeError):
            return "the model server's list of models cannot be read"
        return None if model in models else f"the model server does not serve '{model}'; it serves {', '.join(models)}"

    def _note(self, problem: str | None) -> None:
        if problem != self._problem:
            _logger.warning("not ready: %s", problem) if problem else _logger.info("ready")
        self._problem = problem
