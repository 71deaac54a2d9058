"""One service that follows one alias: the registry holds the desired version, the InferenceService the served one."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Literal

from opencharacter.errors import OpenCharacterError, UserError
from opencharacter.hashing import digest
from opencharacter.kube import cluster_namespace
from opencharacter.promoter.events import Reason, send_event
from opencharacter.promoter.metrics import Metrics
from opencharacter.promoter.promoter_config import PromoterConfig, WatchedModel
from opencharacter.registry import (
    Deployment,
    RegisteredModel,
    find_alias,
    find_objection,
    read_deployment,
    record_deployment,
    record_replaced,
    resolve,
)
from opencharacter.serving import Rollout, RolloutFailed, RolloutRefused, ServedVersion, roll_out, served_version

_LONGEST_REASON = 10_000
"""Characters of a record. A tag in MLflow holds 100,000, and the logs of many pods may be longer."""

Outcome = Literal["serving", "no_alias", "refused", "failed", "postponed", "unreachable"]


class Interrupted(BaseException):
    """Leave a rollout as it is; the next look continues it, or another process does. No error: nothing may catch it."""


@dataclass(frozen=True)
class Look:
    """What one look found and did."""

    outcome: Outcome
    text: str


class _Unreachable(Exception):
    def __init__(self, what: Literal["registry", "cluster"], error: OpenCharacterError) -> None:
        super().__init__(f"{error}")
        self.what = what


class Follower:
    """Brings the InferenceService of a watched model to the version that the alias points at."""

    def __init__(
        self,
        watched: WatchedModel,
        config: PromoterConfig,
        *,
        metrics: Metrics,
        wait: Callable[[float], bool],
        now: Callable[[], float],
        report: Callable[[str], None],
    ) -> None:
        """`wait` waits so many seconds during a rollout; it says whether the alias may have moved meanwhile.

        It may raise `Interrupted`. `now` gives seconds since 1970. `report` takes a line for people.
        """
        self._watched, self._config = watched, config
        self._deploy = watched.deploy.model_copy(
            update={"namespace": watched.deploy.namespace or cluster_namespace(), "apply": True}
        )
        self._settings = digest(self._deploy.model_dump(mode="json"))[:12]
        self._metrics = metrics
        self._labels = (watched.model, watched.deploy.service_name)
        self._wait, self._now, self._report = wait, now, report
        self._said: str | None = None
        self._wish: tuple[int | None] | None = None
        """The last one seen; none before the first look."""
        self._wish_is_new = False
        self._settled = False
        """Whether the service needs no check as long as it serves the wish: not so at the start, as a rollout may have
        been left half-way, or the settings may have changed."""
        self._unfinished = True
        """Whether a rollout of another version may have been left half-way."""
        self._unwritten: dict[int, tuple[Deployment, Callable[[], None]]] = {}
        """By version: the record that the registry does not have yet, and what writes it."""
        self._unwritten_because: str | None = None
        self._checked_at = 0.0

    @property
    def service(self) -> str:
        """NAMESPACE/NAME of the InferenceService."""
        return f"{self._deploy.namespace}/{self._deploy.service_name}"

    def follows(self, model: str, alias: str) -> bool:
        """Whether it is this alias that it follows."""
        return (model, alias) == (self._watched.model, self._watched.alias)

    def look(self) -> Look:
        """Compare wish and state and, where they differ, act. Servers that are away are waited for, not raised."""
        try:
            found = self._compare()
        except _Unreachable as error:
            self._metrics.failures.labels(*self._labels, error.what).inc()
            found = Look("unreachable", f"{error}; waiting")
        else:
            self._metrics.last_reconcile.labels(*self._labels).set(self._now())
        self._say(found.text)
        return found

    def _compare(self) -> Look:
        self._write_records()
        wish = self._find_wish()
        with _asking("cluster"):
            served = served_version(self._deploy.service_name, self._deploy.namespace)
        self._metrics.desired_version.labels(*self._labels).set(wish.version if wish else 0)
        self._metrics.served_version.labels(*self._labels).set(served.version if served else 0)
        if wish is None:
            self._take_back(served)
            return self._without_alias(served)
        same = served is not None and (served.model, served.version, served.digest) == (
            wish.name, wish.version, wish.digest
        )  # fmt: skip
        if same and self._settled:
            return self._settle(wish)
        self._settled = False
        # Where the wish is served already, the gate is not asked: what is served does not change.
        if self._config.require_gate and not same:
            objection = find_objection(wish, served.digest if served else None)
            if objection is not None:
                self._take_back(served)
                return self._refuse(wish, objection)
        failures = self._failures(wish)
        if failures and (again := self._next_try(failures)) > self._time():
            self._take_back(served)
            tried = "once" if failures.attempts == 1 else f"{failures.attempts} times"
            return Look(
                "postponed",
                f"version {wish.version} has failed {tried}: {failures.reason}; next try at {again:%H:%M:%S} UTC,"
                " or when the alias moves, or the version's tag `deployment` is deleted",
            )
        return self._roll_out(wish, served, attempts=failures.attempts if failures else 0)

    def _failures(self, wish: RegisteredModel) -> Deployment | None:
        """The record of the version's failures that count: with these settings, for this wish."""
        before = self._recorded(wish)
        if before is None or self._wish_is_new or not before.attempts:
            return None
        return before if (before.settings, before.service) == (self._settings, self.service) else None

    def _next_try(self, failures: Deployment) -> datetime:
        doubled = self._config.retry_s * 2 ** min(failures.attempts - 1, 30)
        return failures.time + timedelta(seconds=min(doubled, self._config.retry_max_s))

    def _find_wish(self) -> RegisteredModel | None:
        with _asking("registry"):
            wish = find_alias(self._watched.model, self._watched.alias)
        seen = (wish.version if wish else None,)
        if self._wish is not None and self._wish != seen:
            self._wish_is_new, self._settled = True, False
        self._wish = seen
        return wish

    def _without_alias(self, served: ServedVersion | None) -> Look:
        kept = f"version {served.version} goes on serving" if served else "nothing is served"
        text = f"model '{self._watched.model}' has no alias '{self._watched.alias}'; {kept}"
        if served is not None and self._said != text:
            self._send("AliasMissing", text)
        return Look("no_alias", text)

    def _settle(self, wish: RegisteredModel) -> Look:
        self._wish_is_new = False
        before = self._recorded(wish)
        if before is None or (before.state, before.service) != ("serving", self.service):
            self._keep(wish.version, "serving")
        return Look("serving", f"{self.service} serves version {wish.version}")

    def _refuse(self, wish: RegisteredModel, objection: str) -> Look:
        text = f"version {wish.version} is not deployed: {objection}"
        before, reason = self._recorded(wish), objection[:_LONGEST_REASON]
        if before is None or (before.state, before.reason, before.service) != ("refused", reason, self.service):
            self._metrics.rollouts.labels(*self._labels, "refused").inc()
            self._send("RolloutRefused", text)
            self._keep(wish.version, "refused", objection)
        return Look("refused", text)

    def _roll_out(self, wish: RegisteredModel, served: ServedVersion | None, *, attempts: int) -> Look:
        moves = served is None or served.version != wish.version or served.model != wish.name
        before = self._recorded(wish)
        # What is known to serve is not asked again, unless its settings change.
        known = not moves and before is not None and (before.state, before.service) == ("serving", self.service)
        if moves:
            origin = f" in place of version {served.version}" if served else ""
            self._say(f"rolling out version {wish.version}{origin} on {self.service}")
            self._send("RolloutStarted", f"model '{wish.name}': version {wish.version}{origin}")
        self._checked_at = self._now()
        try:
            result = self._call(wish, wait=not known)
            if known and result.changed:
                result = self._call(wish, wait=True)
        except (RolloutRefused, RolloutFailed, UserError) as error:
            if getattr(error, "reason", None) == "cluster":
                raise _Unreachable("cluster", error) from error
            return self._failed(wish, error, attempts + 1)
        except OpenCharacterError as error:
            raise _Unreachable("cluster", error) from error
        self._settled, self._wish_is_new = True, False
        self._metrics.served_version.labels(*self._labels).set(wish.version)
        if not moves:
            return self._settle(wish)
        text = f"{self.service} serves version {wish.version} at {result.address}"
        self._metrics.rollouts.labels(*self._labels, "served").inc()
        self._send("RolledOut", text)
        if served is not None and served.model == wish.name:
            replaced = self._record("replaced", f"by version {wish.version}")
            self._unwritten[served.version] = (
                replaced,
                partial(record_replaced, wish.name, served.version, replaced),
            )
        self._keep(wish.version, "serving")
        return Look("serving", text)

    def _take_back(self, served: ServedVersion | None) -> None:
        """Remove the pods of a version that is no longer desired: what is served is deployed once more."""
        if not self._unfinished or served is None or served.model != self._watched.model:
            return
        with _asking("registry"):
            version = resolve(f"models:/{served.model}/{served.version}")
        try:
            self._call(version, wait=False)
        except OpenCharacterError as error:
            self._say(f"what an interrupted rollout may have left could not be removed: {error}")

    def _call(self, wish: RegisteredModel, *, wait: bool) -> Rollout:
        def report(text: str) -> None:
            self._report(f"{self.service}: {text}")

        def pause(seconds: float) -> None:
            self._pause(seconds, wish.version)

        self._unfinished = True
        try:
            result = roll_out(self._deploy, wish, wait=wait, report=report, pause=pause)
        except OpenCharacterError:
            self._unfinished = False  # it has tidied up itself, as far as it could
            raise
        self._unfinished = False
        return result

    def _failed(self, wish: RegisteredModel, error: OpenCharacterError, attempts: int) -> Look:
        refused = isinstance(error, UserError)
        text = f"version {wish.version} does not serve: {error}" + (f" ({error.hint})" if error.hint else "")
        self._wish_is_new = False
        self._metrics.rollouts.labels(*self._labels, "refused" if refused else "failed").inc()
        self._send("RolloutRefused" if refused else "RolloutFailed", text)
        self._keep(wish.version, "refused" if refused else "failed", str(error), attempts)
        return Look("refused" if refused else "failed", text)

    def _pause(self, seconds: float, version: int) -> None:
        """Wait in a rollout; leave it if the alias points elsewhere by now."""
        moved = self._wait(seconds)
        if not moved and self._now() - self._checked_at < self._config.poll_s:
            return
        self._checked_at = self._now()
        try:
            wish = find_alias(self._watched.model, self._watched.alias)
        except OpenCharacterError:
            return  # the rollout does not need the registry
        if wish is not None and wish.version != version:
            self._report(f"{self._watched.model}: the alias moved to version {wish.version} meanwhile")
            raise Interrupted

    def _keep(
        self, version: int, state: Literal["serving", "failed", "refused"], reason: str = "", attempts: int = 0
    ) -> None:
        record = self._record(state, reason, attempts)
        self._unwritten[version] = (record, partial(record_deployment, self._watched.model, version, record))
        self._write_records()

    def _recorded(self, version: RegisteredModel) -> Deployment | None:
        """The record of a version's last deployment, whether the registry has it yet or not."""
        return self._unwritten[version.version][0] if version.version in self._unwritten else read_deployment(version)

    def _write_records(self) -> None:
        """Write what the registry does not have yet: it may be away, or not let this account write."""
        try:
            for version, (_, write) in list(self._unwritten.items()):
                write()
                del self._unwritten[version]
            self._unwritten_because = None
        except OpenCharacterError as error:
            self._metrics.failures.labels(*self._labels, "registry").inc()
            if str(error) != self._unwritten_because:
                self._unwritten_because = str(error)
                self._report(f"{self._watched.model}: what came of the rollout can't be recorded yet: {error}")

    def _record(
        self, state: Literal["serving", "failed", "refused", "replaced"], reason: str = "", attempts: int = 0
    ) -> Deployment:
        return Deployment(
            state=state,
            reason=reason[:_LONGEST_REASON],
            service=self.service,
            time=self._time(),
            attempts=attempts,
            settings=self._settings,
        )

    def _send(self, reason: Reason, message: str) -> None:
        try:
            send_event(self._deploy.service_name, str(self._deploy.namespace), reason, message)
        except OpenCharacterError as error:
            self._say(f"no Event was written: {error}")

    def _say(self, text: str) -> None:
        if text != self._said:
            self._said = text
            self._report(f"{self._watched.model}@{self._watched.alias}: {text}")

    def _time(self) -> datetime:
        return datetime.fromtimestamp(self._now(), UTC)


@contextmanager
def _asking(what: Literal["registry", "cluster"]) -> Iterator[None]:
    try:
        yield
    except OpenCharacterError as error:
        raise _Unreachable(what, error) from error
