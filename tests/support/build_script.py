"""docker/build.py, which is a script and in no package."""

import importlib.util
from pathlib import Path
from types import ModuleType


def build_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_images", Path(__file__).parents[2] / "docker" / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
