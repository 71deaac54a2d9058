"""Starting containers as a restricted cluster starts pods."""

import os
import subprocess

RESTRICTED = [
    "--read-only",
    *("--tmpfs", "/tmp:mode=1777"),
    *("--tmpfs", "/var/opencharacter:uid=65532,gid=65532,mode=0700,exec"),
    *("--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
]


def docker(*arguments: str, check: bool = True) -> str:
    """Output of a `docker` command; `check` fails the test if the command does."""
    command = [os.environ["DOCKER"], *arguments]
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    assert not check or result.returncode == 0, f"{' '.join(command[:8])} …:\n{result.stdout}"
    return result.stdout


def run_in(image: str, *command: str, options: tuple[str, ...] = ("--network", "none")) -> str:
    """Output of a command in a container without anything that it need not have."""
    return docker("run", "--rm", *RESTRICTED, *options, image, *command)
