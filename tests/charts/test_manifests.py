"""The Kustomize manifests are the chart's, and can't drift from it."""

import filecmp
import json
import subprocess
from pathlib import Path

import pytest
import yaml
from support.helm import ROOT, load_script

generator = load_script(ROOT / "manifests" / "generate.py")


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*.yaml")}


def test_they_are_what_the_chart_makes_today(tmp_path: Path) -> None:
    generator.generate(tmp_path)
    made, kept = files(tmp_path), files(ROOT / "manifests")
    assert made == kept, "run `make manifests`"
    _, different, failed = filecmp.cmpfiles(tmp_path, ROOT / "manifests", sorted(made), shallow=False)
    assert (different, failed) == ([], []), "run `make manifests`"


@pytest.mark.parametrize("overlay", list(generator.OVERLAYS))
def test_kustomize_and_helm_give_the_same_objects(overlay: str) -> None:
    folder = ROOT / "manifests" / "overlays" / overlay
    done = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    by_kustomize = [each for each in yaml.safe_load_all(done.stdout) if each]
    by_helm = generator.render(generator.OVERLAYS[overlay])

    def ordered(objects: list[dict[str, object]]) -> list[str]:
        return sorted(json.dumps(each, sort_keys=True) for each in objects)

    assert ordered(by_kustomize) == ordered(by_helm)


def test_another_namespace_and_account_are_taken_everywhere(tmp_path: Path) -> None:
    generator.generate(tmp_path, "elsewhere", ["--set=pipeline.serviceAccount=pipeline-runner"])
    text = "".join(path.read_text() for path in tmp_path.rglob("*.yaml"))
    assert "elsewhere" in text
    assert generator.NAMESPACE not in text
    binding = yaml.safe_load((tmp_path / "base" / "rolebinding-opencharacter-pipeline.yaml").read_text())
    assert [each["name"] for each in binding["subjects"]] == ["pipeline-runner"]


def test_a_value_that_helm_refuses_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="nothing was written"):
        generator.generate(tmp_path, options=["--set=preflight.gpus=3"])
    assert list(tmp_path.iterdir()) == []
