"""`make install`: which Python it takes, and which build of torch."""

import importlib.metadata
import os
import re
import subprocess
import sys
import venv
from pathlib import Path
from types import ModuleType

import pytest
from support.build_script import ROOT, script
from support.standin_bases import base_settings
from support.torch_index import VERSION, Reach, torch_indexes, wheel

PIN = f"torch=={VERSION}"


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """requirements/install.py, on a machine without a GPU."""
    module = script("requirements/install.py")
    monkeypatch.setattr(module, "_has_gpu", lambda: False)
    return module


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An empty virtual environment's, without settings of this machine."""
    venv.create(tmp_path / "venv", with_pip=False)
    return {"PATH": os.environ["PATH"], "UV_PYTHON": str(tmp_path / "venv/bin/python")}


def installed(environment: dict[str, str]) -> str:
    """The version of torch that is there."""
    [packages] = Path(environment["UV_PYTHON"]).parents[1].glob("lib/python3*/site-packages")
    [found] = importlib.metadata.distributions(name="torch", path=[str(packages)])
    return found.version


@pytest.mark.parametrize(
    ("pytorch", "gpu", "version", "build"),
    [
        ("served", False, f"{VERSION}+cpu", "CPU"),
        ("served", True, VERSION, "CUDA"),
        ("refused", False, VERSION, "CUDA"),
        ("silent", False, VERSION, "CUDA"),
    ],
)
def test_without_a_gpu_torch_is_the_cpu_build_if_that_can_be_reached(
    pytorch: Reach,
    gpu: bool,
    version: str,
    build: str,
    install: ModuleType,
    environment: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(install, "_has_gpu", lambda: gpu)
    if pytorch == "silent":
        monkeypatch.setattr(install, "_PROBE_S", 3)
    with torch_indexes(tmp_path, pytorch) as variables:
        install.install_torch(PIN, environment | variables)
        assert installed(environment) == version
        [line] = capfd.readouterr().out.splitlines()
        assert re.match(rf"torch: the {build} build \(.+\); about [\d.]+ GB to fetch, [\d.]+ GB on disk$", line)
        install.install_torch(PIN, environment | variables)
    assert not capfd.readouterr().out, "it is there: nothing is fetched, and nothing said"


def test_the_user_s_own_choice_of_a_backend_holds(
    install: ModuleType, environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install, "_has_gpu", lambda: True)
    with torch_indexes(tmp_path, "served") as variables:
        install.install_torch(PIN, environment | variables | {"UV_TORCH_BACKEND": "cpu"})
    assert installed(environment) == f"{VERSION}+cpu"


def test_the_user_s_own_choice_is_not_replaced_where_it_cannot_be_had(
    install: ModuleType, environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with torch_indexes(tmp_path, "refused") as variables, monkeypatch.context() as patch:
        for name, value in {**environment, **variables, "UV_HTTP_RETRIES": "0", "UV_TORCH_BACKEND": "cpu"}.items():
            patch.setenv(name, value)
        (tmp_path / "some.lock").write_text(PIN)
        assert install.main(["--requirements", str(tmp_path / "some.lock")]) != 0
    assert not list((tmp_path / "venv").glob("lib/python3*/site-packages/torch*"))


def test_a_cpu_build_in_pip_s_folder_of_wheels_is_taken_whatever_else_pip_names(
    install: ModuleType, environment: dict[str, str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    name, content = wheel(f"{VERSION}+cpu")
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / name).write_bytes(content)
    links = f"{tmp_path}/not-there file://{tmp_path}/not-there-either {tmp_path}/wheels"
    with torch_indexes(tmp_path, "refused") as variables:
        given = install.uv_environment(environment | variables, {"find-links": links})
        assert given["UV_FIND_LINKS"] == f"{tmp_path}/wheels"
        install.install_torch(PIN, given)
    assert installed(environment) == f"{VERSION}+cpu"
    assert "the CPU build" in capfd.readouterr().out


def test_pip_s_settings_hold_for_uv_unless_it_has_its_own(install: ModuleType, tmp_path: Path) -> None:
    pip = {"find-links": str(tmp_path), "index-url": "https://mirror.example/simple"}
    assert install.uv_environment({}, pip) | {"UV_PYTHON": ""} == {
        "UV_PYTHON": "",
        "UV_FIND_LINKS": str(tmp_path),
        "UV_DEFAULT_INDEX": "https://mirror.example/simple",
    }
    own = {"UV_PYTHON": "p", "UV_FIND_LINKS": "", "UV_DEFAULT_INDEX": "https://own.example/simple"}
    assert install.uv_environment(own, pip) == own


def test_pip_s_variables_are_stronger_than_its_files(
    install: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pip.conf").write_text("[global]\nindex-url = https://file.example/simple\nfind-links =\n  /a\n  /b\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.setenv("PIP_INDEX_URL", "https://variable.example/simple")
    settings = install.pip_settings()
    assert settings["index-url"] == "https://variable.example/simple"
    assert settings["find-links"].split()[-2:] == ["/a", "/b"]


@pytest.mark.parametrize("there", ["no folder", "no wheel of torch", "a wheel of torch"])
def test_stand_in_images_name_only_folders_that_they_hold(there: str, tmp_path: Path) -> None:
    folder = tmp_path / "wheels"
    if there != "no folder":
        folder.mkdir()
        (folder / "other-1-py3-none-any.whl").touch()
    if there == "a wheel of torch":
        (folder / "torch-2.13.0+cpu-cp311-cp311-linux_x86_64.whl").touch()
    files = base_settings({"find-links": str(folder)})
    held = there == "a wheel of torch"
    assert (str(folder) in {str(Path(path).parent) for path in files}) == held
    for name in ("/etc/pip.conf", "/etc/uv/uv.toml"):
        assert ("find-links" in str(files[name])) == held


def interpreter(folder: Path, name: str, version: str, lacks: str = "") -> None:
    """A Python of another version, as far as venv.sh asks: this one's answers, but for what it is said to lack."""
    major, minor = version.split(".")
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(
        f"#!{sys.executable}\n"
        "import sys, sysconfig\n"
        f"sys.version_info = type('V', (tuple,), {{}})(({major}, {minor}, 0))\n"
        + ("sys.modules['ensurepip'] = None\n" if lacks == "venv" else "")
        + (
            "given = sysconfig.get_paths; sysconfig.get_paths = lambda *a: given(*a) | {'include': '/not-there'}\n"
            if lacks == "headers"
            else ""
        )
        + "if sys.argv[1:] == ['-']:\n    exec(sys.stdin.read())\n"
        "elif sys.argv[1] == '-m':\n"
        f"    import pathlib\n    pathlib.Path(sys.argv[-1], 'bin').mkdir(parents=True)\n"
        f"    pathlib.Path(sys.argv[-1], 'pyvenv.cfg').write_text({name!r})\n"
        f"else:\n    print('Python {version}.0')\n"
    )
    path.chmod(0o755)


def make_venv(path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["/bin/sh", str(ROOT / "requirements/venv.sh"), *arguments]
    return subprocess.run(command, env={"PATH": f"{path}:{path.parent}/system"}, capture_output=True, text=True)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A folder for interpreters; the search path holds it, and `cat` and `ls` besides."""
    for folder in ("path", "system"):
        (tmp_path / folder).mkdir()
    for tool in ("cat", "ls"):
        [found] = [place for place in (Path("/bin", tool), Path("/usr/bin", tool)) if place.exists()][:1]
        (tmp_path / "system" / tool).symlink_to(found)
    return tmp_path / "path"


def test_the_newest_fitting_python_is_taken(path: Path, tmp_path: Path) -> None:
    interpreter(path, "python3.12", "3.12")
    interpreter(path, "python3.11", "3.11")
    interpreter(path, "python3", "3.11")
    shim = path / "python3.13"
    shim.write_text("#!/bin/sh\necho 'pyenv: python3.13: command not found' >&2\nexit 127\n")
    shim.chmod(0o755)
    result = make_venv(path, f"{tmp_path}/venv")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "venv/pyvenv.cfg").read_text() == "python3.12"


def test_python3_is_taken_if_its_version_fits(path: Path, tmp_path: Path) -> None:
    interpreter(path, "python3", "3.13")
    assert make_venv(path, f"{tmp_path}/venv").returncode == 0


def test_one_line_says_what_is_missing(path: Path, tmp_path: Path) -> None:
    interpreter(path, "python3.12", "3.12", lacks="venv")
    interpreter(path, "python3.11", "3.11", lacks="headers")
    interpreter(path, "python3", "3.14")
    result = make_venv(path, f"{tmp_path}/venv")
    assert result.returncode == 2
    [line] = result.stderr.splitlines()
    for part in ("python3.12 has no venv", "python3.11-dev", "python3 is 3.14", "needs 3.11, 3.12 or 3.13", "PYTHON="):
        assert part in line
    assert not (tmp_path / "venv").exists()


def test_a_python_named_by_the_user_is_checked_and_no_other_is_taken(path: Path, tmp_path: Path) -> None:
    interpreter(path, "python3.13", "3.13")
    interpreter(path, "python3.10", "3.10")
    result = make_venv(path, f"{tmp_path}/venv", str(path / "python3.10"))
    assert result.returncode == 2
    assert "python3.10 is 3.10" in result.stderr
    assert "not-there is not in the path" in make_venv(path, f"{tmp_path}/venv", "not-there").stderr


def test_a_folder_that_is_no_virtual_environment_is_left_alone(path: Path, tmp_path: Path) -> None:
    interpreter(path, "python3.13", "3.13")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("of years")
    result = make_venv(path, f"{tmp_path}/mine")
    assert result.returncode == 2
    assert "no virtual environment" in result.stderr
    assert (tmp_path / "mine" / "thesis.txt").exists()


def test_an_environment_that_fits_is_kept(tmp_path: Path, path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=False)
    (tmp_path / "venv" / "kept").touch()
    interpreter(path, "python3.13", "3.13")
    assert make_venv(path, f"{tmp_path}/venv").returncode == 0
    assert (tmp_path / "venv" / "kept").exists()
