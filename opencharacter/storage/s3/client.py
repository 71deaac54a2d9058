"""The one place that speaks to an object store: clients, retries, transfers, and errors in words.

Credentials, region and endpoint come from the environment, as in every AWS tool.
"""

import functools
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from opencharacter.errors import OpenCharacterError, UserError

OBJECT_SCHEME = "s3://"
DIGEST_METADATA = "sha256"
"""Metadata of each object that `upload` writes: SHA-256 of its content, in hex."""

PART_BYTES = 16 << 20
"""Larger files travel in parts of this size (larger parts where there would be too many of them)."""
_THREADS = 8
_MAX_ATTEMPTS = "8"
_CONNECT_S, _READ_S = 10, 60
_CONFLICTS = 5
_BATCH = 1000

_CREDENTIALS_HINT = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; AWS_ENDPOINT_URL for other stores"
_PERMISSIONS_HINT = (
    "needed on the bucket: s3:ListBucket, and on its objects: s3:GetObject, s3:PutObject, s3:DeleteObject"
)
_REGION_CODES = {"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}
_CREDENTIAL_CODES = {"400", "401", "403", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"}


class NoSuchBucket(UserError):
    """The store answers, and has no bucket of that name."""


class Stored(NamedTuple):
    """A small object as it was read; `age_s` is by the store's own clock, to the second."""

    data: bytes
    etag: str
    age_s: float


class Listed(NamedTuple):
    """An object of a listing; `key` is relative to the store's prefix."""

    key: str
    etag: str
    size: int


class ObjectStore:
    """The objects below `s3://BUCKET/PREFIX`; keys are relative to that prefix.

    Throttling (503), dropped connections and time-outs are tried again with growing waits (`AWS_MAX_ATTEMPTS`, 8
    unless set). What then fails is an `OpenCharacterError`; a wrong bucket, region or credential is a `UserError`.
    """

    def __init__(self, uri: str) -> None:
        self.bucket, _, prefix = uri.removeprefix(OBJECT_SCHEME).partition("/")
        if not self.bucket:
            raise UserError(f"'{uri}': expected s3://BUCKET/PREFIX")
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._client = _client(uri)

    def uri(self, key: str = "") -> str:
        """The address of a key, or of the store's prefix."""
        return f"{OBJECT_SCHEME}{self.bucket}/{self._prefix}{key}".rstrip("/")

    @property
    def endpoint(self) -> str:
        """The address of the server."""
        return str(self._client.meta.endpoint_url)

    def get(self, key: str) -> Stored | None:
        """A small object, or None where there is none."""
        from botocore.exceptions import ClientError, HTTPClientError, IncompleteReadError

        with self._told(key):
            for left in reversed(range(int(_MAX_ATTEMPTS))):
                try:
                    found = self._client.get_object(Bucket=self.bucket, Key=self._prefix + key)
                    return Stored(found["Body"].read(), found["ETag"], _age(found))
                except ClientError as error:
                    if error.response["Error"]["Code"] == "NoSuchKey":
                        return None
                    raise
                except (HTTPClientError, IncompleteReadError):
                    # The client's own retries end where the answer's body begins.
                    if not left:
                        raise
        raise AssertionError("unreachable")

    def put(self, key: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str | None:
        """Write a small object, all of it or nothing, and return its ETag.

        With `if_absent`, or with the ETag that the object must have, None says that the condition did not hold, and
        nothing was written.
        """
        from botocore.exceptions import ClientError

        condition = {"IfNoneMatch": "*"} if if_absent else {"IfMatch": if_match} if if_match else {}
        with self._told(key):
            for left in reversed(range(_CONFLICTS)):
                try:
                    made = self._client.put_object(Bucket=self.bucket, Key=self._prefix + key, Body=data, **condition)
                    return str(made["ETag"])
                except ClientError as error:
                    status = _status(error.response)
                    if condition and status == 409 and left:  # another conditional write of this object is under way
                        time.sleep(0.1)
                    elif condition and (status == 412 or error.response["Error"]["Code"] == "NoSuchKey"):
                        break
                    else:
                        raise
        # After a dropped answer the client has tried again, and may have met the object that this call had written.
        found = self.get(key)
        return found.etag if found is not None and found.data == data else None

    def head(self, key: str) -> dict[str, Any] | None:
        """What the store tells of an object (ContentLength, ETag, Metadata), or None where there is none."""
        from botocore.exceptions import ClientError

        with self._told(key):
            try:
                told: dict[str, Any] = self._client.head_object(Bucket=self.bucket, Key=self._prefix + key)
                return told
            except ClientError as error:
                if _status(error.response) == 404 and self._bucket_exists():
                    return None
                raise

    def below(self, prefix: str) -> list[Listed]:
        """All objects whose key begins with `prefix`, sorted by key."""
        with self._told(prefix):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=self._prefix + prefix
            )
            return [
                Listed(each["Key"].removeprefix(self._prefix), each["ETag"], each["Size"])
                for page in pages
                for each in page.get("Contents", ())
            ]

    def folders(self, prefix: str) -> list[str]:
        """The names between `prefix` (which ends in `/`) and the next `/` of the keys below it, sorted."""
        whole = self._prefix + prefix
        with self._told(prefix):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=whole, Delimiter="/"
            )
            found = [each["Prefix"] for page in pages for each in page.get("CommonPrefixes", ())]
        return sorted(name.removeprefix(whole).rstrip("/") for name in found)

    def delete(self, keys: Iterable[str]) -> None:
        """Remove objects; absent ones do not matter."""
        names = [{"Key": self._prefix + key} for key in keys]
        for start in range(0, len(names), _BATCH):
            batch = names[start : start + _BATCH]
            with self._told(batch[0]["Key"].removeprefix(self._prefix)):
                answer = self._client.delete_objects(Bucket=self.bucket, Delete={"Objects": batch, "Quiet": True})
            if failed := answer.get("Errors"):
                raise OpenCharacterError(
                    f"'{OBJECT_SCHEME}{self.bucket}/{failed[0]['Key']}' cannot be deleted: {failed[0].get('Message')}",
                    hint=_PERMISSIONS_HINT,
                )

    def upload(self, folder: Path, prefix: str, files: Iterable[tuple[str, str]]) -> None:
        """Write files of a folder below `prefix`: in parts, by several threads, each part with a checksum.

        `files` are their relative names and SHA-256 digests; the digest becomes the object's metadata.
        """
        with self._told(prefix), self._transfers() as transfers:
            started = [
                transfers.upload(
                    str(folder / name),
                    self.bucket,
                    f"{self._prefix}{prefix}/{name}",
                    extra_args={"Metadata": {DIGEST_METADATA: sha256}},
                )
                for name, sha256 in files
            ]
            for each in started:
                each.result()

    def download(self, keys: Iterable[tuple[str, Path]]) -> None:
        """Copy objects to local files, each of which appears whole or not at all; folders are made."""
        with self._told(""), self._transfers() as transfers:
            started = []
            for key, path in keys:
                path.parent.mkdir(parents=True, exist_ok=True)
                started.append((key, transfers.download(self.bucket, self._prefix + key, str(path))))
            for key, each in started:
                with self._told(key):
                    each.result()

    def download_tree(self, prefix: str, folder: Path) -> None:
        """Make `folder` hold what lies below `prefix/`. Files that are there in the right size are kept."""
        wanted = {self._relative(each.key, prefix): each for each in self.below(f"{prefix}/" if prefix else "")}
        folder.mkdir(parents=True, exist_ok=True)
        for path in [path for path in folder.rglob("*") if path.is_file()]:
            listed = wanted.get(path.relative_to(folder).as_posix())
            if listed is None:
                path.unlink()  # of a transfer that was cut off
            elif path.stat().st_size == listed.size:
                del wanted[path.relative_to(folder).as_posix()]
        self.download((each.key, folder / name) for name, each in wanted.items())

    def require_conditional_writes(self) -> None:
        """Raise `UserError` if the bucket is not there, or its store ignores conditions; asked once per process."""
        _probe(self._client, self.bucket, self._prefix)

    def _relative(self, key: str, prefix: str) -> str:
        name = key.removeprefix(prefix).lstrip("/")
        if ".." in PurePosixPath(name).parts:
            raise UserError(f"'{self.uri(key)}': refused, since its name leads out of its folder")
        return name

    @contextmanager
    def _transfers(self) -> Iterator[Any]:
        from boto3.s3.transfer import TransferConfig, create_transfer_manager

        config = TransferConfig(
            multipart_threshold=PART_BYTES,
            multipart_chunksize=PART_BYTES,
            max_concurrency=_THREADS,
            num_download_attempts=int(_MAX_ATTEMPTS),
            preferred_transfer_client="classic",
        )
        with create_transfer_manager(self._client, config) as manager:
            yield manager

    def _bucket_exists(self) -> bool:
        from botocore.exceptions import ClientError

        try:
            self._client.head_bucket(Bucket=self.bucket)
        except ClientError as error:
            return _status(error.response) != 404
        return True

    @contextmanager
    def _told(self, key: str) -> Iterator[None]:
        from botocore import exceptions
        from s3transfer.exceptions import RetriesExceededError

        uri = self.uri(key)
        try:
            yield
        except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError) as error:
            raise UserError(f"'{uri}': {error}", hint=_CREDENTIALS_HINT) from error
        except exceptions.ParamValidationError as error:
            raise UserError(f"'{uri}': {error}") from error
        except exceptions.ClientError as error:
            raise self._refusal(uri, error.response) from error
        except (exceptions.BotoCoreError, RetriesExceededError) as error:
            raise OpenCharacterError(
                f"'{uri}': the object store cannot be used: {error}",
                hint=f"it is looked for at {self.endpoint} (AWS_ENDPOINT_URL); "
                "what is committed is safe: run the same command again",
            ) from error
        except OSError as error:
            raise OpenCharacterError(
                f"'{uri}': {error}", hint="see to the disk and run the same command again"
            ) from error

    def _refusal(self, uri: str, response: Any) -> OpenCharacterError:
        status, code, message = _status(response), response["Error"]["Code"], response["Error"].get("Message")
        if code == "NoSuchBucket" or (status == 404 and not self._bucket_exists()):
            return NoSuchBucket(
                f"'{uri}': the object store has no such bucket",
                hint=f"create '{self.bucket}' at {self.endpoint}, or correct the name",
            )
        if status == 404:
            return UserError(f"'{uri}': the object store has no such key")
        if code in _REGION_CODES or status == 301:
            there = response["ResponseMetadata"].get("HTTPHeaders", {}).get("x-amz-bucket-region", "another region")
            return UserError(
                f"'{uri}': the bucket lies in {there}, and was asked for in {self._client.meta.region_name}",
                hint=f"set AWS_DEFAULT_REGION to {there}",
            )
        if code in _CREDENTIAL_CODES:
            return UserError(
                f"'{uri}': the object store refuses these credentials ({message})",
                hint=f"{_CREDENTIALS_HINT}; {_PERMISSIONS_HINT}",
            )
        if status in (401, 403):
            return UserError(
                f"'{uri}': the object store does not allow this ({code}: {message})", hint=_PERMISSIONS_HINT
            )
        if code == "InvalidBucketName":
            return UserError(f"'{uri}': '{self.bucket}' is no name of a bucket")
        return OpenCharacterError(
            f"'{uri}': the object store answers {status} {code}: {message}",
            hint="what is committed is safe: run the same command again",
        )


