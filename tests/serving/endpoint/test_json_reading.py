import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencharacter.serving.endpoint.api_errors import ApiError
from opencharacter.serving.endpoint.contract.json_reading import read_json
from opencharacter.serving.endpoint.settings import EndpointSettings

SETTINGS = EndpointSettings()


def refused(body: bytes) -> ApiError:
    with pytest.raises(ApiError) as caught:
        read_json(body, SETTINGS)
    return caught.value


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff", b'{"a": NaN}', b'{"a": -Infinity}', b'{"a": 1e999}', b'{"a": "\\ud800"}', b"{'a': 1}",
     b'{"a": "\xed\xa0\x80"}', b'\xef\xbb\xbf{"a": 1}', b'{"a": 1}{}', b'{"a": 1}\x00', b'{"a": "\n"}', b'{"a": 01}',
     '{"a": 1}'.encode("utf-16")],
    ids=repr,
)  # fmt: skip
def test_what_is_not_json_is_a_400(body: bytes) -> None:
    assert refused(body).status == 400


@pytest.mark.parametrize("body", [b"[]", b"7", b'"text"', b"null"])
def test_a_request_is_an_object(body: bytes) -> None:
    assert refused(body).status == 422


@pytest.mark.parametrize(
    "body",
    [b"[" * 4_000_000, b'{"a":' * 800_000, b'{"a":[' + b"[]," * 1_300_000 + b"[]]}",
     b'{"a":[' + b"0," * 2_000_000 + b"0]}", b"{" + b",".join(b'"k%d":0' % i for i in range(200_000)) + b"}",
     b'{"a":["' + b'","' * 1_000_000 + b'"]}'],
    ids=["brackets", "objects", "lists", "numbers", "keys", "texts"],
)  # fmt: skip
def test_a_body_of_very_many_values_is_refused_before_it_is_parsed(body: bytes) -> None:
    assert refused(body).status == 413


def test_a_long_text_with_many_commas_and_brackets_is_one_value() -> None:
    text = 'one, two, [three] {four}: "five" \\ ' * 20_000
    assert read_json(json.dumps({"text": text}).encode(), SETTINGS) == {"text": text}


def test_levels_are_limited_also_where_they_are_few_values() -> None:
    nested = b'{"a":' + b"[" * SETTINGS.max_json_depth + b"]" * SETTINGS.max_json_depth + b"}"
    assert "levels" in refused(nested).message
    read_json(nested.replace(b"[[", b"[", 1).replace(b"]]", b"]", 1), SETTINGS)


def test_a_key_is_short_except_in_a_schema() -> None:
    long = "k" * (SETTINGS.max_key_length + 1)
    for value in ({long: 1}, {"metadata": {long: 1}}, {"messages": [{"role": "user", long: 1}]}):
        error = refused(json.dumps(value).encode())
        assert error.status == 422
        assert len(error.message) < 200
    read_json(json.dumps({"response_format": {"json_schema": {"properties": {long: {}}}}}).encode(), SETTINGS)


@pytest.mark.parametrize(
    ("body", "key"),
    [(b'{"a":1,"a":2}', "a"), (b'{"a" :1, "b":[{"c":1,"c":1}]}', "c"), (b'{"a"\n:1,"\\u0061":2}', "a"),
     (b'{"a":1,"b":":1","a":2}', "a"), (b'{"a": {"b": "x", "b": "x"}, "text": "a :) b"}', "b")],
    ids=repr,
)  # fmt: skip
def test_a_key_that_stands_twice_is_refused(body: bytes, key: str) -> None:
    error = refused(body)
    assert (error.status, error.param) == (422, key)
    assert "twice" in error.message


@given(
    st.dictionaries(
        st.text(max_size=5),
        st.recursive(
            st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(st.sampled_from('":, {[]}\\a\n')),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
            max_leaves=8,
        ),
    ),
    st.sampled_from([None, 1]),
)
def test_any_object_without_doubled_keys_is_read_as_it_is(value: dict[str, object], indent: int | None) -> None:
    assert read_json(json.dumps(value, indent=indent).encode(), SETTINGS) == value
