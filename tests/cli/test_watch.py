"""`opencharacter pipeline watch` and `submit --watch`, against stand-ins of KFP's API and of the Kubernetes API."""

import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import stand_in
from support.kfp_api import KfpApi, kfp_api
from support.kfp_run import Run
from support.kubernetes_api import KubernetesApi

from opencharacter.cli import main
from opencharacter.components.endings import Ending, keep_ending
from opencharacter.pipelines.watch.server import named_run
from opencharacter.registry import RegisteredModel
from opencharacter.registry.versions import keep_version
from opencharacter.storage.workspace import Artifact, Workspace

Watch = Callable[..., tuple[int, str, str]]
PROGRESS = json.dumps({"event": "progress", "stage": "train", "done": 3, "total": 8, "tokens_per_s": 113, "eta_s": 40})


@pytest.fixture
def api() -> Iterator[KfpApi]:
    with kfp_api() as state:
        yield state


@pytest.fixture
def watch(api: KfpApi, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Watch:
    """Watches run r1; there is no cluster."""
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "absent"))
    monkeypatch.delenv("KF_PIPELINES_TOKEN", raising=False)

    def run(*arguments: str, named: tuple[str, ...] = ("r1", "--host", "URL")) -> tuple[int, str, str]:
        shown = [part.replace("URL", api.url) for part in named]
        with pytest.raises(SystemExit) as caught:
            main(["pipeline", "watch", *shown, "--every", "0.1", *arguments])
        streams = capsys.readouterr()
        return int(caught.value.code or 0), streams.out, streams.err

    return run


def training(state: str, *, run: str = "RUNNING", attempts: tuple[str, ...] = ()) -> Run:
    """A run whose training is the step that counts."""
    made = Run(state=run)
    last = made.step("mix", "SUCCEEDED", executor="SKIPPED")
    made.step("sft", state, attempts=attempts, after=last)
    return made


