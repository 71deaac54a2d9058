"""The part of a suite that a run measures."""

from dataclasses import replace

from opencharacter.evaluation.evaluation_config import SuiteChoice
from opencharacter.evaluation.suite import Suite, take
from opencharacter.evaluation.suite_config import TakeConfig
from opencharacter.evaluation.suites import load_suite


def chosen_suite(choice: SuiteChoice) -> Suite:
    """The suite of a choice, with the items that it takes. Raises as `load_suite` does.

    The suite keeps its digest; only runs that ask equal items are compared.
    """
    suite = load_suite(choice.suite)
    if choice.first is None:
        return suite
    per = TakeConfig(first=choice.first, per=("character_id", "task"))
    return replace(suite, own_items=take(suite.items(), per))
