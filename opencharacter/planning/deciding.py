"""Whether a run's gate could decide at all, before anything is made."""

from opencharacter.config.run import RunConfig
from opencharacter.errors import UserError
from opencharacter.evaluation.choosing import chosen_suite
from opencharacter.evaluation.narrowing import unit_of
from opencharacter.evaluation.suites import suite_names
from opencharacter.records.evaluation import GRID
from opencharacter.storage.workspace import local_path


def require_deciding(config: RunConfig) -> None:
    """Raise `UserError` if the primary's suite has too few characters: the decision would be undecidable.

    Looked at are packaged suites and folders on this machine. How many characters `grid` has is known after the split.
    """
    primary = config.gate.primary
    if primary is None:
        return
    for choice in config.evaluate.choices:
        here = choice.suite in suite_names() or local_path(choice.suite).expanduser().is_dir()
        if choice.suite == GRID or not here:
            continue
        suite = chosen_suite(choice)
        if suite.name != primary.suite:
            continue
        clusters = len({unit_of(item, suite) for item in suite.items()})
        if clusters < config.gate.min_clusters:
            raise UserError(
                f"gate.primary.suite: '{suite.name}' has {clusters} characters or sessions; a decision needs"
                f" {config.gate.min_clusters} (gate.min_clusters)",
                hint="add characters to the suite, or name another primary",
            )
