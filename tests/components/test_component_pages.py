"""Each component says what it needs, what its inputs and outputs mean, and has a page made of that."""

import datetime

import pytest
from packaging.specifiers import SpecifierSet
from packaging.version import Version
from support.build_script import script

from opencharacter.cluster.images import STEPS, StepName

PAGES = script("docs/site/component_pages.py")


@pytest.mark.parametrize("step", STEPS)
def test_a_component_s_page_is_as_its_specification(step: StepName) -> None:
    assert (PAGES.folder_of(step) / "README.md").read_text(encoding="utf-8") == PAGES.readme(step), (
        "write it again: make component-docs"
    )


@pytest.mark.parametrize("step", STEPS)
def test_every_input_and_output_is_described_in_the_compiled_component(step: StepName) -> None:
    spec = PAGES.specification(step)
    assert spec["description"]
    for definitions in (spec["inputDefinitions"], spec["outputDefinitions"]):
        for entries in definitions.values():
            assert [name for name, entry in entries.items() if not entry.get("description")] == []


@pytest.mark.parametrize("step", STEPS)
def test_a_component_s_metadata_have_the_fields_of_kubeflow_s_components(step: StepName) -> None:
    metadata = PAGES.metadata_of(step)
    assert metadata.keys() == {"name", "stability", "dependencies", "tags", "lastVerified"}
    assert metadata["name"] == PAGES.folder_of(step).name
    assert metadata["stability"] in {"experimental", "alpha", "beta", "stable"}
    assert isinstance(metadata["lastVerified"], datetime.datetime)
    assert metadata["tags"]
    dependencies = metadata["dependencies"]
    [pipelines] = [each for each in dependencies["kubeflow"] if each["name"] == "Pipelines"]
    assert Version("2.17.0") in SpecifierSet(pipelines["version"])
    for each in [*dependencies["kubeflow"], *dependencies.get("external_services", [])]:
        SpecifierSet(each.get("version", ""))
