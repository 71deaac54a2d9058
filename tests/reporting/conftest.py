from pathlib import Path

import pytest
from support.small_run import OutputMaker


@pytest.fixture
def make_output(tmp_path: Path) -> OutputMaker:
    return OutputMaker(tmp_path / "workspace")
