"""What the tools that read the source see of it: every import resolves, every layer is declared, no cycle."""

import json
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(900)
def test_an_editor_resolves_every_import_and_finds_no_error() -> None:
    command = [str(Path(sys.executable).parent / "pyright"), "--outputjson", "--pythonpath", sys.executable]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    report = json.loads(done.stdout)
    assert report["summary"]["filesAnalyzed"] > 450
    assert [
        f"{Path(found['file']).relative_to(ROOT)}:{found['range']['start']['line'] + 1}: {found['message']}"
        for found in report["generalDiagnostics"]
    ] == []


def test_no_module_imports_itself_by_way_of_others() -> None:
    graph = grimp.build_graph("opencharacter", exclude_type_checking_imports=True, cache_dir=None)
    assert {"opencharacter.components.runtime", "opencharacter.pipelines.dag"} <= graph.modules
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))
