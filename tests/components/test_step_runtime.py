"""What every component does around its library call."""

import json
import logging
import math
import re
import shutil
import threading
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from kfp import dsl
from support import stand_in
from support.kfp_values import recorded

from opencharacter.cluster.images import STEPS
from opencharacter.components import endings
from opencharacter.components.endings import Ending, read_ending
from opencharacter.components.runtime import FAILURE_VARIABLE, Step, point
from opencharacter.errors import UserError
from opencharacter.library import fingerprint
from opencharacter.registry import RegisteredModel
from opencharacter.storage.workspace import Artifact, Workspace
from opencharacter.templates import packaged_templates

PROMPTS = {name: template.hash for name, template in packaged_templates().items()}
RUN: dict[str, Any] = {"seed": 3.0, "library": fingerprint(), "prompts": PROMPTS}


@pytest.fixture
def failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "failure.json"
    monkeypatch.setenv(FAILURE_VARIABLE, str(path))
    return path


def made(workspace: Path) -> Artifact:
    with Workspace(workspace).create("mixture", "k1") as draft:
        (draft.path / "train.jsonl").write_text("{}\n")
        draft.counts = {"train": 1}
    return draft.committed()


@pytest.mark.parametrize(
    ("change", "told"),
    [({"library": "0.0.1+old"}, "made for 0.0.1+old"), ({"prompts": {"rewrite.md": "0" * 64}}, "'rewrite.md' differs")],
)
def test_a_step_of_another_library_or_prompt_refuses(
    tmp_path: Path, failure: Path, change: dict[str, Any], told: str
) -> None:
    with pytest.raises(SystemExit) as caught, Step("mix", str(tmp_path), RUN | change):
        raise AssertionError("the step must not begin")
    assert caught.value.code == 2
    assert told in json.loads(failure.read_text())["message"]


def test_a_fault_of_the_user_ends_the_step_with_its_message(
    tmp_path: Path, failure: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught, Step("mix", str(tmp_path), RUN):
        raise UserError("personas.jsonl:3: no persona", hint="mend line 3")
    assert caught.value.code == 2
    assert "personas.jsonl:3: no persona\n  mend line 3" in capsys.readouterr().err
    assert json.loads(failure.read_text())["step"] == "mix"


@pytest.mark.parametrize(
    ("error", "message", "hint"),
    [
        (UserError("no persona", hint="write one"), "no persona", "write one"),
        (KeyError("seed"), "KeyError: 'seed'", None),
    ],
)
def test_a_pod_s_last_error_stays_in_the_workspace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, message: str, hint: str | None
) -> None:
    monkeypatch.setenv("KFP_POD_NAME", "run-x7-system-container-impl-17")
    with pytest.raises((SystemExit, KeyError)), Step("mix", str(tmp_path), RUN):
        raise error
    kept = read_ending("run-x7-system-container-impl-17", Workspace(tmp_path))
    assert kept == Ending("mix", message, hint)


def test_a_pod_of_another_library_says_so_in_the_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KFP_POD_NAME", "pod-1")
    with pytest.raises(SystemExit), Step("mix", str(tmp_path), RUN | {"library": "0.0.1+old"}):
        raise AssertionError("the step must not begin")
    kept = read_ending("pod-1", Workspace(tmp_path))
    assert kept is not None
    assert "made for 0.0.1+old" in (kept.error or "")


def test_what_a_pod_has_made_stays_in_the_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ref = made(tmp_path)
    monkeypatch.setenv("KFP_POD_NAME", "pod-1")
    with Step("mix", str(tmp_path), RUN) as step:
        step.publish(ref, SimpleNamespace(uri="", metadata={}))
    assert read_ending("pod-1", Workspace(tmp_path)) == Ending("mix", outputs={"mixture": ref.key})
    assert read_ending("pod-2", Workspace(tmp_path)) is None


def test_a_workspace_that_takes_nothing_fails_no_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KFP_POD_NAME", "pod-1")
    (tmp_path / "logs").write_text("a file where a folder should be")
    with Step("mix", str(tmp_path), RUN):
        pass
    assert "could not be kept" in capsys.readouterr().out


