"""What the steps around the registry say to each other survives Kubeflow Pipelines' store of metadata.

The compiled pipeline is walked as the server's driver walks it; champion, evaluate, register, report, promote and
deploy are the real components, run by the SDK's executor, on a real MLflow server.
"""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from kfp import compiler
from mlflow import MlflowClient
from pydantic import ValidationError
from support.compiled import Compiled
from support.kfp_driver import Walk, run_component
from support.kfp_values import Refused, recorded
from support.registry_models import make_evaluation, make_model
from support.small_run import OutputMaker

from opencharacter import evaluation, reporting
from opencharacter.components.deploy.component import deploy
from opencharacter.components.evaluate.component import evaluate
from opencharacter.components.get_champion.component import get_champion
from opencharacter.components.promote.component import promote
from opencharacter.components.register.component import register
from opencharacter.components.report.component import report
from opencharacter.components.runtime import Step
from opencharacter.config.loading import load_run_config
from opencharacter.pipelines.dag import build_pipeline
from opencharacter.records.evaluation import GRID
from opencharacter.registry import RegisteredModel, RegistryConfig, current_champion, resolve
from opencharacter.storage.kinds import suite_of

REAL = {each.name: each.python_func for each in (get_champion, evaluate, register, report, promote, deploy)}
VERSION = RegisteredModel(
    name="bard", version=3, uri="/models/bard", digest="d" * 64, aliases=("challenger",), tags={"base_model": "b"}
)
SMOKE = {"character": {"name": "Zoe"}, "question": "Who are you?"}


