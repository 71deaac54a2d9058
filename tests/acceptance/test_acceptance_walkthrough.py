"""A session of the acceptance suite against stand-ins: it makes, checks, and takes away what it made."""

import base64
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from support.acceptance.kube import CLAIMS, SECRETS
from support.acceptance.settings import PREFIX
from support.acceptance.store import names_below, put_text
from support.object_api import ObjectApi
from support.object_store import ObjectStore

ROOT = Path(__file__).parents[2]
PROGRAMS = Path(__file__).parent / "programs"

Session = Callable[..., tuple[str, str]]


@pytest.fixture
def kubeconfig(api: ObjectApi, tmp_path: Path) -> Path:
    """What names the stand-in."""
    path = tmp_path / "kubeconfig"
    parts = {
        "clusters": [{"name": "c", "cluster": {"server": api.url}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "c",
    }
    path.write_text(yaml.safe_dump(parts), encoding="utf-8")
    return path


@pytest.fixture
def theirs(api: ObjectApi, s3_root: str, s3_server: ObjectStore) -> set[str]:
    """What is there before the session: discovery, a Secret of others, a run of others in the bucket."""
    for group, resource in (("argoproj.io/v1alpha1", "workflows"), ("kubeflow.org/v1beta1", "scheduledworkflows")):
        api.objects[f"/apis/{group}"] = {"resources": [{"name": resource}]}
    api.objects["/version"] = {"major": "1"}
    node = {"allocatable": {"cpu": "8", "memory": "32Gi", "pods": "110"}}
    api.objects["/api/v1/nodes"] = {"items": [{"metadata": {"name": "n"}, "spec": {}, "status": node}]}
    api.objects["/api/v1/pods"] = {"items": []}
    secret = api.put(f"{SECRETS.format('kubeflow')}/opencharacter-s3")
    secret["data"] = {"AWS_ACCESS_KEY_ID": base64.b64encode(b"theirs").decode()}
    put_text(f"{s3_root}/outputs/model", "weights", s3_server.url)
    return set(api.objects)


@pytest.fixture
def session(api: ObjectApi, kubeconfig: Path, tmp_path: Path, s3_root: str, s3_server: ObjectStore) -> Session:
    """Runs a session with the stand-ins; returns its id and what it said."""

    def run(*arguments: str) -> tuple[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith((PREFIX, "PYTEST", "KUBE"))}
        environment = kept | {
            "PATH": f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}",
            "KUBECONFIG": str(kubeconfig),
            "STAND_IN_API": api.url,
            "STAND_IN_LOG": str(tmp_path / "programs.log"),
            f"{PREFIX}NAMESPACE": "kubeflow",
            f"{PREFIX}REGISTRY": "registry.example.com/oc",
            f"{PREFIX}PULL_POLICY": "Never",
            f"{PREFIX}WORKSPACE": s3_root,
            **s3_server.environment(),
        }
        command = [sys.executable, "-m", "pytest", "tests/cluster", "-n", "0", *arguments]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        told = done.stdout + done.stderr
        assert done.returncode == 0, told
        return re.findall(r"session (oct-[0-9a-f]{6}) on", told)[0], told

    return run


def test_a_session_leaves_what_it_did_not_make(
    api: ObjectApi, theirs: set[str], session: Session, tmp_path: Path, s3_root: str, s3_server: ObjectStore
) -> None:
    name, told = session("-k", "test_preflight")
    table = told.partition(" promises ")[2]
    assert "cluster preflight finds everything that the cluster file names" in table
    assert "2 passed" in table
    assert set(api.objects) == theirs
    assert names_below(s3_root, s3_server.url) == ["outputs/model"]
    programs = (tmp_path / "programs.log").read_text().splitlines()
    assert programs == [f"helm install {name} kubeflow", f"helm uninstall {name} kubeflow"]


def test_keep_leaves_what_was_made_too(api: ObjectApi, theirs: set[str], session: Session) -> None:
    name, told = session("-k", "test_preflight_misses", "--keep")
    made = set(api.objects) - theirs
    assert f"{SECRETS.format('kubeflow')}/{name}-s3" in made
    assert f"{CLAIMS.format('kubeflow')}/opencharacter-mlflow" in made
    assert f"kept, since --keep was given: release kubeflow/{name}" in told
