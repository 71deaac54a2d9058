import gc
from contextlib import ExitStack

import pytest

from opencharacter.system.garbage import rare_collections


def _state() -> tuple[tuple[int, int, int], int]:
    return gc.get_threshold(), gc.get_freeze_count()


def test_what_was_before_comes_back_when_the_last_of_overlapping_blocks_ends() -> None:
    before = _state()
    first, second = ExitStack(), ExitStack()
    first.enter_context(rare_collections())
    inside, frozen = _state()
    assert inside > before[0]
    assert frozen > 0, "objects that are there already are not looked through"
    second.enter_context(rare_collections())
    first.close()
    assert _state()[0] == inside
    with pytest.raises(KeyError), second:
        raise KeyError
    assert _state() == before


def test_objects_that_somebody_else_has_frozen_stay_frozen() -> None:
    gc.freeze()
    try:
        with rare_collections():
            pass
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()
