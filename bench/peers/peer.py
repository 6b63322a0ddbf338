# SPDX-License-Identifier: Apache-2.0
"""What the Python peers of bench/side_by_side.py share: their command line, the clock, and when to stop.

    PEER give NAME BYTES HZ                 says "ready ADDRESS", goes on until its standard input ends
    PEER take ADDRESS BYTES next|next_polling|newest|asked N    prints N figures, nanoseconds, as a JSON array
"""
import json
import sys
import threading
import time

PAUSE_NS = 8_000_000  # between two looks at the newest: a policy that computes
WARM_UPS = 10


def main(give, take):
    """give(name, size, hz), which calls ready(); take(address, size), a context manager with methods next, newest and asked."""
    if len(sys.argv) == 5 and sys.argv[1] == "give":
        give(sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
    elif len(sys.argv) == 6 and sys.argv[1] == "take":
        with take(sys.argv[2], int(sys.argv[3])) as taker:
            one = getattr(taker, sys.argv[4])
            for _ in range(WARM_UPS):
                one()
            print(json.dumps([one() for _ in range(int(sys.argv[5]))]), flush=True)
    else:
        sys.exit(__doc__)


def ready(address):
    """Returns an event that is set when the peer shall stop."""
    over = threading.Event()

    def wait():
        sys.stdin.read()
        over.set()

    threading.Thread(target=wait, daemon=True).start()
    print(f"ready {address}", flush=True)
    return over


def stamp():
    return time.monotonic_ns().to_bytes(8, sys.byteorder)


def since(stamped):
    """Nanoseconds since the time in the first eight bytes of an image."""
    return time.monotonic_ns() - int.from_bytes(stamped, sys.byteorder)


def timed(call):
    began = time.monotonic_ns()
    call()
    return time.monotonic_ns() - began


def timed_look(call):
    """The same, at a time of one's own."""
    took = timed(call)
    until = time.monotonic_ns() + PAUSE_NS
    while time.monotonic_ns() < until:
        pass
    return took


def paced(hz, over):
    """Counts at that rate, until it is over."""
    following, number = time.monotonic(), 0
    while not over.is_set():
        following += 1 / hz
        time.sleep(max(0.0, following - time.monotonic()))
        yield number
        number += 1
