"""Whether a character can answer: the model server is well, serves the model, and the character's prompt renders."""

import asyncio
import json
import logging
import math
import time
from collections.abc import Callable

from opencharacter.serving.endpoint.api_errors import ApiError
from opencharacter.serving.endpoint.contract import Contract
from opencharacter.serving.endpoint.upstream import Upstream

_FRESH_S = 5.0
"""For which a good answer on model and prompt holds; whether the model server is well is asked each time."""
_PROBE = b'{"messages": [{"role": "user", "content": "Hello"}], "character": {"name": "Probe"}}'

_logger = logging.getLogger("kserve")


class Readiness:
    """Each change is a line in the log, with its reason."""

    def __init__(self, upstream: Upstream, contract: Contract, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._upstream, self._contract, self._clock = upstream, contract, clock
        self._lock = asyncio.Lock()
        self._fresh_until = -math.inf
        self._problem: str | None = "nobody has asked yet"

    async def check(self) -> bool:
        """Whether a request would be answered."""
        problem: str | None = "the model server is not ready"
        if await self._upstream.ready():
            async with self._lock:
                problem = None
                if self._clock() >= self._fresh_until:
                    problem = await self._find_problem()
                    if problem is None:
                        self._fresh_until = self._clock() + _FRESH_S
        self._note(problem)
        return problem is None

    async def _find_problem(self) -> str | None:
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
