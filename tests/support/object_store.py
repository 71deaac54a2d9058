"""A real S3 server (SeaweedFS) for tests, with signatures checked."""

import json
import os
import shutil
import socket
import subprocess
import sysconfig
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

BUCKET = "opencharacter-tests"
READER = "reader"
"""Access key of somebody who may not write; the secret is the administrator's."""

_PORTS = 8
_READY_S = 30


class ObjectStore(NamedTuple):
    url: str
    access_key: str
    secret_key: str

    def environment(self) -> dict[str, str]:
        """What an AWS tool needs to reach the store."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }

    def client(self) -> Any:
        """A client as an administrator would use it, past the library and without retries."""
        import boto3
        from botocore.config import Config

        return boto3.Session().client(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name="us-east-1",
            config=Config(retries={"max_attempts": 0}),
        )


@contextmanager
def object_store(folder: Path) -> Iterator[ObjectStore]:
    """Run a server that keeps its data in `folder`."""
    binary = shutil.which("weed") or str(Path(sysconfig.get_path("scripts")) / "weed")
    key, secret = "tester", "not-a-secret"
    identities = [
        {"name": key, "credentials": [{"accessKey": key, "secretKey": secret}], "actions": ["Admin"]},
        {"name": READER, "credentials": [{"accessKey": READER, "secretKey": secret}], "actions": ["Read", "List"]},
    ]
    (folder / "s3.json").write_text(json.dumps({"identities": identities}))
    (folder / "data").mkdir()
    master, master_grpc, volume, volume_grpc, filer, filer_grpc, s3, s3_grpc = _free_ports()
    command = [
        binary, "server", f"-dir={folder / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-volume.max=64",
        "-master.volumeSizeLimitMB=64", f"-master.port={master}", f"-master.port.grpc={master_grpc}",
        f"-volume.port={volume}", f"-volume.port.grpc={volume_grpc}", "-filer", f"-filer.port={filer}",
        f"-filer.port.grpc={filer_grpc}", "-s3", f"-s3.port={s3}", f"-s3.port.grpc={s3_grpc}",
        "-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false", f"-s3.config={folder / 's3.json'}",
    ]  # fmt: skip
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log, cwd=folder) as server:
        try:
            store = ObjectStore(f"http://127.0.0.1:{s3}", key, secret)
            _await(store.url + "/healthz", server)
            yield store
        finally:
            server.kill()


def _free_ports() -> list[int]:
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(_PORTS)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _await(url: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _READY_S
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with opener.open(url, timeout=1):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise RuntimeError("the S3 server did not start; see its log")
