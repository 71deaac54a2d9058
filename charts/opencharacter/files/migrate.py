"""Bring MLflow's tables to this image's version; make them in an empty database.

Servers that start side by side would race for the first migration, and a server refuses tables of another version.
On PostgreSQL one process migrates while the others wait for its transaction; those then find nothing to do.
"""

import os
import subprocess
import sys

from sqlalchemy import create_engine, make_url, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

LOCK = 5_065_061  # any number that everyone agrees on


def migrate(uri: str) -> int:
    """Run MLflow's own command, which is idempotent; its exit code."""
    return subprocess.run([sys.executable, "-m", "mlflow", "db", "upgrade", uri]).returncode


def migrate_alone(uri: str) -> int:
    """The same, one process at a time. The lock is the transaction's: a session's would not pass a connection pool."""
    with create_engine(uri, poolclass=NullPool).begin() as connection:
        connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        return migrate(uri)


uri = os.environ["MLFLOW_BACKEND_STORE_URI"]
try:
    shared = make_url(uri).get_backend_name() == "postgresql"
    code = migrate_alone(uri) if shared else migrate(uri)
except SQLAlchemyError as error:
    sys.exit(f"MLflow's database cannot be used: {error}")
if code:
    sys.exit("MLflow's tables are not of this image's version, see above. Were they made by a newer MLflow?")
