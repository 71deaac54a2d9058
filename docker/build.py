"""Build the images that docker/docker-bake.json declares, with any engine that has BuildKit: `python docker/build.py`.

The same file serves `docker buildx bake -f docker/docker-bake.json`; this needs nothing but Python and an engine.
Each `variable` of the file may be set in the environment. Arguments after `--` go to every `docker build`.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
BAKE_FILE = ROOT / "docker" / "docker-bake.json"


class Bake:
    """The bake file with its variables filled in: from the environment, else their defaults."""

    def __init__(self, environment: dict[str, str]) -> None:
        bake = json.loads(BAKE_FILE.read_text(encoding="utf-8"))
        self._values = {name: environment.get(name, spec["default"]) for name, spec in bake["variable"].items()}
        self._targets = bake["target"]
        self.images: list[str] = bake["group"]["default"]["targets"]
        self.known = [name for name, target in self._targets.items() if "dockerfile" in target]

    def value(self, name: str) -> str:
        """A variable's value."""
        return self._values[name]

    def target(self, name: str) -> dict[str, Any]:
        """A target with what it inherits; of its own tables, keys replace inherited ones."""
        own: dict[str, Any] = self._targets[name]
        whole: dict[str, Any] = {}
        for parent in own.get("inherits", []):
            whole |= self.target(parent)
        for key, value in own.items():
            whole[key] = whole.get(key, {}) | value if isinstance(value, dict) else value
        return self._filled(whole)

    def _filled(self, value: Any) -> Any:
        if isinstance(value, str):
            return re.sub(r"\$\{(\w+)\}", lambda found: self._values[found[1]], value)
        if isinstance(value, list):
            return [self._filled(item) for item in value]
        return {key: self._filled(item) for key, item in value.items()} if isinstance(value, dict) else value


def build_command(engine: str, target: dict[str, Any], extra: list[str]) -> list[str]:
    """The `docker build` that makes a target."""
    command = [engine, "build", "--file", target["dockerfile"]]
    for option, table in (("--build-arg", target["args"]), ("--label", target["labels"])):
        for key, value in table.items():
            command += [option, f"{key}={value}"]
    for tag in target["tags"]:
        command += ["--tag", tag]
    return [*command, *extra, target["context"]]


def main(arguments: list[str]) -> int:
    """Build, and push if asked to. Exit code 2 for an unknown image."""
    split = arguments.index("--") if "--" in arguments else len(arguments)
    # What is built decides the library's fingerprint, so no variable may name another.
    bake = Bake({"REVISION": _revision(), **os.environ, "LIBRARY": _library()})
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "images", nargs="*", metavar="IMAGE", help=f"of {', '.join(bake.known)}; none named: {', '.join(bake.images)}"
    )
    parser.add_argument(
        "--push",
        type=Path,
        metavar="FILE",
        help="push them, and write the key `images` of a profile and of the chart to FILE",
    )
    options = parser.parse_args(arguments[:split])
    images = options.images or bake.images
    if unknown := sorted(set(images) - set(bake.known)):
        parser.error(f"no image {unknown[0]!r}; there are {', '.join(bake.known)}")
    if options.push and bake.value("TAG") == "latest":
        parser.error("TAG=latest names no version, and a cluster file refuses it; expected a tag such as 0.1.0")
    engine = os.environ.get("DOCKER", "docker")
    for image in images:
        print(f"--- {image}", flush=True)
        _run(build_command(engine, bake.target(image), arguments[split + 1 :]))
    if options.push:
        digests = {image: _push(engine, bake.target(image)["tags"][0]) for image in images}
        options.push.write_text(images_yaml(bake.value("REGISTRY"), bake.value("TAG"), digests), encoding="utf-8")
        print(f"wrote {options.push}: the key `images` of a cluster file, and a values file of the chart")
    return 0


def images_yaml(registry: str, tag: str, digests: dict[str, str]) -> str:
    """The key `images` in block style, so that it can be appended to a profile. JSON's strings are YAML's, too."""
    lines = ["images:", f"  registry: {json.dumps(registry)}", f"  tag: {json.dumps(tag)}", "  digests:"]
    return "\n".join([*lines, *(f"    {image}: {json.dumps(digest)}" for image, digest in digests.items())]) + "\n"


def _push(engine: str, tag: str) -> str:
    _run([engine, "push", "--quiet", tag])
    inspected = subprocess.check_output(
        [engine, "image", "inspect", "--format", "{{json .RepoDigests}}", tag], text=True
    )
    repository = tag.rpartition(":")[0]
    [digest] = [found.partition("@")[2] for found in json.loads(inspected) if found.startswith(repository + "@")]
    return digest


def _run(command: list[str]) -> None:
    result = subprocess.run(command, cwd=ROOT, env=os.environ | {"DOCKER_BUILDKIT": "1"})
    if result.returncode:
        sys.exit(f"error: failed ({result.returncode}): {' '.join(command)}")


def _library() -> str:
    """The fingerprint of this checkout's library, which its images carry as a label."""
    sys.path.insert(0, str(ROOT))
    from opencharacter.library import fingerprint

    return fingerprint()


def _revision() -> str:
    try:
        command = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
        return subprocess.check_output(command, text=True, stderr=subprocess.DEVNULL).strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
