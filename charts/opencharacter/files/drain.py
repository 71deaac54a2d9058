"""The engine's preStop hook: returns once no request has been under way for some seconds.

An answer so ends before the engine does, and an idle pod does not wait for nothing. The pod's grace period bounds it.
Arguments: the address of vLLM's metrics, and the seconds.
"""

import sys
import time
import urllib.request

URL, IDLE_S, POLL_S = sys.argv[1], float(sys.argv[2]), 0.5
GAUGES = ("vllm:num_requests_running{", "vllm:num_requests_waiting{")


def busy() -> bool:
    """Whether requests are under way, as far as the engine says; ends the program where it has ended."""
    try:
        with urllib.request.urlopen(URL, timeout=4) as answer:
            lines = answer.read().decode().splitlines()
    except Exception as error:
        if isinstance(getattr(error, "reason", None), ConnectionRefusedError):
            sys.exit()
        return True
    counts = [float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(GAUGES)]
    return not counts or any(counts)


idle_since = time.monotonic()
while time.monotonic() - idle_since < IDLE_S:
    time.sleep(min(POLL_S, IDLE_S))
    if busy():
        idle_since = time.monotonic()
