"""The promoter's process: a watcher for each model, the lease, the HTTP server, and a clean end."""

import os
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from types import FrameType

from opencharacter.errors import OpenCharacterError, UserError
from opencharacter.kube import cluster_namespace
from opencharacter.promoter.follower import Follower, Interrupted, Look
from opencharacter.promoter.lease import Lease
from opencharacter.promoter.metrics import Metrics
from opencharacter.promoter.promoter_config import SECRET_VARIABLE, PromoterConfig, WatchedModel, WebhookConfig
from opencharacter.promoter.receiver import receiving
from opencharacter.registry import AliasMove, Deliveries, register_webhook

_STUCK_S = 1200
"""A watcher that shows no sign of life for so long is stuck; the smoke question may take ten minutes."""
_WEBHOOK_S = 600
"""Seconds between two looks whether MLflow has the webhook."""
_END_S = 30
"""Seconds for the threads to end; what still runs then ends with the process, and the lease expires by itself."""
_STEP_S = 1.0


def promote_once(config: PromoterConfig, report: Callable[[str], None]) -> list[Look]:
    """One look at each model, in order, under the lease. `report` takes lines for people.

    Raises `OpenCharacterError` if another process holds the lease or the cluster cannot be reached.
    """

    lease = _lease(config)

    def wait(seconds: float) -> bool:
        time.sleep(seconds)
        with suppress(OpenCharacterError):  # the cluster may be away for a moment
            lease.keep()
        if not lease.held:
            raise Interrupted
        return False

    if not lease.renew():
        raise OpenCharacterError(_taken(config), hint="it does the same work; stop it first if it must not")
    looks = []
    try:
        for watched in config.models:
            follower = Follower(watched, config, metrics=Metrics(), wait=wait, now=time.time, report=report)
            while lease.keep():
                try:
                    looks.append(follower.look())
                    break
                except Interrupted:  # the alias moved during the rollout, or the lease is lost
                    continue
            else:
                raise OpenCharacterError(_taken(config), hint="that process continues the rollout")
    finally:
        lease.release()
    return looks


def run_promoter(config: PromoterConfig, report: Callable[[str], None]) -> None:
    """Watch until SIGTERM or Ctrl-C; a rollout that it interrupts goes on at the next start.

    Raises `UserError` if a webhook is configured and its secret is not set, `OSError` if the port is taken.
    """
    Promoter(config, report).run()


