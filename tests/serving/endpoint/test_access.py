"""Who may call, and how much: keys, their limits, and the queue before the model server."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from opencharacter.errors import UserError
from opencharacter.serving.endpoint.access import check_access, make_access, new_key
from opencharacter.serving.endpoint.access.key_access import KeyAccess
from opencharacter.serving.endpoint.access.queue import RequestQueue
from opencharacter.serving.endpoint.api_errors import ApiError
from opencharacter.serving.endpoint.call import Call
from opencharacter.serving.endpoint.settings import EndpointSettings

(SECRET, KEY), (OTHER_SECRET, OTHER_KEY) = new_key("web"), new_key("o")
HASH, OTHER_HASH = KEY.hash, OTHER_KEY.hash
CALL = Call(path="/v1/chat/completions", body=b"x" * 40, stream=True, model="bard", max_tokens=50)  # 10 and 50 tokens

Make = Callable[..., KeyAccess]


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    """Makes an access with a key `web` of these limits."""
    made = []

    def access(settings: EndpointSettings = EndpointSettings(), **key: object) -> KeyAccess:  # noqa: B008
        file = tmp_path / "keys.yaml"
        file.write_text(yaml.safe_dump({"keys": [{"id": "web", "hash": HASH, **key}, {"id": "o", "hash": OTHER_HASH}]}))
        made.append(make_access(replace(settings, api_keys_file=file)))
        return made[-1]

    yield access
    for each in made:
        await each.close()


def bearer(secret: str = SECRET) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"}


async def refusal(work: object) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await work  # type: ignore[misc]
    return caught.value


async def test_without_a_keys_file_everybody_may_call() -> None:
    access = make_access(EndpointSettings())
    permit = await access.admit({}, "10.0.0.1")
    await permit.spend(CALL)
    await permit.settle(1, 1)
    assert (permit.key_id, permit.strict, permit.headers()) == (None, None, {})


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer "},
        bearer(SECRET[:-1]),
        bearer(SECRET + "x"),
        bearer(HASH),
        bearer("\udcff"),
        {"authorization": f"Basic {SECRET}"},
        {"authorization": SECRET},
    ],
)
async def test_who_has_no_key_is_told_so_in_openais_form(make: Make, headers: dict[str, str]) -> None:
    error = await refusal(make().admit(headers, ""))
    assert (error.status, error.body["error"]["code"]) == (401, "invalid_api_key")
    assert error.headers["WWW-Authenticate"] == "Bearer"
    assert SECRET[3:12] not in error.message


async def test_a_key_is_known_by_its_name_and_asks_for_its_own_strictness(make: Make) -> None:
    access = make(strict=True)
    for scheme in ("Bearer", "bearer"):
        permit = await access.admit({"authorization": f"{scheme} {SECRET}"}, "")
        assert (permit.key_id, permit.strict) == ("web", True)
    assert (await access.admit({"x-api-key": SECRET}, "")).key_id == "web"
    assert (await access.admit(bearer(OTHER_SECRET), "")).strict is None


async def test_requests_beyond_the_rate_get_openais_429(make: Make) -> None:
    access = make(requests_per_minute=2)
    first = await access.admit(bearer(), "")
    assert first.headers()["x-ratelimit-limit-requests"] == "2"
    assert first.headers()["x-ratelimit-remaining-requests"] == "1"
    assert first.headers()["x-ratelimit-reset-requests"].endswith("s")
    await access.admit(bearer(), "")
    error = await refusal(access.admit(bearer(), ""))
    assert (error.status, error.body["error"]["type"]) == (429, "requests")
    assert error.body["error"]["code"] == "rate_limit_exceeded"
    assert 0 < int(error.headers["Retry-After"]) <= 60
    assert error.headers["x-ratelimit-remaining-requests"] == "0"
    await access.admit(bearer(OTHER_SECRET), "")


async def test_limits_of_the_endpoint_are_for_keys_without_their_own(make: Make) -> None:
    access = make(EndpointSettings(requests_per_minute=1), requests_per_minute=2)
    for _ in range(2):
        await access.admit(bearer(), "")
    await access.admit(bearer(OTHER_SECRET), "")
    assert (await refusal(access.admit(bearer(OTHER_SECRET), ""))).status == 429


async def test_tokens_are_reserved_and_booked_as_used(make: Make) -> None:
    access = make(tokens_per_day=100)
    first, second = await access.admit(bearer(), ""), await access.admit(bearer(), "")
    await first.spend(CALL)  # 60
    refused = await refusal(second.spend(CALL))
    assert refused.body["error"]["code"] == "insufficient_quota"
    assert refused.headers["X-Should-Retry"] == "false", "no client waits until tomorrow"
    await second.settle(0, 0)
    await first.settle(10, 5)
    third = await access.admit(bearer(), "")
    await third.spend(CALL)
    assert third.headers()["x-ratelimit-remaining-tokens"] == "25"


async def test_who_leaves_pays_for_the_prompt_and_what_came(make: Make) -> None:
    access = make(tokens_per_day=100)
    permit = await access.admit(bearer(), "")
    await permit.spend(CALL)
    await permit.settle(0, 7, cut=True)
    after = await access.admit(bearer(), "")
    await after.spend(replace(CALL, body=b"", max_tokens=0))
    assert after.headers()["x-ratelimit-remaining-tokens"] == "83"


async def test_a_request_larger_than_its_quota_is_not_told_to_wait(make: Make) -> None:
    permit = await make(tokens_per_minute=50).admit(bearer(), "")
    error = await refusal(permit.spend(CALL))
    assert (error.status, "Retry-After" in error.headers) == (429, False)
    assert error.headers["X-Should-Retry"] == "false"
    await permit.spend(replace(CALL, max_tokens=None))  # it does not say how long; it may be short


async def test_many_choices_cost_many_answers(make: Make) -> None:
    permit = await make(tokens_per_minute=1000).admit(bearer(), "")
    await permit.spend(replace(CALL, choices=16))
    assert permit.headers()["x-ratelimit-remaining-tokens"] == str(1000 - 10 - 16 * 50)


async def test_a_key_may_have_so_many_requests_under_way(make: Make) -> None:
    access = make(max_in_flight=1)
    first, second = await access.admit(bearer(), ""), await access.admit(bearer(), "")
    await first.spend(CALL)
    assert (await refusal(second.spend(CALL))).headers["Retry-After"] == "1"
    await second.settle(0, 0)
    await first.settle(1, 1)
    third = await access.admit(bearer(), "")
    await third.spend(CALL)


async def test_a_key_may_be_bound_to_models_and_characters(make: Make) -> None:
    access = make(models=["bard"], characters=["ilse"])
    permit = await access.admit(bearer(), "")
    await permit.spend(replace(CALL, character_id="ilse"))
    for call, param in (
        (replace(CALL, model="other", character_id="ilse"), "model"),
        (replace(CALL, character_id="rival"), "character"),
        (CALL, "character"),
    ):
        error = await refusal((await access.admit(bearer(), "")).spend(call))
        assert (error.status, error.param) == (403, param)


async def test_the_queue_is_first_come_first_served_and_bounded() -> None:
    queue = RequestQueue(max_in_flight=1, max_queued=2, timeout_s=60)
    await queue.enter()
    entered: list[int] = []

    async def wait(number: int) -> None:
        await queue.enter()
        entered.append(number)

    waiting = [asyncio.create_task(wait(number)) for number in (1, 2)]
    await asyncio.sleep(0)
    error = await refusal(queue.enter())
    assert (error.status, error.headers["Retry-After"], error.body["error"]["code"]) == (429, "2", "overloaded")
    for task in waiting:
        queue.leave()
        await task
    assert entered == [1, 2]
    queue.leave()
    assert (queue.in_flight, queue.queued) == (0, 0)


async def test_who_waits_too_long_or_leaves_keeps_no_place() -> None:
    queue = RequestQueue(max_in_flight=1, max_queued=2, timeout_s=0)
    await queue.enter()
    assert (await refusal(queue.enter())).status == 429
    patient = RequestQueue(max_in_flight=1, max_queued=2, timeout_s=60)
    await patient.enter()
    left, cut = asyncio.create_task(patient.enter()), asyncio.create_task(patient.enter())
    await asyncio.sleep(0)
    left.cancel()
    patient.leave()  # the place goes to who has just left, and on to the next
    await asyncio.gather(left, return_exceptions=True)
    await cut
    patient.leave()
    assert (patient.in_flight, patient.queued, queue.queued) == (0, 0, 0)


async def test_a_place_is_given_back_by_every_end(make: Make) -> None:
    access = make(EndpointSettings(max_in_flight=1, max_queued=0))
    for _ in range(3):
        permit = await access.admit(bearer(), "")
        await permit.spend(CALL)
        await permit.settle(0, 0)
    refused = await access.admit(bearer(), "")
    held = await access.admit(bearer(), "")
    await held.spend(CALL)
    await refusal(refused.spend(CALL))
    await refused.settle(0, 0)
    assert access.queue.in_flight == 1


async def test_a_changed_keys_file_is_read_and_a_broken_one_is_not(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    access, file = make(), tmp_path / "keys.yaml"
    assert access._keys is not None
    swapped = tmp_path / "next.yaml"  # as Kubernetes changes a mounted Secret: another file takes its place
    swapped.write_text(yaml.safe_dump({"keys": [{"id": "new", "hash": OTHER_HASH}]}))
    swapped.replace(file)
    await access._keys.refresh()
    assert (await refusal(access.admit(bearer(), ""))).status == 401
    assert (await access.admit(bearer(OTHER_SECRET), "")).key_id == "new"
    file.write_text("keys: []\n")
    await access._keys.refresh()
    assert (await access.admit(bearer(OTHER_SECRET), "")).key_id == "new"
    for content in (b"keys: \xff", b"[" * 20_000, b"keys: &a [*a]"):
        file.write_bytes(content)
        await access._keys.refresh()
    file.unlink()
    await access._keys.refresh()
    assert (await access.admit(bearer(OTHER_SECRET), "")).key_id == "new"
    assert caplog.text.count("the API keys stay as they were") == 5


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("keys: []", "at least 1"),
        (f"keys: [{{id: Web, hash: '{HASH}'}}]", "id"),
        (f"keys: [{{id: web, hash: '{SECRET}'}}]", "hash"),
        (f"keys: [{{id: web, hash: '{HASH}', requests_per_minute: 0}}]", "requests_per_minute"),
        (f"keys: [{{id: web, hash: '{HASH}', tokens: 5}}]", "tokens"),
        (f"keys: [{{id: a, hash: '{HASH}'}}, {{id: a, hash: '{OTHER_HASH}'}}]", "more than one key has the id a"),
        (f"keys: [{{id: a, hash: '{HASH}'}}, {{id: b, hash: '{HASH}'}}]", "more than one key has the hash"),
        ("# " + "x" * (1 << 20), "larger than"),
    ],
    ids=["none", "id", "hash", "limit", "unknown", "same id", "same hash", "size"],  # the keys are random
)
def test_a_bad_keys_file_is_refused_at_the_start(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "keys.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match=told) as caught:
        check_access(EndpointSettings(api_keys_file=file))
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (EndpointSettings(requests_per_minute=5), "there are no keys"),
        (EndpointSettings(tokens_per_day=0), "tokens_per_day of keys must be at least 1"),
        (EndpointSettings(max_in_flight=0), "max_in_flight"),
        (EndpointSettings(api_keys_file=Path("/nowhere/keys.yaml")), "/nowhere/keys.yaml"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(settings: EndpointSettings, told: str) -> None:
    with pytest.raises(UserError, match=told):
        check_access(settings)
