import urllib.request
from pathlib import Path

import pytest

from opencharacter.errors import OpenCharacterError
from opencharacter.registry import local_server


def test_a_folder_has_one_server(mlflow_uri: str, mlflow_folder: Path) -> None:
    with local_server(mlflow_folder) as uri:
        assert uri == mlflow_uri
    # Whoever only shared it must not have stopped it.
    with urllib.request.urlopen(f"{mlflow_uri}/health") as response:
        assert response.status == 200


def test_a_server_that_cannot_start_shows_its_log(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("no database, but long enough to be taken for one " * 20)
    with pytest.raises(OpenCharacterError, match="did not start") as caught, local_server(tmp_path):
        pass
    assert str(tmp_path / "server.log") in str(caught.value.hint)
    assert not (tmp_path / "server.json").exists()
