"""The client of an object store: connections, retries, transfers and error messages.

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
"""Larger files are transferred in parts of this size, or of a larger size if there would be too many parts."""
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
    """The store has no bucket of that name."""


class Stored(NamedTuple):
    """A small object and its metadata; `age_s` is by the store's own clock, to the second."""

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

    Throttling (503), dropped connections and time-outs are retried with growing waits (`AWS_MAX_ATTEMPTS`, default 8).
    A request that still fails raises `OpenCharacterError`; a wrong bucket, region or credential raises `UserError`.
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

    def get(self, key: str, *, first: int | None = None) -> Stored | None:
        """A small object, or its `first` bytes; None if it does not exist."""
        from botocore.exceptions import ClientError, HTTPClientError, IncompleteReadError

        with self._store_errors(key):
            for left in reversed(range(int(_MAX_ATTEMPTS))):
                try:
                    part = {} if first is None else {"Range": f"bytes=0-{first - 1}"}
                    response = self._client.get_object(Bucket=self.bucket, Key=self._prefix + key, **part)
                    return Stored(response["Body"].read(), response["ETag"], _age(response))
                except ClientError as error:
                    if error.response["Error"]["Code"] == "NoSuchKey":
                        return None
                    raise
                except (HTTPClientError, IncompleteReadError):
                    # The client itself does not retry reading the body.
                    if not left:
                        raise
        raise AssertionError("unreachable")

    def put(self, key: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str | None:
        """Write a small object atomically and return its ETag.

        `if_absent` writes only if the object does not exist, `if_match` only if it has that ETag. If the condition
        does not hold, nothing is written and the result is None.
        """
        from botocore.exceptions import ClientError

        condition = {"IfNoneMatch": "*"} if if_absent else {"IfMatch": if_match} if if_match else {}
        with self._store_errors(key):
            for left in reversed(range(_CONFLICTS)):
                try:
                    response = self._client.put_object(
                        Bucket=self.bucket, Key=self._prefix + key, Body=data, **condition
                    )
                    return str(response["ETag"])
                except ClientError as error:
                    status = _status(error.response)
                    if condition and status == 409 and left:  # another conditional write of this object is under way
                        time.sleep(0.1)
                    elif condition and (status == 412 or error.response["Error"]["Code"] == "NoSuchKey"):
                        break
                    else:
                        raise
        # If an answer was lost, the client's retry met the object that this call itself had written.
        stored = self.get(key)
        return stored.etag if stored is not None and stored.data == data else None

    def head(self, key: str) -> dict[str, Any] | None:
        """An object's ContentLength, ETag and Metadata, or None if it does not exist."""
        from botocore.exceptions import ClientError

        with self._store_errors(key):
            try:
                response: dict[str, Any] = self._client.head_object(Bucket=self.bucket, Key=self._prefix + key)
                return response
            except ClientError as error:
                if _status(error.response) == 404 and self._bucket_exists():
                    return None
                raise

    def below(self, prefix: str) -> list[Listed]:
        """All objects whose key begins with `prefix`, sorted by key."""
        with self._store_errors(prefix):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=self._prefix + prefix
            )
            return [
                Listed(entry["Key"].removeprefix(self._prefix), entry["ETag"], entry["Size"])
                for page in pages
                for entry in page.get("Contents", ())
            ]

    def folders(self, prefix: str) -> list[str]:
        """The names between `prefix` (which ends in `/`) and the next `/` of the keys below it, sorted."""
        whole = self._prefix + prefix
        with self._store_errors(prefix):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=whole, Delimiter="/"
            )
            prefixes = [entry["Prefix"] for page in pages for entry in page.get("CommonPrefixes", ())]
        return sorted(name.removeprefix(whole).rstrip("/") for name in prefixes)

    def delete(self, keys: Iterable[str]) -> None:
        """Remove objects; absent ones are ignored."""
        names = [{"Key": self._prefix + key} for key in keys]
        for start in range(0, len(names), _BATCH):
            batch = names[start : start + _BATCH]
            with self._store_errors(batch[0]["Key"].removeprefix(self._prefix)):
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
        with self._store_errors(prefix), self._transfers() as transfers:
            started = [
                transfers.upload(
                    str(folder / name),
                    self.bucket,
                    f"{self._prefix}{prefix}/{name}",
                    extra_args={"Metadata": {DIGEST_METADATA: sha256}},
                )
                for name, sha256 in files
            ]
            for transfer in started:
                transfer.result()

    def download(self, keys: Iterable[tuple[str, Path]]) -> None:
        """Copy objects to local files, each atomically; folders are created."""
        with self._store_errors(""), self._transfers() as transfers:
            started = []
            for key, path in keys:
                path.parent.mkdir(parents=True, exist_ok=True)
                started.append((key, transfers.download(self.bucket, self._prefix + key, str(path))))
            for key, transfer in started:
                with self._store_errors(key):
                    transfer.result()

    def download_tree(self, prefix: str, folder: Path) -> None:
        """Make `folder` a copy of the objects below `prefix/`. Files of the right size are kept."""
        entries = self.below(f"{prefix}/" if prefix else "")
        missing = {self._relative(entry.key, prefix): entry for entry in entries}
        folder.mkdir(parents=True, exist_ok=True)
        for path in [path for path in folder.rglob("*") if path.is_file()]:
            listed = missing.get(path.relative_to(folder).as_posix())
            if listed is None:
                path.unlink()  # left by an interrupted transfer
            elif path.stat().st_size == listed.size:
                del missing[path.relative_to(folder).as_posix()]
        self.download((entry.key, folder / name) for name, entry in missing.items())

    def require_conditional_writes(self) -> None:
        """Raise `UserError` if the bucket does not exist or the store ignores conditions; checked once per process."""
        _probe(self._client, self.bucket, self._prefix)

    def _relative(self, key: str, prefix: str) -> str:
        name = key.removeprefix(prefix).lstrip("/")
        if ".." in PurePosixPath(name).parts:
            raise UserError(f"'{self.uri(key)}': the key's name leads out of its folder")
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
    def _store_errors(self, key: str) -> Iterator[None]:
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
                hint=f"its address is {self.endpoint} (AWS_ENDPOINT_URL); "
                "committed data are safe: run the same command again",
            ) from error
        except OSError as error:
            raise OpenCharacterError(
                f"'{uri}': {error}", hint="check the disk and run the same command again"
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
            region = response["ResponseMetadata"].get("HTTPHeaders", {}).get("x-amz-bucket-region", "another region")
            return UserError(
                f"'{uri}': the bucket is in {region}, but the request went to {self._client.meta.region_name}",
                hint=f"set AWS_DEFAULT_REGION to {region}",
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
            return UserError(f"'{uri}': '{self.bucket}' is not a valid bucket name")
        return OpenCharacterError(
            f"'{uri}': the object store answers {status} {code}: {message}",
            hint="committed data are safe: run the same command again",
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


# One client for each environment: changed credentials need a new client.
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
        # Other stores rarely have a host name for each bucket.
        s3={"addressing_style": "path"} if endpoint else {},
    )
    return boto3.Session().client("s3", config=config)


@functools.lru_cache
def _probe(client: Any, bucket: str, prefix: str) -> None:
    store = ObjectStore(f"{OBJECT_SCHEME}{bucket}/{prefix}")
    # Some stores create a missing bucket on the first write; a wrong name would then go unnoticed.
    with store._store_errors(""):
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

    with store._store_errors(".conditional-writes"):
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


def _age(response: Any) -> float:
    now = parsedate_to_datetime(response["ResponseMetadata"]["HTTPHeaders"]["date"])
    return float((now - response["LastModified"]).total_seconds())
