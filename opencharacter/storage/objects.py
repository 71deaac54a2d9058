"""Fetching objects from S3 or any store that speaks its protocol (`AWS_ENDPOINT_URL`)."""

import os
import tempfile
from pathlib import Path
from typing import Any

from opencharacter.errors import OpenCharacterError, UserError
from opencharacter.hashing import digest
from opencharacter.storage.cache import cache_folder

OBJECT_SCHEME = "s3://"

_CREDENTIALS_HINT = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; AWS_ENDPOINT_URL for other stores"


def fetch_object(uri: str) -> Path:
    """A copy of the object, cached by its ETag: an object that changed is fetched anew.

    Credentials, region and endpoint come from the environment, as in every AWS tool. Raises `UserError` for a wrong
    bucket, key or credential, `OpenCharacterError` if the store cannot be reached.
    """
    bucket, _, key = uri.removeprefix(OBJECT_SCHEME).partition("/")
    if not bucket or not key or key.endswith("/"):
        raise UserError(f"'{uri}': expected one object, s3://BUCKET/KEY")
    try:
        import boto3
        from botocore import exceptions
    except ImportError as error:
        raise UserError(f"'{uri}': reading s3:// needs boto3", hint="pip install 'opencharacter[inputs]'") from error
    try:
        # Not the default session, which keeps the credentials that it was first made with.
        client = boto3.Session().client("s3")
        head = client.head_object(Bucket=bucket, Key=key)
        address = digest([client.meta.endpoint_url, bucket, key, head["ETag"], head["ContentLength"]])
        target = cache_folder("inputs", "s3", address[:32]) / Path(key).name
        if not target.exists():
            _download(client, bucket, key, target)
        return target
    except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError, exceptions.ProfileNotFound) as error:
        raise UserError(f"'{uri}': {error}", hint=_CREDENTIALS_HINT) from error
    except exceptions.ClientError as error:
        raise _refusal(uri, bucket, error.response, client) from error
    except (exceptions.BotoCoreError, ValueError) as error:
        raise OpenCharacterError(f"'{uri}': the object store cannot be used: {error}") from error


def _download(client: Any, bucket: str, key: str, target: Path) -> None:
    with tempfile.TemporaryDirectory(prefix=".", dir=target.parent) as scratch:
        draft = Path(scratch) / "object"
        # A transfer of several parts is tied to one version of the object by its ETag.
        client.download_file(bucket, key, str(draft))
        os.replace(draft, target)


def _refusal(uri: str, bucket: str, response: Any, client: Any) -> OpenCharacterError:
    status = response["ResponseMetadata"]["HTTPStatusCode"]
    if status == 404:
        missing = "key" if _bucket_exists(client, bucket) else "bucket"
        return UserError(f"'{uri}': the object store has no such {missing}")
    if status in (400, 401, 403):
        return UserError(
            f"'{uri}': the object store refuses these credentials ({response['Error'].get('Message')})",
            hint=_CREDENTIALS_HINT,
        )
    return OpenCharacterError(f"'{uri}': the object store answers {status}: {response['Error'].get('Message')}")


def _bucket_exists(client: Any, bucket: str) -> bool:
    from botocore.exceptions import ClientError

    try:
        client.head_bucket(Bucket=bucket)
    except ClientError as error:
        return bool(error.response["ResponseMetadata"]["HTTPStatusCode"] != 404)
    return True
