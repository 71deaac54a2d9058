"""Streams passed on by bytes: whole events, and the usage of tokens read out of them."""

import json

import pytest

from opencharacter.serving.endpoint.events import EventRelay, tokens_of


def event(delta: str | None, **more: object) -> bytes:
    choices = [] if delta is None else [{"index": 0, "delta": {"content": delta}}]
    return b"data: " + json.dumps({"id": "x", "choices": choices, **more}).encode() + b"\n\n"


USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
DONE = b"data: [DONE]\n\n"
STREAM = event("one") + event('says "usage" and {"usage": {}}\n\n') + event(None, usage=USAGE) + DONE
PASSED = event("one") + event('says "usage" and {"usage": {}}\n\n') + DONE


def relayed(relay: EventRelay, stream: bytes, size: int) -> list[bytes]:
    return [relay.feed(stream[start : start + size]) for start in range(0, len(stream), size)]


@pytest.mark.parametrize("size", [1, 2, 7, 100, 10_000])
@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n"])
def test_whole_events_pass_and_the_usage_is_taken_out(size: int, end: bytes) -> None:
    relay = EventRelay(usage_wanted=False)
    pieces = relayed(relay, STREAM.replace(b"\n\n", end), size)
    assert b"".join(pieces) == PASSED.replace(b"\n\n", end)
    assert all(not piece or piece.endswith(end) for piece in pieces)
    assert (relay.prompt_tokens, relay.completion_tokens) == (7, 3)
    assert relay.done
    assert not relay.failed


def test_a_usage_that_was_asked_for_passes() -> None:
    relay = EventRelay(usage_wanted=True)
    assert b"".join(relayed(relay, STREAM, 50)) == STREAM
    assert (relay.prompt_tokens, relay.completion_tokens) == (7, 3)


def test_a_usage_beside_a_choice_passes_unchanged() -> None:
    relay = EventRelay(usage_wanted=False)
    told = event("one", usage=None) + event("two", usage=USAGE)
    assert relay.feed(told) == told
    assert relay.completion_tokens == 3


def test_events_are_counted_for_streams_that_are_cut() -> None:
    relay = EventRelay(usage_wanted=False)
    relay.feed(event("one") + event("two"))
    relay.feed(event("three") + b"data: {")
    assert (relay.count, relay.done) == (3, False)


def test_an_error_of_the_model_server_is_seen() -> None:
    relay = EventRelay(usage_wanted=False)
    relay.feed(event("one"))
    relay.feed(b'data: {"error": {"message": "broken"}}\n\n' + DONE)
    assert relay.failed


@pytest.mark.parametrize("usage", [None, [], "x", {}, {"prompt_tokens": "7"}, {"completion_tokens": None}])
def test_figures_that_are_none_count_as_zero(usage: object) -> None:
    assert tokens_of(usage) == (0, 0)
