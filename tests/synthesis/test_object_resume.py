"""Synthesis with its workspace in a real S3 server: killed, and gone on with, as on a local disk."""

import os
import signal
import threading
from collections import Counter
from pathlib import Path
from typing import Any

from support.fake_llm import FakeLLM
from support.object_store import BUCKET, ObjectStore
from support.synthesis_run import CONVERSATIONS, PERSONAS, SmallRun, worker_forge

from opencharacter.hashing import seed64
from opencharacter.storage import Artifact, Workspace
from opencharacter.storage.journal import decode_calls

KILLS = 2
SMALLER: dict[str, Any] = {"personas": PERSONAS[:5], "conversations": CONVERSATIONS[:2]}
_CALLS_OF_AN_INTERVAL = 40
"""More than the teacher below can answer to four askers in a flush interval and the time of a request."""


def contents(*outputs: Artifact) -> list[bytes]:
    files = [path for ref in outputs for path in sorted(ref.path.iterdir()) if path.name != "manifest.json"]
    return [path.read_bytes() for path in files]


def journalled(root: str) -> set[int]:
    """Request seeds of the calls that are durable in the journals now."""
    stores = [Workspace(root).rows(name) for name in ("profiles", "responses")]
    calls = [call for rows in stores for name in rows.names("journal") for call in decode_calls(name, rows.read(name))]
    return {seed64(SmallRun.seed, call.row_id, call.key) % 2**31 for call in calls}


def ended(pid: int) -> bool:
    """Whether a child of another process is a zombie."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def test_a_killed_run_equals_an_unbroken_local_one(tmp_path: Path, s3_root: str, s3_server: ObjectStore) -> None:
    with FakeLLM(delay_s=0.15) as server, worker_forge() as forge:
        unbroken = SmallRun(str(tmp_path / "unbroken"), server.base_url, **SMALLER).run()
        asked = Counter(call.digest for call in server.calls)
        run = SmallRun(s3_root, server.base_url, by_character=True, **SMALLER)
        server.calls.clear()
        durable: set[int] = set()
        for number in range(KILLS):
            before = len(server.calls)
            pid = forge.start(run)
            while not journalled(s3_root) - durable:
                assert not ended(pid), "the run is over before anything was flushed"
                threading.Event().wait(0.02)
            os.kill(pid, signal.SIGKILL)
            assert forge.wait(pid) == -signal.SIGKILL
            assert not {call.request["seed"] for call in server.calls[before:]} & durable
            durable |= journalled(s3_root)
            if number < KILLS - 1:
                expire_leases(s3_server, s3_root)
        before = len(server.calls)
        assert forge.wait(forge.start(run)) == 0
        assert not {call.request["seed"] for call in server.calls[before:]} & durable
        again = Counter(call.digest for call in server.calls)
        assert contents(*run.run()) == contents(*unbroken)
        assert set(again) == set(asked)
        assert again.total() <= asked.total() + KILLS * (2 * run.concurrency + _CALLS_OF_AN_INTERVAL)


def expire_leases(server: ObjectStore, root: str) -> None:
    """As if a dead worker's time had passed; after the last kill it is waited for."""
    client, prefix = server.client(), root.removeprefix(f"s3://{BUCKET}/")
    for each in client.list_objects_v2(Bucket=BUCKET, Prefix=f"{prefix}/rows/").get("Contents", ()):
        if "/locks/" in each["Key"]:
            client.delete_object(Bucket=BUCKET, Key=each["Key"])
