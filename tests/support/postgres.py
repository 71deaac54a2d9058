"""A real PostgreSQL server for a test, of the programs `initdb` and `pg_ctl` on the PATH or of Debian's package."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def _program(name: str) -> str:
    packaged = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    found = shutil.which(name) or (str(packaged[-1]) if packaged else None)
    if found is None:
        pytest.skip(f"no {name}: run `make test-charts`, or install Debian's package postgresql")
    return found


@contextmanager
def postgres() -> Iterator[str]:
    """The address of a server with no table: `postgresql+psycopg://USER@127.0.0.1:PORT/postgres`."""
    initdb, pg_ctl = map(_program, ("initdb", "pg_ctl"))
    with tempfile.TemporaryDirectory(prefix="postgres-") as home, socket.socket() as probe:
        os.chmod(home, 0o777)
        data = f"{home}/data"
        # It refuses to run as root.
        as_user = {"user": "nobody"} if os.geteuid() == 0 else {}

        def run(*command: str) -> None:
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **as_user)  # type: ignore[call-overload]
            assert done.returncode == 0, done.stdout

        run(initdb, "-D", data, "-U", "mlflow", "-A", "trust", "--no-sync")
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off"
        run(pg_ctl, "-D", data, "-w", "-l", f"{home}/log", "-o", options, "start")
        try:
            yield f"postgresql+psycopg://mlflow@127.0.0.1:{port}/postgres"
        finally:
            run(pg_ctl, "-D", data, "-m", "immediate", "stop")