class SmallRun:
    """Runs the real components around the registry; the other steps publish small outputs."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.make = OutputMaker(root)
        self.model = make_model(self.make.workspace, "weights")
        self.champion_digest: str | None = None
        self.compared: list[str] = []
        self.reported: dict[str, Any] = {}
        self.suites: list[str] = []
        self.told: dict[str, Any] = {}
        # Scoring and drawing a page are other tests' business.
        monkeypatch.setattr(evaluation, "evaluate_suite", self._evaluate)
        monkeypatch.setattr(reporting, "make_report", self._report)

    def __call__(self, step: str, executor_input: dict[str, Any]) -> dict[str, Any]:
        if step in REAL:
            self.told[step] = run_component(REAL[step], executor_input)
            return self.told[step]
        told: dict[str, Any] = {"artifacts": {}}
        if step == "gate":
            told["parameterValues"] = {"Output": True, "decision": self._decision()}
        given = executor_input["inputs"]["parameterValues"]
        with Step(step, given["workspace"], given["run"]) as own:
            for name in executor_input["outputs"]["artifacts"]:
                artifact = SimpleNamespace(uri="", metadata={})
                own.publish(self.model if name == "model" else self.make(name, counts={"ok": 2**40}), artifact)
                told["artifacts"][name] = {"artifacts": [vars(artifact)]}
        return told

    def _decision(self) -> dict[str, Any]:
        decision = {"passed": True, "reason": "it is better", "metric": "loss", "confidence": 0.95, "n": 40}
        decision |= {"against": "base", "challenger_digest": self.model.part_digest("model")}
        return decision | ({"champion_digest": self.champion_digest} if self.champion_digest else {})

    def _evaluate(self, suite: str, *_: Any, models: dict[str, str], **__: Any) -> Any:
        self.compared.append(models.get("champion", "none"))
        return make_evaluation(self.make.workspace, 1.5, SMOKE if suite == GRID else None, suite=suite)

    def _report(self, inputs: Any, **_: Any) -> Any:
        self.reported, self.suites = inputs.registered, [suite_of(ref) for ref in inputs.evaluations]
        return self.make("report", texts={"report.html": "<h1>run</h1>"})


def walk(tmp_path: Path, registry: RegistryConfig, run: SmallRun, name: str, *more: str) -> Walk:
    settings = [f"registry.model_name={registry.model_name}", f"registry.experiment={registry.experiment}", *more]
    path = tmp_path / "pipeline.yaml"
    compiler.Compiler().compile(build_pipeline(load_run_config(preset="demo", overrides=settings)), str(path))
    return Walk(Compiled(path), tmp_path / name, run)


def test_a_version_is_known_whole_to_each_step_after_it(
    tmp_path: Path, registry: RegistryConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = SmallRun(tmp_path / "workspace", monkeypatch)
    workspace = run.make.workspace
    walk(tmp_path, registry, run, "first").run(workspace=workspace.uri)
    assert (run.reported["version"], run.reported["aliases"]) == (1, ["challenger"])
    [metrics] = run.told["evaluate"]["artifacts"]["metrics"]["artifacts"]
    assert list(metrics["metadata"]) == ["challenger/held_out_both/loss"]
    assert run.reported["tags"]["licences"] == "Apache-2.0, CC0-1.0"
    promoted = current_champion(registry)
    assert promoted is not None
    assert promoted == resolve(f"models:/{registry.model_name}/1")
    [deployment] = workspace.list("deployment")
    service = yaml.safe_load((deployment.path / "inferenceservice.yaml").read_text())
    assert "p" * 64 in str(service["metadata"]["annotations"]), "the lineage comes from the version's tags"
    run.champion_digest = promoted.digest
    walk(tmp_path, registry, run, "second").run(workspace=workspace.uri)
    # Each suite of a run compares with the same champion.
    assert list(dict.fromkeys(run.compared)) == ["none", promoted.uri]


def test_every_suite_reaches_registry_and_report_and_the_grid_s_question_the_version(
    tmp_path: Path, registry: RegistryConfig, mlflow_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = SmallRun(tmp_path / "workspace", monkeypatch)
    walked = walk(tmp_path, registry, run, "first", "evaluate.suites=[frozen,grid]")
    walked.run(workspace=run.make.workspace.uri)
    assert run.suites == ["frozen", "grid"]
    assert json.loads(run.reported["tags"]["smoke_question"]) == SMOKE
    client = MlflowClient(mlflow_uri)
    source = client.get_model_version(registry.model_name, run.reported["version"]).run_id
    cell = "challenger/held_out_both/loss"
    assert client.get_run(source).data.metrics == {f"eval/{cell}": 1.5, f"eval/frozen/{cell}": 1.5}


# The fault, put back: metadata that hold more than texts and numbers.


def fails_when_read(publish: Callable[[Any], None], read: Callable[[Any], object]) -> None:
    written = SimpleNamespace(uri="", metadata={})
    publish(written)
    read(SimpleNamespace(uri="", metadata=recorded("registered", written.metadata)))


def test_a_version_put_into_the_metadata_whole_cannot_be_read_back() -> None:
    with pytest.raises(ValidationError, match=r"(?s)aliases.*tags"):
        fails_when_read(
            lambda artifact: artifact.metadata.update(VERSION.model_dump(mode="json")),
            lambda artifact: RegisteredModel.model_validate(artifact.metadata),
        )


def test_a_null_in_the_metadata_fails_the_step_that_writes_it() -> None:
    with pytest.raises(Refused, match="unable to produce MLMD artifact"):
        fails_when_read(lambda artifact: artifact.metadata.update(previous=None), lambda artifact: artifact)


def test_texts_and_numbers_come_back_as_they_were() -> None:
    metadata = {"uri": "s3://models/m", "rows": 2**40, "share": 0.25, "version": 3}
    assert recorded("model", metadata) == metadata | {"display_name": "model", "store_session_info": "{}"}


@pytest.mark.parametrize(
    ("value", "read"), [(["a"], {"list": ["a"]}), ({"a": 1}, {"struct": {"a": 1}}), (True, 1), (False, 0)]
)
def test_what_else_metadata_hold_comes_back_changed(value: Any, read: Any) -> None:
    assert recorded("model", {"key": value})["key"] == read