def test_a_store_that_hangs_does_not_hold_the_pod(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()

    class Hanging:
        def write_log(self, name: str, text: str) -> str:
            released.wait()
            return name

    monkeypatch.setenv("KFP_POD_NAME", "pod-1")
    monkeypatch.setattr(endings, "_PATIENCE_S", 0.05)
    endings.keep_ending(Ending("mix"), Hanging())  # type: ignore[arg-type]
    released.set()


def test_on_a_laptop_no_endings_are_kept(tmp_path: Path) -> None:
    with Step("mix", str(tmp_path), RUN):
        pass
    assert not (tmp_path / "logs").exists()


def test_a_reference_travels_by_artifact_and_is_read_from_the_workspace(tmp_path: Path) -> None:
    ref = made(tmp_path)
    artifact = SimpleNamespace(uri="", metadata={})
    with Step("mix", str(tmp_path), RUN) as step:
        step.publish(ref, artifact)
        assert step.ref(artifact) == ref
    assert (step.seed, artifact.uri, artifact.metadata["train"]) == (3, ref.uri, 1)


def test_weights_in_an_object_store_never_pass_through_kfp(tmp_path: Path) -> None:
    """KFP's launcher downloads all behind an input's URI, and fails on an output's URI outside its own bucket."""
    artifact = SimpleNamespace(uri="minio://kfp/run/model", path=str(tmp_path / "model"), metadata={})
    point(artifact, "s3://models/outputs/model/k1", kind="model", key="k1", digest="d", rows=2)
    assert artifact.uri == "minio://kfp/run/model"
    told = {"uri": "s3://models/outputs/model/k1", "kind": "model", "key": "k1", "digest": "d", "rows": 2}
    assert artifact.metadata == told
    assert json.loads((tmp_path / "model").read_text()) == told


def test_kfp_shows_the_page_of_an_output_in_an_object_store(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_text("<h1>run</h1>")
    artifact = SimpleNamespace(uri="minio://kfp/run/report", path=str(tmp_path / "shown"), metadata={})
    point(artifact, "s3://models/outputs/report/k1", page, kind="report")
    assert (tmp_path / "shown").read_text() == "<h1>run</h1>"


def test_an_output_that_is_gone_is_told(tmp_path: Path, failure: Path) -> None:
    artifact = SimpleNamespace(uri="", metadata={})
    with Step("mix", str(tmp_path), RUN) as earlier:
        earlier.publish(made(tmp_path), artifact)
    shutil.rmtree(artifact.uri)
    with pytest.raises(SystemExit) as caught, Step("sft", str(tmp_path), RUN) as step:
        step.ref(artifact)
    assert caught.value.code == 1
    assert "does not hold the mixture" in json.loads(failure.read_text())["message"]


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (["champion"], "'extra': expected a text or a number, got list"),
        ({"licence": "CC0-1.0"}, "got dict"),
        (True, "got bool"),
        (None, "got NoneType"),
        (2**53 + 1, "does not fit a double"),
        (math.nan, "does not fit a double"),
    ],
)
def test_metadata_that_kfp_would_change_are_refused(tmp_path: Path, value: Any, told: str) -> None:
    artifact = SimpleNamespace(uri="", metadata={})
    with pytest.raises((TypeError, ValueError), match=told):
        point(artifact, str(tmp_path), extra=value)
    assert artifact.metadata == {}


@pytest.mark.parametrize("key", ["display_name", "store_session_info"])
def test_metadata_that_kfp_sets_itself_are_refused(tmp_path: Path, key: str) -> None:
    with pytest.raises(ValueError, match=f"'{key}': KFP sets this key itself"):
        point(SimpleNamespace(uri="", metadata={}), str(tmp_path), **{key: "mine"})


def test_a_record_that_is_gone_is_told(tmp_path: Path, failure: Path) -> None:
    artifact = SimpleNamespace(uri="", metadata={})
    version = RegisteredModel(name="bard", version=3, uri=str(tmp_path), digest="d" * 64, tags={"a": "b"})
    with Step("register", str(tmp_path / "first"), RUN) as earlier:
        earlier.publish_version(version, artifact)
        assert earlier.version(artifact) == version
    with pytest.raises(SystemExit) as caught, Step("report", str(tmp_path / "second"), RUN) as step:
        step.version(artifact)
    assert caught.value.code == 1
    assert "does not hold the version" in json.loads(failure.read_text())["message"]


def test_numbers_become_metrics_that_kfp_compares(tmp_path: Path) -> None:
    metrics = dsl.Metrics(name="metrics", uri=str(tmp_path / "metrics"))
    values = {"steps": 12, "final_loss": 1.5, "dtype": "float32", "mlflow_run_id": None, "bf16": True, "gap": math.nan}
    with Step("sft", str(tmp_path), RUN) as step:
        step.log_metrics(values, metrics)
    assert metrics.metadata == {"steps": 12.0, "final_loss": 1.5}
    assert metrics.metadata.items() <= recorded("metrics", metrics.metadata).items()


class _Server(stand_in.Handler):
    def do_GET(self) -> None:
        self.answer(200, {})


@pytest.fixture
def as_in_a_pod(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """The root logger as KFP's executor sets it."""
    caplog.set_level(logging.INFO)
    yield caplog
    logging.getLogger("opencharacter").setLevel(logging.NOTSET)


def test_a_call_writes_no_line_into_the_pod_s_log(tmp_path: Path, as_in_a_pod: pytest.LogCaptureFixture) -> None:
    with stand_in.serving(_Server) as url:
        httpx.get(url, trust_env=False)
        assert "HTTP Request" in as_in_a_pod.text, "without a step it does"
        as_in_a_pod.clear()
        with Step("responses", str(tmp_path), RUN):
            httpx.get(url, trust_env=False)
            logging.getLogger("urllib3").warning("a retry")
            logging.getLogger("opencharacter.training").info("step 3 of 9")
    assert as_in_a_pod.messages == ["a retry", "step 3 of 9"]
    assert logging.getLogger().level == logging.INFO


def test_debugging_stays_on(tmp_path: Path, as_in_a_pod: pytest.LogCaptureFixture) -> None:
    as_in_a_pod.set_level(logging.DEBUG)
    with Step("responses", str(tmp_path), RUN):
        logging.getLogger("httpx").debug("a detail")
    assert as_in_a_pod.messages == ["a detail"]


@pytest.mark.parametrize("step", STEPS)
def test_no_component_writes_metadata_past_the_guard(step: str) -> None:
    source = (resources.files("opencharacter.components") / step.replace("-", "_") / "component.py").read_text(
        encoding="utf-8"
    )
    reads = re.findall(r'\.metadata(?!\["\w+"\][,)\n]|:$)', source, re.MULTILINE)
    assert reads == [], "publish through Step or point, which refuse what KFP would change"
