"""Install into the virtual environment that runs this, with uv: `python requirements/install.py PIP-INSTALL-OPTIONS`.

What pip is configured with (an index, folders of wheels) holds for uv, too, where uv has no setting of its own. torch
is installed first: on a machine without a GPU its CPU build, if PyTorch's own index can be reached, else what the
package index has, which is built for CUDA and works on a CPU, too. The rest then keeps it.
"""

import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urlparse

_UV = [str(Path(sys.executable).parent / "uv"), "pip"]
_PROBE_S = 20
# What a fresh environment fetches and takes with either build, in GB.
_SIZES = {"CPU": (1.4, 4.0), "CUDA": (3.7, 7.4)}


def uv_environment(environment: dict[str, str], pip: dict[str, str]) -> dict[str, str]:
    """The variables for uv: `environment`, and what only pip's settings `pip` name. Folders that are not there are left
    out: pip passes over them, uv fails.
    """
    settings = {}
    links = [word for word in pip.get("find-links", "").split() if _is_there(word)]
    if links:
        settings["UV_FIND_LINKS"] = ",".join(links)
    if "UV_INDEX_URL" not in environment and pip.get("index-url", "").startswith("http"):
        settings["UV_DEFAULT_INDEX"] = pip["index-url"]
    return {"UV_PYTHON": sys.executable, **settings, **environment}


def _is_there(link: str) -> bool:
    scheme = urlparse(link).scheme
    return scheme in ("http", "https") or Path(unquote(urlparse(link).path) if scheme == "file" else link).exists()


def pip_settings() -> dict[str, str]:
    """What pip's files and variables say; a variable is stronger than a file."""
    listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True).stdout
    found = re.findall(r"^(global|install|:env:)\.([\w-]+)='(.*)'$", listed, re.MULTILINE)
    ordered = sorted(found, key=lambda line: ["global", "install", ":env:"].index(line[0]))
    return {name: value.replace("\\n", " ") for _, name, value in ordered}


def install_torch(pin: str, environment: dict[str, str]) -> None:
    """Install torch, unless it is there; say what is fetched before it is. CalledProcessError where uv fails."""
    command = [*_UV, "install", "--no-deps", pin]
    build = _planned(command, environment)
    why = "set UV_TORCH_BACKEND for another"
    if build == "CUDA" and "UV_TORCH_BACKEND" not in environment and not _has_gpu():
        if _reaches_cpu_build(command, environment):
            _say("CPU", "no GPU here")
            if not subprocess.run([*command, "--quiet", "--torch-backend", "cpu"], env=environment).returncode:
                return
        why = "works without a GPU, too; PyTorch's index of CPU builds does not answer"
    if build:
        _say(build, why)
        subprocess.run([*command, "--quiet"], env=environment, check=True)


def _reaches_cpu_build(command: list[str], environment: dict[str, str]) -> bool:
    quick = environment | {"UV_HTTP_TIMEOUT": "5", "UV_HTTP_RETRIES": "0"}
    try:
        return _planned([*command, "--torch-backend", "cpu"], quick, _PROBE_S) == "CPU"
    except subprocess.SubprocessError:
        return False


def _planned(command: list[str], environment: dict[str, str], limit_s: float | None = None) -> str:
    """The build of torch that the command would install; empty if torch is there."""
    command = [*command, "--dry-run"]
    planned = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=limit_s, check=True)
    found = re.search(r"^ \+ torch==(\S+)", planned.stderr, re.MULTILINE)
    return "" if not found else "CPU" if found[1].endswith("+cpu") else "CUDA"


def _has_gpu() -> bool:
    return any(
        Path(path).exists()
        for path in ("/dev/nvidiactl", "/proc/driver/nvidia/version", "/usr/lib/wsl/lib/libcuda.so.1")
    )


def _say(build: str, why: str) -> None:
    fetched, kept = _SIZES[build]
    print(f"torch: the {build} build ({why}); about {fetched} GB to fetch, {kept} GB on disk", flush=True)


def main(options: list[str]) -> int:
    """Install. Exit code: uv's."""
    environment = uv_environment(dict(os.environ), pip_settings())
    locks = [Path(path) for option, path in pairwise(options) if option == "--requirements"]
    pins = [line.split(" ;")[0] for lock in locks for line in lock.read_text().splitlines() if line[:7] == "torch=="]
    try:
        for pin in pins:
            install_torch(pin, environment)
    except subprocess.CalledProcessError as error:
        print(error.stderr or "", end="", file=sys.stderr)
        return error.returncode
    # torch is there, and PyTorch's index may hold other versions of what else is locked.
    rest = {name: value for name, value in environment.items() if name != "UV_TORCH_BACKEND"}
    return subprocess.run([*_UV, "install", "--quiet", *options], env=rest).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