def _client(uri: str) -> Any:
    try:
        import botocore.exceptions
    except ImportError as error:
        raise UserError(f"'{uri}': s3:// needs boto3", hint="pip install 'opencharacter[inputs]'") from error
    try:
        return _client_of(os.getpid(), tuple(sorted(item for item in os.environ.items() if item[0].startswith("AWS_"))))
    except (botocore.exceptions.BotoCoreError, ValueError) as error:
        raise UserError(f"'{uri}': no client for the object store: {error}", hint=_CREDENTIALS_HINT) from error


# One client for each environment: credentials that changed are not those that a client was made with.
@functools.lru_cache(maxsize=4)
def _client_of(process: int, environment: tuple[tuple[str, str], ...]) -> Any:
    import boto3
    from botocore.config import Config

    settings = dict(environment)
    endpoint = settings.get("AWS_ENDPOINT_URL_S3") or settings.get("AWS_ENDPOINT_URL")
    config = Config(
        retries={"mode": "standard", "max_attempts": int(settings.get("AWS_MAX_ATTEMPTS", _MAX_ATTEMPTS))},
        connect_timeout=_CONNECT_S,
        read_timeout=_READ_S,
        tcp_keepalive=True,
        max_pool_connections=4 * _THREADS,
        # Other stores seldom have a host name for each bucket.
        s3={"addressing_style": "path"} if endpoint else {},
    )
    return boto3.Session().client("s3", config=config)


