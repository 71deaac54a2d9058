"""A suite that was read and checked: its settings, texts, items and characters."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol

from opencharacter.characters import CharacterProfile
from opencharacter.errors import UserError
from opencharacter.evaluation.suite_config import SuiteConfig, TakeConfig
from opencharacter.hashing import digest
from opencharacter.records.evaluation import Item
from opencharacter.templates import Template


class Contents(Protocol):
    """The items of a suite, and their characters by id."""

    @property
    def items(self) -> Sequence[Item]:
        """All items, in their order."""

    @property
    def characters(self) -> Mapping[str, CharacterProfile]:
        """Everybody that items name."""


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
    """None: a run's mixture gives them."""
    own_characters: Mapping[str, CharacterProfile] = field(default_factory=dict)
    read: Callable[[], Contents] | None = None
    """Gives the contents where they are those of a run."""
    run_digest: str | None = None
    """What `items_digest` is then, so that they need not be read for it."""

    @property
    def name(self) -> str:
        """The suite's name."""
        return self.config.name

    def with_items(self, config: SuiteConfig, read: Callable[[], Contents], run_digest: str) -> "Suite":
        """The same suite for the items that a generator makes for a run, with the run's settings."""
        changed = digest([self.digest, config.model_dump(mode="json")])
        return replace(self, config=config, digest=changed, read=read, run_digest=run_digest)

    def items(self) -> list[Item]:
        """The items that are asked. Raises `UserError` if they depend on a run that was not given."""
        items = self._contents.items if self.own_items is None else self.own_items
        return take(items, self.config.items.take, self.config.items.draw)

    def characters(self) -> dict[str, CharacterProfile]:
        """The items' characters, by id."""
        return dict(self._contents.characters if self.own_items is None else self.own_characters)

    @cached_property
    def items_digest(self) -> str:
        """Of the items that are asked and their characters: models are compared on equal ones only."""
        return self.run_digest or digest([item.model_dump(mode="json") for item in self.items()])

    @cached_property
    def _contents(self) -> Contents:
        if self.read is None:
            raise UserError(
                f"suite {self.name}: its items come from a run's mixture, and there is none",
                hint="give the mixture; the suite `frozen` needs none",
            )
        return self.read()


def take(items: Sequence[Item], config: TakeConfig | None, draw: int = 0) -> list[Item]:
    """The first items of each group, in their order, or with a draw the next ones; all without a configuration."""
    if config is None:
        return list(items)
    seen: Counter[tuple[object, ...]] = Counter()
    taken = []
    for item in items:
        group = tuple(getattr(item, name) for name in config.per)
        if seen[group] // config.first == draw:
            taken.append(item)
        seen[group] += 1
    return taken
