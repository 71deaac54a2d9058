"""What the chart's MLflow pods do before their server starts: run as it is, against real databases."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.helm import Manifest, one
from support.postgres import postgres

POSTGRESQL = "values-production.yaml"
TRIAL = "values-trial.yaml"


def pod(values: str, *settings: str) -> Manifest:
    return one("Deployment", "opencharacter-mlflow", values, *settings)["spec"]["template"]["spec"]


def migration(uri: str, values: str = POSTGRESQL) -> "subprocess.Popen[str]":
    """The init container's process, with this interpreter in place of the image's."""
    (container,) = pod(values)["initContainers"]
    command = [sys.executable, *container["command"][1:], *container["args"]]
    environment = os.environ | {"MLFLOW_BACKEND_STORE_URI": uri}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def ended(process: "subprocess.Popen[str]") -> tuple[int, str]:
    told = process.communicate(timeout=300)[0]
    return process.returncode, told


def verify(uri: str) -> None:
    """What a server does first: raises if the tables are of another version."""
    from mlflow.store.db import utils

    utils._verify_schema(utils.create_sqlalchemy_engine_with_retry(uri))


@pytest.fixture(scope="module")
def empty() -> Iterator[str]:
    with postgres() as uri:
        yield uri


def leave_as_an_older_mlflow_did(uri: str) -> None:
    from alembic import command
    from alembic.script import ScriptDirectory
    from mlflow.store.db import utils
    from mlflow.store.tracking.dbmodels.initial_models import Base

    engine = utils.create_sqlalchemy_engine_with_retry(uri)
    config = utils._get_alembic_config(uri)
    revisions = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
    with engine.begin() as connection:
        Base.metadata.create_all(connection)
        config.attributes["connection"] = connection
        command.upgrade(config, revisions[3])
    with pytest.raises(Exception, match="out-of-date database schema"):
        verify(uri)


def test_pods_that_start_together_make_the_tables_once(empty: str) -> None:
    together = [migration(empty) for _ in range(2)]
    for process in together:
        code, told = ended(process)
        assert code == 0, told
    verify(empty)
    code, told = ended(migration(empty))
    assert code == 0, told


def test_tables_of_a_newer_mlflow_are_left_alone_and_named(empty: str) -> None:
    import sqlalchemy

    with sqlalchemy.create_engine(empty).begin() as connection:
        connection.execute(sqlalchemy.text("UPDATE alembic_version SET version_num = 'ffffffffffff'"))
    code, told = ended(migration(empty))
    assert (code, "made by a newer MLflow?" in told) == (1, True), told


def test_a_database_out_of_reach_is_named_without_its_password() -> None:
    code, told = ended(migration("postgresql+psycopg://mlflow:hunter2@127.0.0.1:9/mlflow"))
    assert (code, "MLflow's database cannot be used" in told) == (1, True), told
    assert "hunter2" not in told


def test_an_upgrade_brings_a_trial_s_tables_along(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    leave_as_an_older_mlflow_did(uri)
    code, told = ended(migration(uri, TRIAL))
    assert code == 0, told
    verify(uri)


@pytest.mark.parametrize("values", [POSTGRESQL, TRIAL])
def test_it_runs_as_the_server_does(values: str) -> None:
    (container,) = pod(values)["initContainers"]
    (server,) = pod(values)["containers"]
    for key in ("image", "imagePullPolicy", "securityContext", "volumeMounts", "resources"):
        assert container[key] == server[key]
    database = next(each for each in container["env"] if each["name"] == "MLFLOW_BACKEND_STORE_URI")
    if values == POSTGRESQL:
        assert database in server["env"]
    else:
        assert f"--backend-store-uri={database['value']}" in server["args"]


def test_it_can_be_left_to_an_operator() -> None:
    assert "initContainers" not in pod(POSTGRESQL, "mlflow.backend.migrate=false")
