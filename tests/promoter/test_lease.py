"""One holder at a time: the Lease, against the stand-in of the API server."""

import pytest
from support import stand_in
from support.kubernetes_api import KubernetesApi

from opencharacter.errors import OpenCharacterError
from opencharacter.promoter.lease import Lease


class Clock:
    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


def lease(identity: str, clock: Clock) -> Lease:
    return Lease("promoter", "team", identity, duration_s=60, clock=clock)


def spec(cluster: KubernetesApi) -> dict:
    return cluster.records.leases["team", "promoter"]["spec"]


def test_the_first_takes_it_and_keeps_it_as_long_as_it_renews(cluster: KubernetesApi, clock: Clock) -> None:
    first, second = lease("one", clock), lease("two", clock)
    assert not first.held
    for _ in range(10):
        assert first.renew()
        assert not second.renew()
        clock.time += 30
    assert (spec(cluster)["holderIdentity"], spec(cluster)["leaseTransitions"]) == ("one", 0)


def test_a_holder_stops_before_another_can_take_over(cluster: KubernetesApi, clock: Clock) -> None:
    first, second = lease("one", clock), lease("two", clock)
    assert first.renew()
    assert not second.renew()
    clock.time += 41
    assert not first.held
    assert not second.renew()
    clock.time += 20
    assert second.renew()
    assert not first.renew()
    assert (spec(cluster)["holderIdentity"], spec(cluster)["leaseTransitions"]) == ("two", 1)


def test_expiry_is_by_ones_own_clock_from_the_first_look_on(cluster: KubernetesApi, clock: Clock) -> None:
    lease("one", clock).renew()
    spec(cluster)["renewTime"] = "2001-01-01T00:00:00.000000Z"  # the holder's clock is years behind
    late = lease("two", clock)
    assert not late.renew()
    clock.time += 59
    assert not late.renew()
    clock.time += 1
    assert late.renew()


def test_a_lease_that_is_given_back_is_taken_at_once(cluster: KubernetesApi, clock: Clock) -> None:
    first, second = lease("one", clock), lease("two", clock)
    first.renew()
    second.renew()
    second.release()  # not its own
    assert not second.renew()
    first.release()
    assert not first.held
    assert second.renew()
    first.release()
    assert spec(cluster)["holderIdentity"] == "two"


def test_of_two_that_take_it_at_once_one_gets_it(cluster: KubernetesApi, clock: Clock) -> None:
    first, second = lease("one", clock), lease("two", clock)
    write = second._write

    def after_the_other(connection: object, found: object) -> bool:
        assert first.renew()
        return write(connection, found)

    second._write = after_the_other  # type: ignore[method-assign]
    assert not second.renew(), "both found no lease"
    first.release()
    second._write = after_the_other  # type: ignore[method-assign]
    assert not second.renew(), "both found it given back"
    assert first.held


def test_with_the_api_away_it_is_held_for_a_while_and_no_longer(cluster, clock, tmp_path, monkeypatch) -> None:
    kept = lease("one", clock)
    kept.renew()
    stand_in.use_kubeconfig("http://127.0.0.1:9", tmp_path, monkeypatch)
    clock.time += 30
    with pytest.raises(OpenCharacterError, match="cannot be reached"):
        kept.renew()
    assert kept.held
    clock.time += 11
    assert not kept.held


def test_it_asks_only_when_it_is_time(cluster: KubernetesApi, clock: Clock) -> None:
    kept = lease("one", clock)
    assert kept.keep()
    before = spec(cluster)["renewTime"]
    assert kept.keep()
    assert spec(cluster)["renewTime"] == before
    clock.time += 10
    assert kept.keep()
    assert spec(cluster)["renewTime"] > before


def test_a_refusal_says_what_is_missing(cluster: KubernetesApi, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    words = 'leases.coordination.k8s.io "promoter" is forbidden: User "p" cannot get resource "leases" in API group'
    monkeypatch.setattr(
        cluster.records, "answer", lambda *_: (403, {"kind": "Status", "reason": "Forbidden", "message": words})
    )
    with pytest.raises(OpenCharacterError, match="cannot get resource"):
        lease("one", clock).renew()
