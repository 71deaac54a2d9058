"""The suite that a run measures, its version, and the part of it."""

from dataclasses import replace

from opencharacter.errors import UserError
from opencharacter.evaluation.evaluation_config import SuiteChoice
from opencharacter.evaluation.suite import Suite, take
from opencharacter.evaluation.suite_config import TakeConfig
from opencharacter.evaluation.suites import load_suite


def suite_version(reference: str) -> str:
    """The digest of a packaged suite or a folder; empty for one elsewhere, which is read when it is measured.

    Raises as `load_suite` does.
    """
    return "" if is_elsewhere(reference) else load_suite(reference).digest


def is_elsewhere(reference: str) -> bool:
    """Whether a suite lies in an object store or on a hub, where it may change unseen."""
    return "://" in reference


def check_version(suite: Suite, version: str) -> None:
    """Raise `UserError` if a suite is another than the version that a run was made for; an empty one is any."""
    if version and suite.digest != version:
        raise UserError(
            f"suite {suite.name}: its digest is {suite.digest[:16]}, and the run was made for {version[:16]}",
            hint="start the run again, which reads the suite; an image holds that of its own library",
        )


def chosen_suite(choice: SuiteChoice, version: str = "") -> Suite:
    """The suite of a choice, with the items that it takes. Raises as `load_suite` and `check_version` do.

    The suite keeps its digest; only runs that ask equal items are compared.
    """
    suite = load_suite(choice.suite)
    check_version(suite, version)
    if choice.first is None:
        return suite if choice.draw is None else load_suite(choice.suite, draw=choice.draw)
    per = TakeConfig(first=choice.first, per=("character_id", "task"))
    if not (items := take(suite.items(), per, choice.draw or 0)):
        raise UserError(f"suite {suite.name}: draw {choice.draw}: there are no items left for it")
    return replace(suite, own_items=items)
