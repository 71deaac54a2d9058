"""A suite that was read and checked: its settings, texts, items and characters."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from opencharacter.characters import CharacterProfile
from opencharacter.errors import UserError
from opencharacter.evaluation.suite_config import SuiteConfig, TakeConfig
from opencharacter.hashing import digest
from opencharacter.records.evaluation import Item
from opencharacter.templates import Template


@dataclass(frozen=True)
class Suite:
    """Everything that decides a score. Get one from `load_suite`."""

    config: SuiteConfig
    folder: Path
    digest: str
    """Of `suite.yaml`, its items and every text that it names: the suite's version."""
    templates: Mapping[str, Template] = field(default_factory=dict)
    """The texts that `suite.yaml` names, by file name."""
    own_items: Sequence[Item] | None = None
    """None: a generator makes them for a run."""
    own_characters: Mapping[str, CharacterProfile] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The suite's name."""
        return self.config.name

    def items(self) -> list[Item]:
        """The items that are asked. Raises `UserError` if they depend on a run that was not given."""
        if self.own_items is None:
            raise UserError(
                f"suite {self.name}: its items come from a run's mixture",
                hint="evaluate a run, or give --mixture; the suite `frozen` needs none",
            )
        return take(self.own_items, self.config.items.take)

    def characters(self) -> dict[str, CharacterProfile]:
        """The items' characters, by id."""
        return dict(self.own_characters)

    @cached_property
    def items_digest(self) -> str:
        """Of the items that are asked and their characters: models are compared on equal ones only."""
        characters = sorted({item.character_id for item in self.items() if item.character_id is not None})
        return digest([[item.model_dump(mode="json") for item in self.items()], characters])


def take(items: Sequence[Item], config: TakeConfig | None) -> list[Item]:
    """The first items of each group, in their order; all without a configuration."""
    if config is None:
        return list(items)
    seen: Counter[tuple[object, ...]] = Counter()
    taken = []
    for item in items:
        group = tuple(getattr(item, name) for name in config.per)
        seen[group] += 1
        if seen[group] <= config.first:
            taken.append(item)
    return taken
