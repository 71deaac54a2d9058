"""One real MLflow server for the test session."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from opencharacter.registry import local_server

# As the chart sets them with promoter.webhook; without the cache a webhook is known to the next event.
WEBHOOK_SETTINGS = {
    "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http",
    "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
    "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": Fernet.generate_key().decode(),
    "MLFLOW_WEBHOOK_CACHE_TTL": "0",
}


@pytest.fixture(scope="session")
def mlflow_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mlflow")


@pytest.fixture(scope="session")
def mlflow_uri(mlflow_folder: Path) -> Iterator[str]:
    """The server's address, also in MLFLOW_TRACKING_URI while the session lasts. It may call webhooks on loopback."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in WEBHOOK_SETTINGS.items():
            patch.setenv(name, value)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        with local_server(mlflow_folder) as uri:
            patch.setenv("MLFLOW_TRACKING_URI", uri)
            yield uri
