"""YAML documents other than the run configuration: faults name file, line and key."""

import pytest

from opencharacter.cluster.spec import Cluster
from opencharacter.errors import UserError
from opencharacter.yaml_files import load_document

CLUSTER = """\
name: lab
images:
  tag: "1.2"
steps:
  sft:
    accelerator: {count: 8}
"""


def test_a_sound_document_is_read() -> None:
    assert load_document(Cluster, CLUSTER, "lab.yaml").steps["sft"].accelerator is not None


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("count: 8", "count: 3", "lab.yaml:6: steps.sft.accelerator.count"),
        ("accelerator", "acelerator", "lab.yaml:6: steps.sft.acelerator: unknown key; did you mean 'accelerator'?"),
        ("  sft:", "  stf:", "lab.yaml:5: steps.stf"),
        ('"1.2"', "latest", "never 'latest'"),
        ("steps:", "steps: [", "lab.yaml:"),
        (
            "    accelerator",
            "    cpu: 4\n    accelerator: {count: 1}\n    accelerator",
            "lab.yaml:8: the key 'accelerator'",
        ),
        ("name: lab", "", "lab.yaml:2: name: is missing"),
    ],
)
def test_a_wrong_document_names_line_and_key(old: str, new: str, told: str) -> None:
    with pytest.raises(UserError) as caught:
        load_document(Cluster, CLUSTER.replace(old, new), "lab.yaml")
    assert told in str(caught.value)


@pytest.mark.parametrize("word", ["1.2", "7", "2026-11-25", "on", "1e3"])
def test_an_override_is_taken_as_it_stands_where_a_text_is_wanted(word: str) -> None:
    overrides = [f"images.tag={word}", f"env.WORD={word}", "steps.sft.accelerator.count=4"]
    cluster = load_document(Cluster, CLUSTER, "lab.yaml", overrides=overrides)
    assert (cluster.images.tag, cluster.env) == (word, {"WORD": word})
    assert cluster.placement("sft").accelerator.count == 4  # type: ignore[union-attr]


def test_the_last_override_of_a_key_counts() -> None:
    for overrides, tag in (
        (["images.tag=1.2", 'images={tag: "1.3"}'], "1.3"),
        (['images={tag: "1.3"}', "images.tag=1.2"], "1.2"),
        (["images.tag=1.20", "images.tag=1.30 # the newest"], "1.30"),
    ):
        assert load_document(Cluster, CLUSTER, "lab.yaml", overrides=overrides).images.tag == tag


@pytest.mark.parametrize("value", ["[1]", "{a: 1}", ""])
def test_what_is_no_word_is_no_text(value: str) -> None:
    with pytest.raises(UserError, match=r"images\.tag: "):
        load_document(Cluster, CLUSTER, "lab.yaml", overrides=[f"images.tag={value}"])


def test_an_empty_document_is_refused() -> None:
    with pytest.raises(UserError, match=r"lab\.yaml"):
        load_document(Cluster, "", "lab.yaml")
