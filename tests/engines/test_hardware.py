"""What a server may use of this machine."""

from collections.abc import Iterator

import pytest

from opencharacter.errors import OpenCharacterError
from opencharacter.system import hardware


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    hardware.visible_gpus.cache_clear()
    yield
    hardware.visible_gpus.cache_clear()


@pytest.mark.parametrize("found", [0, 1])
def test_a_pod_that_sees_other_gpus_than_it_asked_for_stops(monkeypatch: pytest.MonkeyPatch, found: int) -> None:
    """Else a pod whose driver is missing would hold its GPUs for days and work on the CPU."""
    monkeypatch.setattr(hardware, "_count_gpus", lambda: found)
    monkeypatch.setenv(hardware.GPUS_VARIABLE, "4")
    with pytest.raises(OpenCharacterError, match=f"requests 4 GPUs, but {found} can be used"):
        hardware.visible_gpus()


def test_the_pods_gpus_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "_count_gpus", lambda: 4)
    assert hardware.visible_gpus() == 4
    monkeypatch.setenv(hardware.GPUS_VARIABLE, "4")
    hardware.visible_gpus.cache_clear()
    assert hardware.visible_gpus() == 4
