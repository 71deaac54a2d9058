"""Stand-ins for the images that the Dockerfiles start from, made from Debian's archive: no image registry is needed.

They bear the real ones' names. This machine's certificates, its package index settings and its own build of torch are
in them, so that the Dockerfiles build here as they are.
"""

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from support import standin_recipes
from support.build_script import script

_SUITE = "bookworm"
_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
_STANDIN = "opencharacter-standin"


def make_standins(names: dict[str, str], engine: dict[str, str]) -> None:
    """Make the images: `names` says which name gets a base of which kind.

    `bare` is Debian; `python` has Python, too; `vllm` has vLLM (its CPU build) in the system's Python, as the official
    image has it; `cuda` has NVIDIA's compiler and headers, and leaves torch to the package index. What an earlier run
    made from the same settings is used again.
    """
    environment = os.environ | engine | {"DOCKER_BUILDKIT": "1"}
    docker, settings = engine["DOCKER"], base_settings(script("requirements/install.py").pip_settings())
    told = subprocess.check_output([docker, "image", "ls", "--format", "{{.Repository}}:{{.Tag}}"], env=environment)
    present = told.decode().split()
    bare = f"{_STANDIN}:bare-{_digest(settings)}"
    if bare not in present:
        _debootstrap(settings, bare, environment)
    wheels = [path for path, content in settings.items() if isinstance(content, Path) and path.endswith(".whl")]
    tags = {"bare": bare}
    for kind in sorted({*names.values()} - {"bare"}):
        recipe = standin_recipes.recipe(kind, bare, wheels)
        tags[kind] = f"{_STANDIN}:{kind}-{_digest({**settings, **standin_recipes.context(), 'recipe': recipe})}"
        if tags[kind] not in present:
            command = [docker, "build", "--network", "host", "--tag", tags[kind], "--file", "-"]
            _run([*command, str(standin_recipes.ROOT)], environment, recipe)
    for name, kind in names.items():
        _run([docker, "tag", tags[kind], name], environment)
    for old in present:
        if any(old.startswith(f"{_STANDIN}:{kind}-") and old != tag for kind, tag in tags.items()):
            _run([docker, "image", "rm", old], environment)


def _debootstrap(settings: dict[str, str | Path], tag: str, environment: dict[str, str]) -> None:
    docker = environment["DOCKER"]
    with tempfile.TemporaryDirectory(dir=Path(environment["DOCKER_CONFIG"])) as scratch:
        root = Path(scratch)
        command = ["debootstrap", "--variant=minbase", "--include=ca-certificates", _SUITE, str(root)]
        _run(command, environment)
        for path, content in settings.items():
            target = root / path.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, Path):
                shutil.copyfile(content, target)
            else:
                target.write_text(content)
        shutil.rmtree(root / "var/cache/apt/archives")
        tar = subprocess.Popen(["tar", "--directory", scratch, "--create", "."], stdout=subprocess.PIPE)
        subprocess.run([docker, "import", "-", tag], stdin=tar.stdout, env=environment, check=True)
        if tar.wait():
            raise RuntimeError("the stand-in's root could not be packed")


def base_settings(pip: dict[str, str]) -> dict[str, str | Path]:
    """Files of the stand-ins by path, contents or what to copy, where pip is configured so.

    Of the folders of wheels, those come along that hold a build of torch; the others are not in the image.
    """
    folders = [Path(word.removeprefix("file://")) for word in pip.get("find-links", "").split()]
    wheels = [wheel for folder in folders if folder.is_dir() for wheel in sorted(folder.glob("torch-*.whl"))]
    links = sorted({str(wheel.parent) for wheel in wheels})
    remote = [url for key in ("index-url", "extra-index-url") for url in pip.get(key, "").split() if url[:4] == "http"]
    files: dict[str, str | Path] = {str(wheel): wheel for wheel in wheels}
    if _CERTIFICATES.exists():
        files[str(_CERTIFICATES)] = _CERTIFICATES
    pip_lines = ["[global]"]
    uv_lines = ["system-certs = true"]
    if links:
        pip_lines.append(f"find-links = {' '.join(links)}")
        uv_lines.append(f"find-links = {json.dumps(links)}")
    if remote:
        pip_lines.append(f"extra-index-url = {' '.join(remote)}")
        uv_lines += [f'[[index]]\nurl = "{url}"' for url in remote]
    files["/etc/pip.conf"] = "\n".join(pip_lines) + "\n"
    files["/etc/uv/uv.toml"] = "\n".join(uv_lines) + "\n"
    return files


def _digest(settings: dict[str, str | Path]) -> str:
    from opencharacter.hashing import digest

    told = [
        [path, [content.name, content.stat().st_size] if isinstance(content, Path) else content]
        for path, content in sorted(settings.items())
    ]
    return digest(told)[:12]


def _run(command: list[str], environment: dict[str, str], given: str | None = None) -> None:
    result = subprocess.run(
        command, env=environment, input=given, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if result.returncode:
        raise RuntimeError(f"failed: {' '.join(command)}\n" + "\n".join(result.stdout.splitlines()[-30:]))
