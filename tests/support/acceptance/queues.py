"""A Kueue queue of the session, which admits nothing until it is let."""

from support.acceptance import objects
from support.acceptance.capabilities import has_kueue
from support.acceptance.kube import CLUSTER_QUEUES, FLAVORS, LOCAL_QUEUES, WORKLOADS, Object, is_true
from support.acceptance.suite import Suite


class Queue:
    """A LocalQueue in the namespace of the runs."""

    def __init__(self, suite: Suite) -> None:
        self._suite = suite
        self.name = suite.id

    def hold(self) -> None:
        """Admit nothing more; what runs goes on."""
        self._stop("Hold")

    def let(self) -> None:
        """Admit what fits."""
        self._stop("None")

    def workloads_of(self, owner: Object) -> list[Object]:
        """The Workloads that Kueue has made for an object."""
        uid = owner["metadata"]["uid"]
        found = self._suite.kube.find(WORKLOADS.format(self._suite.namespace))
        return [each for each in found if uid in {o["uid"] for o in each["metadata"].get("ownerReferences") or []}]

    def is_admitted(self, owner: Object) -> bool:
        """Whether Kueue lets an object start."""
        return any(is_true(each, "Admitted") for each in self.workloads_of(owner))

    def _stop(self, policy: str) -> None:
        path = f"{LOCAL_QUEUES.format(self._suite.namespace)}/{self.name}"
        self._suite.kube.merge(path, {"spec": {"stopPolicy": policy}})


def make_queue(suite: Suite) -> Queue | None:
    """The session's queue, which holds; none where there is no Kueue."""
    if not has_kueue(suite.kube):
        return None
    suite.ledger.create(FLAVORS, objects.flavor(suite.id))
    suite.ledger.create(CLUSTER_QUEUES, objects.cluster_queue(suite.id, suite.namespace))
    suite.ledger.create(LOCAL_QUEUES.format(suite.namespace), objects.local_queue(suite.id, suite.id))
    return Queue(suite)
