"""Who is measured: one name may stand for several models."""

from pathlib import Path

import pytest
from support.weights import write_model_folder

from opencharacter.engines import EngineConfig
from opencharacter.engines.engine_config import OWN_SERVER_TIMEOUT_S, RequestConfig
from opencharacter.evaluation.references import load_engines, read_references
from opencharacter.evaluation.subjects import is_same_model, load_judge, load_subject

ENDPOINTS = [
    "http://127.0.0.1:8001/v1#model",
    "http://127.0.0.1:8002/v1#model",
    "https://models.example.com/challenger/v1#model",
    "https://models.example.com/champion/v1#model",
]


def test_two_servers_that_give_one_name_to_their_models_are_two_models() -> None:
    identities = {load_subject(f"m{place}", url).identity for place, url in enumerate(ENDPOINTS)}
    assert len(identities) == len(ENDPOINTS)


@pytest.mark.parametrize("url", ENDPOINTS)
def test_a_judge_and_a_model_of_one_endpoint_are_the_same(url: str) -> None:
    subject = load_subject("m", url)
    assert subject.engine is not None
    assert load_judge("j", subject.engine).identity == subject.identity
    assert [is_same_model(load_judge("j", subject.engine), load_subject("m", each)) for each in ENDPOINTS] == [
        each == url for each in ENDPOINTS
    ]


def test_a_model_that_is_asked_in_another_way_as_a_judge_is_the_same(tmp_path: Path) -> None:
    request = RequestConfig(add={"reasoning_effort": "low"})
    weights = load_subject("m", str(write_model_folder(tmp_path / "model")))
    assert is_same_model(load_judge("j", EngineConfig(model="j", weights=weights.reference, request=request)), weights)
    there = EngineConfig(model="model", base_url="http://127.0.0.1:8001/v1", request=request)
    assert is_same_model(load_judge("j", there), load_subject("m", ENDPOINTS[0]))


def test_a_judge_of_weights_is_known_by_the_digest_of_a_model_with_them(tmp_path: Path) -> None:
    folder = write_model_folder(tmp_path / "model")
    subject = load_subject("m", str(folder))
    judges = [
        load_judge("j", EngineConfig(model="judge", weights=str(folder), **more))
        for more in ({}, {"request": {"omit": ["seed"]}})
    ]
    assert {judge.identity for judge in judges} == {f"judge@{subject.identity}"}
    assert all(is_same_model(judge, subject) for judge in judges)
    other = write_model_folder(tmp_path / "other")
    (other / "config.json").write_text('{"a": 1}')
    assert not is_same_model(judges[0], load_subject("o", str(other)))


def test_no_identity_holds_what_stands_before_the_host() -> None:
    assert "secret" not in load_subject("m", "https://user:secret@models.example.com/v1#model").identity


def test_a_judge_of_our_own_may_take_its_time_on_a_slow_machine() -> None:
    (named,) = read_references(["work/judge"], "--judge", load_engines(None), api_key_env=None)
    assert named.asked.timeout_s == OWN_SERVER_TIMEOUT_S
    (endpoint,) = read_references(["https://api.example.com/v1#m"], "--judge", load_engines(None), api_key_env=None)
    assert endpoint.asked.timeout_s < OWN_SERVER_TIMEOUT_S
