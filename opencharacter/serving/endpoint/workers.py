"""Several processes that serve one port: the kernel shares the connections out, a worker that dies is replaced."""

import gc
import logging
import os
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable
from types import FrameType

_BACKLOG = 2048
_ALLOCATIONS_A_COLLECTION = 20_000
"""Of some hundred that a request makes."""
_DEATHS = 3
_DEATHS_WITHIN_S = 60.0
"""More deaths than that in this time are the server's own fault, for Kubernetes to see."""

_logger = logging.getLogger("kserve")


def serve_in_workers(serve: Callable[[socket.socket], None], *, count: int, host: str, port: int) -> None:
    """Run `serve(listener)`, in this process or in `count` of its children; SIGTERM and SIGINT go to them.

    Ends the process: with the exit code 1 where workers keep ending by themselves.
    """
    try:
        listeners = [_listen(host, port, shared=count > 1) for _ in range(count)]
    except OSError as error:
        print(f"error: cannot listen on {host}:{port}: {error.strerror}", file=sys.stderr)
        sys.exit(2)
    # What has been imported stays: the collector need not look through it (0.1 s), nor make forked memory its own.
    gc.collect()
    gc.freeze()
    gc.set_threshold(_ALLOCATIONS_A_COLLECTION)
    if count == 1:
        serve(listeners[0])
        return
    sys.exit(_Supervisor(serve, listeners).run())


def _listen(host: str, port: int, *, shared: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=_BACKLOG, reuse_port=shared)


class _Supervisor:
    def __init__(self, serve: Callable[[socket.socket], None], listeners: list[socket.socket]) -> None:
        self._serve = serve
        # Kept open here: what has connected to a worker that dies is answered by the next one.
        self._listeners = listeners
        self._workers: dict[int, socket.socket] = {}
        self._deaths: deque[float] = deque(maxlen=_DEATHS)
        self._stopping = False

    def run(self) -> int:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)
        for listener in self._listeners:
            self._start(listener)
        code = 0
        while self._workers:
            pid, status = os.wait()
            if pid not in self._workers:
                continue
            listener = self._workers.pop(pid)
            _forget_metrics(pid)
            if self._stopping:
                continue
            ended = os.waitstatus_to_exitcode(status)
            now = time.monotonic()
            if len(self._deaths) == _DEATHS and now - self._deaths[0] < _DEATHS_WITHIN_S:
                _logger.error("worker %d ended with %d; too many have", pid, ended)
                code = 1
                self._stop()
                continue
            self._deaths.append(now)
            _logger.error("worker %d ended with %d; another takes its place", pid, ended)
            self._start(listener)
        return code

    def _start(self, listener: socket.socket) -> None:
        # A signal between the fork and the entry in the table would be lost on the child.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._work(listener, parent)
        self._workers[pid] = listener
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})

    def _work(self, listener: socket.socket, parent: int) -> None:
        code = 1
        try:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda *_: sys.exit(0))
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})
            _end_with_parent(parent)
            for other in self._listeners:
                if other is not listener:
                    other.close()
            self._serve(listener)
            code = 0
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 1
        except BaseException:
            _logger.exception("a worker failed")
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)  # what the parent set up is the parent's to end

    def _stop(self, *_: int | FrameType | None) -> None:
        self._stopping = True
        for listener in self._listeners:
            listener.close()  # else new connections would wait here for nobody
        for pid in self._workers:
            os.kill(pid, signal.SIGTERM)  # a second SIGINT, where a terminal sent the first, would cut streams


def _end_with_parent(parent: int) -> None:
    """Ask Linux for SIGTERM when the parent dies without telling."""
    import ctypes

    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit(0)


def _forget_metrics(pid: int) -> None:
    from prometheus_client import multiprocess

    multiprocess.mark_process_dead(pid)