def end(workspace: str, run: Run, path: str, ending: Ending, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave in the workspace what the step in that pod leaves."""
    monkeypatch.setenv("KFP_POD_NAME", run.pod(path))
    keep_ending(ending, Workspace(workspace))
    run.workspace = workspace


def reported(workspace: str, version: int = 3) -> tuple[Artifact, Artifact]:
    """A report, and the model version that it tells of."""
    place = Workspace(workspace)
    model = RegisteredModel(name="demo", version=version, uri=f"{workspace}/model", digest="d")
    characters = Artifact(kind="characters", key="k", uri="u", digest="d").model_dump()
    with place.create("report", f"k{version}") as draft:
        (draft.path / "report.html").write_text("<p>")
        draft.stats = {"run": {"name": "demo", "characters": characters, "registered": model.model_dump(mode="json")}}
    return draft.committed(), keep_version(model, workspace=place)


def test_a_run_is_shown_from_its_start_to_its_end(watch: Watch, api: KfpApi) -> None:
    waits, runs, done = training("RUNNING"), training("RUNNING"), training("SUCCEEDED", run="SUCCEEDED")
    waits.step("sft", "RUNNING", executor="PENDING")
    api.logs = {runs.pod("sft.executor"): f"{PROGRESS}\n"}
    api.told["r1"] = [waits.told, runs.told, done.told]
    code, told, _ = watch()
    lines = [" ".join(line.split()) for line in told.splitlines()]
    assert code == 0
    assert "mix cached" in lines
    assert "sft running train 3/8 · 113 tok/s · 40 s left" in lines
    assert "sft succeeded 1 min 5 s" in lines
    assert "run r1 succeeded" in lines
    assert lines[-1] == f"{api.url}/#/runs/details/r1"
    assert len(lines) == len(set(lines)), "a line for each change"


@pytest.mark.parametrize(("state", "code"), [("SUCCEEDED", 0), ("FAILED", 1), ("CANCELED", 1)])
def test_the_exit_code_is_the_run_s(watch: Watch, api: KfpApi, state: str, code: int) -> None:
    api.told["r1"] = [Run(state=state).told]
    assert watch()[0] == code


@pytest.mark.parametrize(
    "named", [("r1", "--host", "URL"), ("URL/#/runs/details/r1",), ("URL/#/runs/details/r1?x=1", "--host", "URL/")]
)
def test_a_run_is_named_by_its_id_or_its_page(watch: Watch, api: KfpApi, named: tuple[str, ...]) -> None:
    api.told["r1"] = [Run(state="SUCCEEDED").told]
    assert watch("--token", "secret", named=named)[0] == 0
    assert api.headers[-1]["authorization"] == "Bearer secret"


@pytest.mark.parametrize(
    ("page", "host"),
    [
        ("https://kf.example.com/pipeline/#/runs/details/4f-1", "https://kf.example.com/pipeline"),
        ("https://kf.example.com/_/pipeline/?ns=team-a#/runs/details/4f-1", "https://kf.example.com/pipeline"),
        ("http://localhost:8080/#/runs/details/4f-1/", "http://localhost:8080"),
        ("http://localhost:8080/runs/details/4f-1", "http://localhost:8080"),
    ],
)
def test_the_api_s_address_is_the_page_s(page: str, host: str) -> None:
    assert named_run(page, None) == (host, "4f-1")
    assert named_run(page, "http://other") == ("http://other", "4f-1")


def test_a_run_that_never_began_tells_the_server_s_reason(watch: Watch, api: KfpApi) -> None:
    api.told["r1"] = [{"run_id": "r1", "state": "FAILED", "error": {"code": 13, "message": "no quota left"}}]
    assert "error: no quota left" in watch()[1]
    api.told["r1"] = [{"run_id": "r1", "error": {"code": 13, "message": "Failed to parse runtime config"}}]
    code, _, error = watch()
    assert (code, "Failed to parse runtime config" in error) == (1, True)


def test_a_terminal_shows_a_table_with_many_shards_in_one_line(
    watch: Watch, api: KfpApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    run = Run()
    last = run.step("ingest")
    for number, (path, body) in enumerate(run.loop("profile-shards", 6, after=last)):
        run.step("generate-profiles", "RUNNING" if number > 3 else "SUCCEEDED", path=path, after=body)
    api.logs = dict.fromkeys(run.pods("generate-profiles"), PROGRESS)
    api.told["r1"] = [run.told, Run(state="SUCCEEDED").told]
    told = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", watch()[1])
    assert re.search(r"generate-profiles +running +4 succeeded, 2 running · train 3/8", told)
    assert re.search(r"ingest +succeeded +1 min 5 s", told)
    assert "demo: running" in told


@pytest.mark.parametrize(
    ("named", "told"),
    [
        (("r2", "--host", "URL"), "has no run r2"),
        (("r1",), "give --host"),
        (("my run", "--host", "URL"), "expected a run's id"),
        (("r1", "--host", "http://127.0.0.1:9"), "no Kubeflow Pipelines server answers at http://127.0.0.1:9"),
        (("http://127.0.0.1:9/#/runs/details/r1",), "no Kubeflow Pipelines server answers"),
        (("r1", "--host", "http://a..b"), "is not an address"),
    ],
)
def test_what_is_no_run_ends_at_once(watch: Watch, named: tuple[str, ...], told: str) -> None:
    code, _, error = watch(named=named)
    assert (code, told in error) == (2, True)
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("status", "text", "kind"),
    [(200, '{"kind": "Other"}', "application/json"), (200, "<html>", "text/html"), (404, "no such page", "text/plain")],
)
def test_another_server_at_the_address_is_named(watch: Watch, status: int, text: str, kind: str) -> None:
    class Other(stand_in.Handler):
        def do_GET(self) -> None:
            self.text(status, text, kind)

    with stand_in.serving(Other) as url:
        code, _, error = watch(named=("r1", "--host", url))
    assert (code, "is not a Kubeflow Pipelines API" in error) == (2, True)


def test_a_token_that_is_refused_is_named(watch: Watch, api: KfpApi) -> None:
    api.outage = [401]
    code, _, error = watch()
    assert (code, "401" in error, "KF_PIPELINES_TOKEN" in error) == (1, True, True)


def test_a_server_that_is_away_is_waited_for(watch: Watch, api: KfpApi) -> None:
    api.told["r1"] = [training("RUNNING").told, training("SUCCEEDED", run="SUCCEEDED").told]
    looks = 0

    def count() -> None:
        nonlocal looks
        looks += 1
        if looks == 1:
            api.outage = [503, *[0] * 4, 429]

    api.on_run = count
    code, told, _ = watch()
    assert code == 0
    assert told.count(f"{api.url} does not answer (503") == 1
    assert told.count(f"{api.url} answers again") == 1


@pytest.fixture
def interruptible() -> Iterator[None]:
    """SIGINT as a terminal's program has it: one that a shell starts in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_leaves_the_run_going(watch: Watch, api: KfpApi) -> None:
    api.told["r1"] = [training("RUNNING").told]
    looks = iter([lambda: None])
    api.on_run = lambda: next(looks, lambda: os.kill(os.getpid(), signal.SIGINT))()
    code, told, error = watch()
    assert (code, "the run goes on: opencharacter pipeline watch r1 --host" in error) == (130, True)
    assert "sft" in told


def test_the_failing_step_s_own_error_is_in_the_workspace(
    watch: Watch, api: KfpApi, s3_root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its pod, and the log with it, may be gone; of several attempts the last one counts."""
    run = training("FAILED", run="FAILED", attempts=("FAILED", "FAILED"))
    end(s3_root, run, "sft.executor(0)", Ending("sft", "an earlier one"), monkeypatch)
    end(s3_root, run, "sft.executor(1)", Ending("sft", "the loss is no number", "lower sft.lr"), monkeypatch)
    api.told["r1"] = [run.told]
    code, told, _ = watch()
    assert code == 1
    assert "error: step 'sft': the loss is no number\n  lower sft.lr" in told
    assert "an earlier one" not in told
    assert "not read" not in told


def test_without_the_workspace_the_error_is_the_log_s(watch: Watch, api: KfpApi) -> None:
    run = training("FAILED", run="FAILED")
    log = f"{PROGRESS}\nerror: the model is gone\n  see the hub\nF1129 01:01:05.0 launcher.go:1] exit status 1\n"
    api.told["r1"], api.logs, api.namespace = [run.told], {run.pod("sft.executor"): log}, "team-a"
    code, told, _ = watch("--token", "secret")
    assert code == 1
    assert "error: step 'sft': the model is gone\n  see the hub\n" in told
    assert "launcher.go" not in told
    assert "not read: the workspace s3://absent/runs" in told
    assert api.headers[-1]["authorization"] == "Bearer secret"
    assert api.logs_asked == [(run.pod("sft.executor"), "team-a")]


@pytest.mark.parametrize("logs", [None, {}])
def test_what_cannot_be_read_is_said(watch: Watch, api: KfpApi, logs: dict[str, str] | None) -> None:
    run = training("FAILED", run="FAILED")
    api.told["r1"], api.logs = [run.told], logs
    code, told, _ = watch()
    assert code == 1
    assert "error: step 'sft' failed; its own error could not be read" in told
    assert "not read: logs of the kubeconfig's cluster: watch: no cluster is configured" in told
    assert ("not read: logs of Kubeflow Pipelines' server" in told) == (logs is None)
    assert f"{api.url}/#/runs/details/r1" in told


def test_a_pod_that_was_ended_from_outside_left_no_error(watch: Watch, api: KfpApi, s3_root: str) -> None:
    run = training("FAILED", run="FAILED")
    run.workspace = s3_root
    api.told["r1"] = [run.told]
    assert "error: step 'sft' was ended from outside and left no error" in watch()[1]
    api.logs = {run.pod("sft.executor"): "Traceback\nImportError: no torch\n"}
    assert "error: step 'sft': Traceback\n  ImportError: no torch\n" in watch()[1]


def test_the_kubernetes_api_tells_logs_and_why_a_pod_waits_or_was_killed(
    watch: Watch, api: KfpApi, cluster: KubernetesApi
) -> None:
    waits, runs, failed = training("RUNNING"), training("RUNNING"), training("FAILED", run="FAILED")
    waits.step("sft", "RUNNING", executor="PENDING")
    path = f"/api/v1/namespaces/play/pods/{runs.pod('sft.executor')}"
    full = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes: no GPU"}
    pending = {"status": {"phase": "Pending", "conditions": [full]}}
    killed = {"status": {"containerStatuses": [{"name": "main", "state": {"terminated": {"reason": "OOMKilled"}}}]}}
    cluster.objects[path] = pending
    cluster.texts[f"{path}/log"] = f"{PROGRESS}\nloading weights\n"
    api.told["r1"] = [waits.told, runs.told, failed.told]
    looks = iter([lambda: None])
    api.on_run = lambda: next(looks, lambda: cluster.objects.update({path: killed}))()
    code, told, _ = watch("--namespace", "play")
    lines = [" ".join(line.split()) for line in told.splitlines()]
    assert code == 1
    assert "sft waiting Unschedulable: 0/3 nodes: no GPU" in lines
    assert "sft running train 3/8 · 113 tok/s · 40 s left" in lines
    assert "error: step 'sft': OOMKilled" in lines
    assert "loading weights" in lines
    assert api.logs_asked == []


def test_pods_that_this_account_may_not_read_are_asked_of_kfp(
    watch: Watch, api: KfpApi, cluster: KubernetesApi
) -> None:
    run = training("FAILED", run="FAILED")
    path = f"/api/v1/namespaces/kubeflow/pods/{run.pod('sft.executor')}"
    cluster.denied |= {path, f"{path}/log"}
    api.told["r1"], api.logs = [run.told], {}
    assert "not read: logs of the kubeconfig's cluster: 403 Forbidden in namespace kubeflow" in watch()[1]
    api.logs = {run.pod("sft.executor"): "error: out of tokens\n"}
    assert "error: step 'sft': out of tokens" in watch()[1]


def finished(*, report: str = "SUCCEEDED", register: str = "SUCCEEDED") -> Run:
    run = Run(state="SUCCEEDED")
    last = run.step("register", register)
    run.step("report", "SUCCEEDED", executor=report, after=last)
    return run


def test_the_report_and_the_model_version_are_told(
    watch: Watch, api: KfpApi, s3_root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = finished()
    report, _ = reported(s3_root)
    reported(s3_root, version=4)
    end(s3_root, run, "report.executor", Ending("report", outputs={"report": report.key}), monkeypatch)
    api.told["r1"] = [run.told]
    code, told, _ = watch()
    assert (code, "not read" in told) == (0, False)
    assert f"report: {report.uri}/report.html" in told
    assert "model:  models:/demo/3\n" in told


def test_a_report_that_was_cached_is_found_by_its_version(
    watch: Watch, api: KfpApi, s3_root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = finished(report="SKIPPED")
    reported(s3_root, version=2)
    report, version = reported(s3_root)
    reported(s3_root, version=4)
    end(s3_root, run, "register.executor", Ending("register", outputs={"version": version.key}), monkeypatch)
    api.told["r1"] = [run.told]
    told = watch()[1]
    assert f"report: {report.uri}/report.html" in told
    assert "model:  models:/demo/3\n" in told


def test_a_failed_run_still_names_the_version_that_it_made(
    watch: Watch, api: KfpApi, s3_root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(state="FAILED")
    run.step("report", "FAILED", after=run.step("register"))
    _, version = reported(s3_root)
    end(s3_root, run, "register.executor", Ending("register", outputs={"version": version.key}), monkeypatch)
    end(s3_root, run, "report.executor", Ending("report", "no fonts"), monkeypatch)
    api.told["r1"] = [run.told]
    told = watch()[1]
    assert "error: step 'report': no fonts" in told
    assert ("model:  models:/demo/3\n" in told, "report:" in told) == (True, False)


def test_a_submission_can_be_watched(
    api: KfpApi, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "absent"))
    api.told["r1"] = [training("FAILED", run="FAILED").told]
    where = ("--host", api.url, "--workspace", "s3://absent/runs", "--no-preflight")
    with pytest.raises(SystemExit) as caught:
        main(["pipeline", "submit", "--preset", "demo", *where, "--watch", "--every", "0.1"])
    told = capsys.readouterr().out
    assert (caught.value.code, len(api.runs)) == (1, 1)
    assert "run r1 failed" in told
