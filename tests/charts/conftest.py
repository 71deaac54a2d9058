"""These tests need the tools that tests/charts/install.sh fetches: run `make test-charts`."""

import shutil

import pytest


@pytest.fixture(scope="session", autouse=True)
def _tools() -> None:
    missing = [name for name in ("helm", "kubectl", "kubernetes-validate", "checkov") if shutil.which(name) is None]
    if missing:
        pytest.exit(f"not on the PATH: {', '.join(missing)}; run `make test-charts`", returncode=2)
