"""The files that people and services read to work on the project."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


def make_targets() -> set[str]:
    """The targets that the Makefile declares for people."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    names = {name for line in re.findall(r"^\.PHONY: (.+)$", text, re.MULTILINE) for name in line.split()}
    return {name for name in names if re.fullmatch(r"[a-z-]+", name)}


def test_make_help_lists_each_target_with_what_it_does() -> None:
    told = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    listed = dict(re.findall(r"^  ([a-z-]+) +(\S.*)$", told, re.MULTILINE))
    assert listed.keys() == make_targets()
