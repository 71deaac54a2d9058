"""Measures take turns: each says what it asks of models and judges, and waits for the replies."""

from collections.abc import Iterator, Sequence
from typing import Any

from opencharacter.evaluation.judge_calls import is_unusable
from opencharacter.evaluation.losses import ForwardPasses
from opencharacter.evaluation.measures.protocol import ATTEMPTS, Asking, JudgeCall, LossCall, Measured, Request
from opencharacter.evaluation.subjects import Judge, Subject
from opencharacter.evaluation.suite_run import SuiteRun
from opencharacter.storage.rowstore import RowStore

Target = Judge | Subject
"""Who answers a request."""


class Turn:
    """A measure at work: what it waits for, and what it found."""

    def __init__(self, run: SuiteRun, asking: Asking[Measured], passes: ForwardPasses) -> None:
        self.run = run
        self.found = Measured()
        self.awaited: dict[str, Target] = {}
        """Whose replies are outstanding, in the order in which they were named."""
        self._asking = asking
        self._passes = passes
        self._requests: Sequence[Request] = ()

    def advance(self, store: RowStore | None) -> bool:
        """Send what was found, and take the next requests; False when the measure is done."""
        replies = None if store is None else [self._read(request, store) for request in self._requests]
        try:
            requests = next(self._asking) if replies is None else self._asking.send(replies)
            while not requests:
                requests = self._asking.send([])
        except StopIteration as end:
            self.found = end.value
            return False
        self._requests = requests
        self.awaited = {_key(request): _target(request) for request in requests}
        return True

    def requests_to(self, key: str) -> Iterator[Any]:
        """The outstanding requests to a model or judge."""
        if key in self.awaited:
            yield from (request for request in self._requests if _key(request) == key)

    def _read(self, request: Request, store: RowStore) -> dict[str, Any]:
        if isinstance(request, LossCall):
            return store.read(self._passes.row_id(request.subject, request.messages))
        attempt = next((n for n in range(1, ATTEMPTS) if not is_unusable(request, n, store)), ATTEMPTS)
        return store.read(request.attempt(attempt).content.row_id)


def _target(request: Request) -> Target:
    return request.judge if isinstance(request, JudgeCall) else request.subject


def _key(request: Request) -> str:
    return f"judge {request.judge.name}" if isinstance(request, JudgeCall) else f"model {request.subject.identity}"