@functools.lru_cache
def _probe(client: Any, bucket: str, prefix: str) -> None:
    store = ObjectStore(f"{OBJECT_SCHEME}{bucket}/{prefix}")
    # Some stores make a bucket that is written to, and a wrong name would then go unnoticed.
    with store._told(""):
        client.head_bucket(Bucket=bucket)
    name = f"{prefix}.conditional-writes"
    obeyed = _refused(store, client, name, IfNoneMatch="*") or _refused(store, client, name, IfNoneMatch="*")
    if not obeyed or not _refused(store, client, name, IfMatch='"00000000000000000000000000000000"'):
        raise UserError(
            f"'{store.uri()}': the object store at {client.meta.endpoint_url} ignores conditional writes "
            "(If-None-Match, If-Match), without which two workers could overwrite each other",
            hint="use a store that has them: S3 itself, or a recent version of MinIO, Ceph or SeaweedFS",
        )


def _refused(store: ObjectStore, client: Any, name: str, **condition: str) -> bool:
    from botocore.exceptions import ClientError

    with store._told(".conditional-writes"):
        try:
            client.put_object(Bucket=store.bucket, Key=name, Body=b"", **condition)
        except ClientError as error:
            if _status(error.response) == 501:
                return False
            if _status(error.response) not in (409, 412):
                raise
            return True
    return False


def _status(response: Any) -> int:
    return int(response["ResponseMetadata"]["HTTPStatusCode"])


def _age(found: Any) -> float:
    now = parsedate_to_datetime(found["ResponseMetadata"]["HTTPHeaders"]["date"])
    return float((now - found["LastModified"]).total_seconds())
