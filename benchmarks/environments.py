"""The Python environments of other systems: made once, kept in the cache folder."""

import shutil
import subprocess
import sys
from pathlib import Path

from opencharacter.system.cache import cache_folder


class NotInstallable(Exception):
    """The package index does not give what an environment needs."""


def environment_python(requirement: str, *, name: str | None = None) -> Path:
    """The interpreter of an environment that holds `requirement` (`name==version`). Raises `NotInstallable`.

    A `requirement` of another form, such as `-rFILE`, needs the environment's `name`.
    """
    folder = cache_folder("benchmarks") / (name or requirement.replace("==", "-"))
    python, complete = folder / "bin" / "python", folder / ".complete"
    if not complete.exists():
        shutil.rmtree(folder, ignore_errors=True)
        for command in (
            ["venv", "--quiet", "--python", sys.executable, str(folder)],
            ["pip", "install", "--quiet", "--python", str(python), requirement],
        ):
            ended = subprocess.run([_uv(), *command], capture_output=True, text=True)
            if ended.returncode:
                raise NotInstallable(ended.stderr.strip().splitlines()[-1] if ended.stderr.strip() else "uv failed")
        complete.touch()
    return python


def _uv() -> str:
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    if uv is None:
        raise NotInstallable("there is no uv")
    return uv
