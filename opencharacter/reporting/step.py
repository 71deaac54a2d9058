"""The report as a step: a committed output, from which a run's other outputs can be found again."""

from opencharacter.hashing import digest
from opencharacter.library import fingerprint
from opencharacter.reporting.inputs import ReportInputs
from opencharacter.reporting.report import write_report
from opencharacter.storage.workspace import Artifact, Workspace

REPORT_FILE = "report.html"


def make_report(run: ReportInputs, *, workspace: Workspace) -> Artifact:
    """Write the report of a run (kind `report`, file `report.html`); its stats hold the inputs, under `run`."""
    inputs = run.model_dump(mode="json")
    key = digest({"step": "report", "run": inputs, "library": fingerprint()})
    if found := workspace.lookup("report", key):
        return found
    with workspace.create("report", key) as draft:
        write_report(run, draft.path / REPORT_FILE)
        draft.stats = {"run": inputs}
    return draft.committed()