class Promoter:
    """The process. `stop` may be called from any thread, but not from a signal handler."""

    def __init__(self, config: PromoterConfig, report: Callable[[str], None]) -> None:
        self._config, self._report = config, report
        self._secret = os.environ.get(SECRET_VARIABLE, "")
        if config.webhook and not self._secret:
            raise UserError(
                f"webhook: {SECRET_VARIABLE} is not set", hint="set it, or leave `webhook` out: the registry is polled"
            )
        self.metrics = Metrics()
        self._lease = _lease(config)
        self._stop = threading.Event()
        self._signalled = False
        self._watchers = [
            _Watcher(watched, config, self._lease, self._stop, self.metrics, report) for watched in config.models
        ]
        self.port: int | None = None
        """Of the HTTP server, while `run` runs."""

    def stop(self) -> None:
        """Let `run` end soon."""
        self._stop.set()
        for watcher in self._watchers:
            watcher.wake.set()

    def run(self) -> None:
        """Watch until `stop`."""
        deliveries = Deliveries(self._secret, time.time) if self._config.webhook else None
        server = receiving(
            self._config.host,
            self._config.port,
            metrics=self.metrics,
            healthy=self._is_healthy,
            deliveries=deliveries,
            on_move=self._moved,
        )
        with server as self.port, self._signals():
            threads = [threading.Thread(target=self._keep_lease, name="lease", daemon=True)]
            threads += [
                threading.Thread(target=watcher.run, name=watcher.name, daemon=True) for watcher in self._watchers
            ]
            if self._config.webhook and self._config.webhook.manage:
                threads.append(
                    threading.Thread(
                        target=self._keep_webhook, args=[self._config.webhook], name="webhook", daemon=True
                    )
                )
            for thread in threads:
                thread.start()
            while not self._signalled and not self._stop.wait(_STEP_S):
                pass
            self.stop()
            end = time.monotonic() + _END_S
            for thread in threads:
                thread.join(timeout=max(end - time.monotonic(), 0))
            # Only once nothing acts: another process may take the lease at once.
            if not any(thread.is_alive() for thread in threads):
                self._release()
        self._report("ended")

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """SIGTERM and SIGINT end `run`, in the main thread; other threads get none."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def handle(number: int, frame: FrameType | None) -> None:
            # No more: an event's lock may be held by the code that the signal interrupts.
            self._signalled = True

        before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _is_healthy(self) -> bool:
        return all(time.monotonic() - watcher.seen_at < _STUCK_S for watcher in self._watchers)

    def _moved(self, move: AliasMove) -> None:
        for watcher in self._watchers:
            if watcher.follows(move.model, move.alias):
                watcher.wake.set()

    def _keep_lease(self) -> None:
        said: str | None = None
        while not self._stop.is_set():
            held = self._lease.held
            try:
                text = "holds the lease" if self._lease.renew() else "another process holds the lease; standing by"
            except OpenCharacterError as error:
                text = f"the lease was not renewed: {error}"
            self.metrics.leader.set(int(self._lease.held))
            if text != said:
                self._report(text)
                said = text
            if self._lease.held and not held:
                for watcher in self._watchers:
                    watcher.wake.set()
            self._stop.wait(self._lease.pause_s)

    def _keep_webhook(self, webhook: WebhookConfig) -> None:
        said: str | None = None
        while not self._stop.is_set():
            if self._lease.held:
                try:
                    register_webhook(webhook.name, webhook.url, self._secret)
                    text, registered = f"MLflow has the webhook {webhook.name}", 1
                except OpenCharacterError as error:
                    text, registered = f"no webhook, so the registry is polled: {error}", 0
                self.metrics.webhook_registered.set(registered)
                if text != said:
                    self._report(text)
                    said = text
            self._stop.wait(_WEBHOOK_S if said else self._lease.pause_s)

    def _release(self) -> None:
        try:
            self._lease.release()
        except OpenCharacterError as error:
            self._report(f"the lease was not given back: {error}")


class _Watcher:
    """Looks at one model, again and again, as long as this process holds the lease."""

    def __init__(
        self,
        watched: WatchedModel,
        config: PromoterConfig,
        lease: Lease,
        stop: threading.Event,
        metrics: Metrics,
        report: Callable[[str], None],
    ) -> None:
        self.name = f"watch-{watched.model}"
        self.wake = threading.Event()
        self.seen_at = time.monotonic()
        self._config, self._lease, self._stop = config, lease, stop
        self._metrics, self._report, self._watched = metrics, report, watched
        self._follower = Follower(watched, config, metrics=metrics, wait=self._wait, now=time.time, report=report)
        self.follows = self._follower.follows

    def run(self) -> None:
        while not self._stop.is_set():
            self.seen_at = time.monotonic()
            self.wake.clear()
            if self._lease.held:
                try:
                    self._follower.look()
                except Interrupted:
                    continue
                except Exception as error:  # a fault of ours must not end the watch over this model, or the others
                    labels = (self._watched.model, self._watched.deploy.service_name, "bug")
                    self._metrics.failures.labels(*labels).inc()
                    self._report(f"{self._watched.model}: unexpected {type(error).__name__}: {error}")
            if not self._stop.is_set():
                self.wake.wait(self._config.poll_s)

    def _wait(self, seconds: float) -> bool:
        self.seen_at = time.monotonic()
        end, woken = time.monotonic() + seconds, False
        while True:
            if self._stop.is_set() or not self._lease.held:
                raise Interrupted
            if woken or (left := end - time.monotonic()) <= 0:
                return woken
            # In short steps: the lease may be lost in the middle of it.
            woken = self.wake.wait(min(left, _STEP_S))
            self.wake.clear()


def _lease(config: PromoterConfig) -> Lease:
    identity = f"{os.environ.get('HOSTNAME', 'promoter')}_{uuid.uuid4().hex[:8]}"
    return Lease(
        config.lease.name, cluster_namespace(), identity, duration_s=config.lease.duration_s, clock=time.monotonic
    )


def _taken(config: PromoterConfig) -> str:
    return f"another promoter holds the lease {cluster_namespace()}/{config.lease.name}"


def log_line(text: str) -> None:
    """A line of the pod's log, with its time."""
    print(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {text}", flush=True)
