#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Connects to a robot again and again, and tells what memory each connection leaves behind.

    PYTHONPATH=build/release/python build/python/bin/python python/tests/reconnects.py 10000

Beside it a control, a tenth as many, which keeps one kilobyte and ten objects of each connection on purpose: what it shows is what a leak would
look like. The tests run the same with a few hundred.
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import chiral
import chiral.testing
import numpy as np

KEPT_BY_THE_CONTROL = 1024  # bytes


class _Mallinfo(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks",
                                                     "fordblks", "keepcost")]


@dataclass
class Memory:
    native: int  # bytes that malloc has given and not got back
    python: int  # blocks that Python's allocator has given and not got back
    resident: int  # bytes
    descriptors: int

    @staticmethod
    def now() -> Memory:
        gc.collect()
        libc = ctypes.CDLL(None)
        libc.mallinfo2.restype = _Mallinfo
        info = libc.mallinfo2()
        with open("/proc/self/statm", encoding="ascii") as pages:
            resident = int(pages.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        return Memory(info.uordblks + info.hblkhd, sys.getallocatedblocks(), resident, len(os.listdir("/proc/self/fd")))


@dataclass
class Left:
    """What one connection leaves behind, on the average."""

    times: int
    native: float  # bytes
    python: float  # blocks
    resident: float  # bytes
    descriptors: int  # all of them

    def __str__(self) -> str:
        return (f"{self.times} connections: each left {self.native:.1f} bytes of malloc's, {self.python:.3f} of Python's blocks and "
                f"{self.resident:.1f} bytes resident; {self.descriptors} descriptors more")


def reconnect(robot: chiral.testing.SimulatedRobot, times: int, keep: int = 0) -> Left:
    """Connects so many times. Each time an episode is begun, an action is sent, and the client leaves in order or is dropped."""
    kept: list[object] = []
    malloc = ctypes.CDLL(None).malloc  # by itself: a free-threaded Python has an allocator of its own, also for what is large
    malloc.restype, malloc.argtypes = ctypes.c_void_p, (ctypes.c_size_t,)

    def connections(count: int) -> None:
        applied = robot.stats()["actions_applied"]
        for i in range(count):
            env = _connected(robot)
            env.reset()
            env.apply_action(np.zeros(7, np.float32))
            if i % 2 == 0:
                env.close()
            robot.actions.clear()  # of all connections they would take memory of their own, which is resident though it is given back
            if keep:
                kept.append((malloc(keep), [object() for _ in range(10)]))
            del env
        _eventually(lambda: robot.stats()["actions_applied"] == applied + count)
        robot.actions.clear()
        # A client that is dropped is closed in the background.
        _eventually(lambda: len(os.listdir("/proc/self/task")) <= threads and len(os.listdir("/proc/self/fd")) <= descriptors)

    threads, descriptors = len(os.listdir("/proc/self/task")) + 1, len(os.listdir("/proc/self/fd")) + 1
    connections(max(100, times // 10))  # until what is kept for the next time is there
    before = Memory.now()
    connections(times)
    after = Memory.now()
    return Left(times, (after.native - before.native) / times, (after.python - before.python) / times,
                (after.resident - before.resident) / times, after.descriptors - before.descriptors)


def _connected(robot: chiral.testing.SimulatedRobot) -> chiral.PolicyClient:
    """Waits for a client before that was dropped, and may still be in control."""
    deadline = time.monotonic() + 60.0
    while True:
        try:
            return chiral.PolicyClient(f"ws://127.0.0.1:{robot.port}", connect_timeout=60.0, request_timeout=60.0).connect()
        except chiral.ConnectionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.002)


def _eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60.0
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("waited in vain for what connections leave behind to go")
        time.sleep(0.002)


def main() -> None:
    times = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    robot = chiral.testing.SimulatedRobot(camera_hz=0, proprio_hz=0, port=0, action_timeout=0, max_action_delay=0, log=lambda line: None)
    with robot:
        print(reconnect(robot, times), flush=True)
        print("control,", reconnect(robot, max(1, times // 10), KEPT_BY_THE_CONTROL), flush=True)


if __name__ == "__main__":
    main()
