"""The files that people and services read to work on the project."""

import json
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from opencharacter import __version__

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
# What git would list, whether the tree is a checkout or not.
PAGES = [
    path
    for path in sorted([*ROOT.glob("*.md"), *ROOT.glob("[a-z]*/**/*.md"), *ROOT.glob(".github/*.md")])
    if not {"build", "work", "node_modules", "site"} & set(path.relative_to(ROOT).parts)
]


def read(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def pyproject() -> dict[str, Any]:
    return tomllib.loads(read("pyproject.toml"))


def make_targets() -> set[str]:
    """The targets that the Makefile declares for people."""
    names = {name for line in re.findall(r"^\.PHONY: (.+)$", read("Makefile"), re.MULTILINE) for name in line.split()}
    return {name for name in names if re.fullmatch(r"[a-z-]+", name)}


def called_targets(text: str) -> set[str]:
    """The targets of `make` calls in a script: words after `make` up to the first that is no plain word."""
    calls = re.findall(r"(?:^|[\s;&|])make((?: [a-z][a-z-]*)+)(?= |$)", text, re.MULTILINE)
    return {target for call in calls for target in call.split()}


def commands(workflow: Path) -> str:
    jobs = yaml.safe_load(workflow.read_text(encoding="utf-8"))["jobs"]
    return "\n".join(step.get("run", "") for job in jobs.values() for step in job["steps"])


def test_make_help_lists_each_target_with_what_it_does() -> None:
    told = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    listed = dict(re.findall(r"^  ([a-z-]+) +(\S.*)$", told, re.MULTILINE))
    assert listed.keys() == make_targets()


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_calls_make_targets_that_exist(workflow: Path) -> None:
    called = called_targets(commands(workflow))
    assert called
    assert called <= make_targets()


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_pins_its_actions_by_commit(workflow: Path) -> None:
    for line in re.findall(r"uses: (.*)", workflow.read_text(encoding="utf-8")):
        assert re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line), line


def test_the_ci_workflow_and_the_ci_script_check_the_same() -> None:
    script = called_targets(read(".ci/run"))
    assert script
    assert called_targets(commands(ROOT / ".github" / "workflows" / "ci.yml")) == script


def test_one_version_is_named_everywhere() -> None:
    chart = yaml.safe_load(read("charts/opencharacter/Chart.yaml"))
    named = {
        "pyproject.toml": pyproject()["project"]["version"],
        "Chart.yaml version": chart["version"],
        "Chart.yaml appVersion": chart["appVersion"],
        "docker-bake.json": json.loads(read("docker/docker-bake.json"))["variable"]["TAG"]["default"],
        "CITATION.cff": yaml.safe_load(read("CITATION.cff"))["version"],
    }
    assert named == dict.fromkeys(named, __version__)


def test_the_release_notes_are_the_changelog_s_section_of_the_version() -> None:
    notes = subprocess.run(
        ["make", "--no-print-directory", "release-notes"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert notes.strip()
    assert notes in read("CHANGELOG.md")
    assert "## [" not in notes


def test_the_citation_files_name_the_same_paper() -> None:
    citation = yaml.safe_load(read("CITATION.cff"))
    assert citation["cff-version"] == "1.2.0"
    [paper] = citation["references"]
    entry = dict(re.findall(r"^  (\w+) *= \{(.*)\},?$", read("CITATION.bib"), re.MULTILINE))
    assert re.sub("[{}]", "", entry["title"]) == paper["title"]
    names = [f"{author['family-names']}, {author['given-names']}" for author in paper["authors"]]
    assert entry["author"].split(" and ") == names
    assert entry["url"] == paper["url"] == pyproject()["project"]["urls"]["Paper"]


def test_pre_commit_and_make_lint_run_the_same_ruff() -> None:
    repositories = yaml.safe_load(read(".pre-commit-config.yaml"))["repos"]
    [revision] = [each["rev"] for each in repositories if each["repo"].endswith("/ruff-pre-commit")]
    assert f"ruff=={revision.removeprefix('v')}" in read("requirements/dev.lock").splitlines()


def test_everything_names_one_repository() -> None:
    repository = pyproject()["project"]["urls"]["Repository"]
    texts = {path: read(path) for path in ("charts/opencharacter/Chart.yaml", "docker/docker-bake.json")}
    texts |= {path: read(path) for path in ("CITATION.cff", "CHANGELOG.md", "SECURITY.md", "CODE_OF_CONDUCT.md")}
    owner = repository.removeprefix("https://github.com/").split("/")[0]
    for path, text in texts.items():
        found = set(re.findall(rf"https://github\.com/{owner}/[\w-]+", text))
        assert found == {repository}, path


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_page_links_to_what_exists(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    links = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|href)="([^"]+)"', text)
    for link in links:
        target, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        path = (page.parent / target) if target else page
        assert path.exists(), link
        if anchor and path.suffix == ".md":
            assert anchor in anchors(path), link


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/release.md", "docs/design.md"])
def test_files_and_folders_that_a_page_for_developers_names_exist(page: str) -> None:
    named = set(re.findall(r"`((?:[\w.-]+/)+[\w.-]*)`", read(page)))
    assert named
    missing = {path for path in named if "NAME" not in path and not (ROOT / path).exists()}
    assert not missing


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub makes of a page's headings, and those that it sets itself."""
    text = page.read_text(encoding="utf-8")
    headings = re.findall(r"^#+ +(.+)$", text, re.MULTILINE)
    made = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return made | set(re.findall(r'<a (?:id|name)="([^"]+)"', text))


def test_every_cited_decision_is_written_down() -> None:
    written = set(re.findall(r'<a id="decision-(\d+)"></a>\n### \1\. ', read("docs/design.md")))
    files = [path for top in ("opencharacter", "components", "pipelines") for path in (ROOT / top).rglob("*.*")]
    texts = [path.read_text(encoding="utf-8") for path in files if path.suffix in {".py", ".md", ".yaml"}]
    cited = {number for text in texts for number in re.findall(r"docs/design\.md, decision (\d+)", text)}
    assert cited
    assert cited <= written
