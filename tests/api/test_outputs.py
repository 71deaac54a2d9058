"""Looking at a workspace from a notebook."""

import os
from pathlib import Path

import pytest
from support.small_mixture import make_mixture, small_rows
from support.small_run import OutputMaker, dialogue, profile, session, summary

import opencharacter as oc

ADA, BO = profile("Ada"), profile("Bo", gender="Male")
TALK = session("s1", "Name a river.", "The Danube.")
LONG = session("s2", "One?", "1", "Two?", "2")
DIALOGUES = [
    dialogue("R", TALK, ADA, "The old Danube."),
    dialogue("G", TALK, ADA, "The <i>blue</i> one."),
    dialogue("G", LONG, BO, "Uno.", "Dos."),
]


@pytest.fixture
def made(tmp_path: Path) -> OutputMaker:
    maker = OutputMaker(tmp_path)
    maker("characters", {"characters.jsonl.zst": [ADA, BO]}, counts={"ok": 2})
    maker("dialogues", {"dialogues.jsonl.zst": DIALOGUES}, counts={"ok": 3, "rejected": 1})
    return maker


@pytest.fixture
def workspace(made: OutputMaker, tmp_path: Path) -> oc.Workspace:
    return oc.Workspace(tmp_path)


def test_rows_are_typed_and_filtered(workspace: oc.Workspace) -> None:
    dialogues = workspace.output("dialogues")
    assert dialogues.rows() == DIALOGUES
    assert dialogues.rows(limit=1) == DIALOGUES[:1]
    generated = dialogues.filter(strategy="G")
    assert list(generated) == DIALOGUES[1:]
    assert generated.filter(lambda row: len(row.turns) > 2).rows() == DIALOGUES[2:]
    assert dialogues.rows() == DIALOGUES  # a filter changes nothing where it was taken from
    assert workspace.output("characters").filter(id=ADA.id).rows() == [ADA]


def test_a_data_frame_has_a_column_for_each_field(workspace: oc.Workspace) -> None:
    frame = workspace.output("dialogues").to_pandas()
    assert frame.strategy.tolist() == ["R", "G", "G"]
    assert frame.turns[0][1] == {"role": "assistant", "content": "The old Danube."}


def test_the_latest_output_of_a_kind_is_taken(made: OutputMaker, workspace: oc.Workspace) -> None:
    later = made("characters", {"characters.jsonl.zst": [BO]}, counts={"ok": 1})
    os.utime(Path(later.uri) / "manifest.json", (2**31, 2**31))
    assert workspace.output("characters").rows() == [BO]
    assert workspace.output("characters", key="characters-0").rows() == [ADA, BO]


def test_outputs_show_themselves_with_their_text_escaped(
    made: OutputMaker, workspace: oc.Workspace, tmp_path: Path
) -> None:
    make_mixture(made.workspace, small_rows(sessions=1))
    made("evaluation", {"rows.jsonl.zst": []}, texts={"summary.json": _summary()})
    made("report", texts={"report.html": "<html><b>'all'</b></html>"})
    made("model", {"loss.jsonl": []})
    page = workspace.output("dialogues")._repr_html_()
    assert "3 ok, 1 rejected" in page
    assert "The &lt;i&gt;blue&lt;/i&gt; one." in page
    assert "persona consistency" in workspace.output("evaluation")._repr_html_()
    assert "srcdoc='&lt;html&gt;&lt;b&gt;&#x27;all&#x27;" in workspace.output("report")._repr_html_()
    assert str(tmp_path) in workspace.output("model")._repr_html_()
    assert "Question 0" in workspace.output("mixture").filter(cell="train")._repr_html_()
    kinds = [output.kind for output in workspace.outputs()]
    assert kinds == ["characters", "dialogues", "mixture", "model", "evaluation", "report"]
    assert all(kind in workspace._repr_html_() for kind in kinds)


def _summary() -> str:
    import json

    return json.dumps(summary())


@pytest.mark.parametrize(
    ("call", "message", "hint"),
    [
        (lambda work: work.output("profiles"), "unknown kind of output 'profiles'", "did you mean"),
        (lambda work: work.output("model"), "holds no output of kind model", "holds characters, dialogues; `train`"),
        (lambda work: work.output("dialogues", key="zz"), "whose key begins with zz", "holds characters"),
        (lambda work: work.output("dialogues").filter(strat="G"), "no field 'strat'", "strategy"),
        (lambda work: oc.Workspace(work.uri + "/nowhere").output("model"), "holds no output", "it is empty"),
    ],
)
def test_what_is_not_there_is_one_clear_error(workspace: oc.Workspace, call, message: str, hint: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(oc.UserError) as caught:
        call(workspace)
    assert message in str(caught.value)
    assert hint in (caught.value.hint or "")


def test_a_report_has_no_rows(made: OutputMaker, workspace: oc.Workspace) -> None:
    made("report", texts={"report.html": ""})
    with pytest.raises(oc.UserError, match="has no rows"):
        workspace.output("report").rows()
