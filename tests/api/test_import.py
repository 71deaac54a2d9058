"""`import opencharacter` costs next to nothing, and editors see every name that it offers."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import opencharacter


def test_the_import_loads_nothing_heavy() -> None:
    script = """
import sys
before = set(sys.modules)
import opencharacter
opencharacter.__version__, dir(opencharacter)
print(*sorted(set(sys.modules) - before))
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    # The editable install's finder may bring some of the standard library along.
    loaded = {name.split(".")[0] for name in result.stdout.split()}
    assert loaded - set(sys.stdlib_module_names) == {"opencharacter"}
    assert "asyncio" not in loaded


def test_using_the_names_loads_no_framework() -> None:
    script = """
import sys, opencharacter as oc
for name in oc.__all__:
    getattr(oc, name)
print(*(name for name in ("torch", "transformers", "vllm", "kfp", "mlflow", "openai", "pandas") if name in sys.modules))
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == ""


def test_what_type_checkers_see_is_what_there_is() -> None:
    tree = ast.parse(Path(opencharacter.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    seen = {alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert sorted(seen) == sorted(opencharacter.__all__) == sorted(opencharacter._HOME_OF)
    for name, module in seen.items():
        assert getattr(opencharacter, name) is getattr(importlib.import_module(module or ""), name)


@pytest.mark.parametrize("name", opencharacter.__all__)
def test_each_name_says_how_it_is_used(name: str) -> None:
    value = getattr(opencharacter, name)
    assert value.__doc__
    if not name.endswith("_async") and not isinstance(value, type):
        assert ">>>" in value.__doc__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'make_profiles'"):
        opencharacter.make_profiles  # noqa: B018
