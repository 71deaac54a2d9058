from typing import Any

import pytest
from support.object_store import BUCKET, ObjectStore

from opencharacter.errors import OpenCharacterError, UserError
from opencharacter.sources import fetch


@pytest.fixture
def client(s3_server: ObjectStore, s3_root: str) -> Any:
    return s3_server.client()


def test_an_object_is_cached_until_it_changes(client: Any) -> None:
    uri = f"s3://{BUCKET}/people/personas.jsonl"
    client.put_object(Bucket=BUCKET, Key="people/personas.jsonl", Body=b'{"persona": "a baker"}\n')
    first = fetch(uri)
    assert first.name == "personas.jsonl"
    assert first.read_bytes() == b'{"persona": "a baker"}\n'
    written = first.stat().st_mtime_ns
    assert fetch(uri) == first
    assert first.stat().st_mtime_ns == written
    client.put_object(Bucket=BUCKET, Key="people/personas.jsonl", Body=b'{"persona": "a sailor"}\n')
    assert fetch(uri).read_bytes() == b'{"persona": "a sailor"}\n'


def test_an_object_of_several_parts_arrives_whole(client: Any) -> None:
    body = bytes(range(256)) * 40_000  # more than one part of a transfer
    client.put_object(Bucket=BUCKET, Key="large", Body=body)
    path = fetch(f"s3://{BUCKET}/large")
    assert path.read_bytes() == body
    assert list(path.parent.iterdir()) == [path]


def test_what_is_missing_is_told(client: Any) -> None:
    with pytest.raises(UserError, match=rf"s3://{BUCKET}/absent.*no such key"):
        fetch(f"s3://{BUCKET}/absent")
    with pytest.raises(UserError, match="no such bucket"):
        fetch("s3://no-such-bucket/absent")
    with pytest.raises(UserError, match="expected one object"):
        fetch(f"s3://{BUCKET}/folder/")


def test_wrong_and_absent_credentials_are_told(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(UserError, match="refuses these credentials") as refused:
        fetch(f"s3://{BUCKET}/absent")
    assert "AWS_SECRET_ACCESS_KEY" in str(refused.value.hint)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(UserError, match="credentials"):
        fetch(f"s3://{BUCKET}/absent")


def test_an_unreachable_store_is_a_failure_not_a_mistake(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(OpenCharacterError, match="cannot be used") as failed:
        fetch(f"s3://{BUCKET}/absent")
    assert failed.value.exit_code == 1
