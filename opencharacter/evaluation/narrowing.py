"""A smaller or longer run of a suite: fewer characters, or more answers to each item."""

from dataclasses import replace

from opencharacter.errors import UserError
from opencharacter.evaluation.suite import Suite
from opencharacter.hashing import digest
from opencharacter.records.evaluation import Item


def narrowed(suite: Suite, *, limit: int | None = None, repeats: int | None = None) -> Suite:
    """The suite with the items of its first characters only, and with another number of answers to each.

    Args:
        suite: The suite.
        limit: How many characters (or what else `score.unit` names) to take, in the order of the file; none: all.
        repeats: Answers to each item; none: as the suite says. Another number is another version of the suite.

    Raises:
        UserError: A number is below 1, or the suite's items come from a run that was not given.
    """
    for option, number in (("--limit", limit), ("--repeats", repeats)):
        if number is not None and number < 1:
            raise UserError(f"{option}: expected a number above 0, got {number}")
    if limit is not None:
        items = suite.items()
        units = list(dict.fromkeys(unit_of(item, suite) for item in items))[:limit]
        kept = set(units)
        taken = [item for item in items if unit_of(item, suite) in kept]
        suite = replace(suite, own_items=taken, own_characters=suite.characters(), run_digest=None)
    if repeats is not None and repeats != suite.config.answer.repeats:
        answer = suite.config.answer.model_copy(update={"repeats": repeats})
        config = suite.config.model_copy(update={"answer": answer})
        suite = replace(suite, config=config, digest=digest([suite.digest, "repeats", repeats]))
    return suite


def unit_of(item: Item, suite: Suite) -> str:
    """What an item counts with as one: its character, unless the suite says otherwise; its session without one."""
    match suite.config.score.unit:
        case "question_id":
            return item.id
        case "session_id":
            return item.session_id
        case _:
            return item.character_id or item.session_id
