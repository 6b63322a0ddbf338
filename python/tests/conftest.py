# SPDX-License-Identifier: Apache-2.0
"""What the tests share: a small robot, and a deadline for everything that is waited for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import chiral
import numpy as np
import pytest

DEADLINE = 60.0  # seconds; only a broken build needs them


class SmallRobot(chiral.PolicyServer):
    """Two cameras, one with depth, and a stream; keeps what it is told to do."""

    def __init__(self, **options: Any) -> None:
        self.actions: list[np.ndarray] = []  # before super().__init__(), as real programs do
        self.resets = 0
        options.setdefault("host", "127.0.0.1")
        options.setdefault("port", 0)
        options.setdefault("max_action_delay", 0.0)  # none: however late a busy machine comes to an action, it counts
        options.setdefault("departed_action_time", DEADLINE)
        super().__init__(**options)

    def camera_configs(self) -> list[chiral.CameraConfig]:
        return [
            chiral.CameraConfig("wrist", height=4, width=6, has_depth=True),
            chiral.CameraConfig("head", height=3, width=5, channels=1),
        ]

    def proprio_configs(self) -> list[chiral.ProprioConfig]:
        return [chiral.ProprioConfig("joint_pos", 7)]

    async def reset(self) -> tuple[chiral.Observation, dict[str, Any]]:
        self.resets += 1
        return self._make_obs(), {}

    async def apply_action(self, action: np.ndarray) -> None:
        self.actions.append(action)


def eventually(condition: Callable[[], Any], what: str = "") -> Any:
    """Waits until `condition()` is true and returns what it returned."""
    deadline = time.monotonic() + DEADLINE
    while not (result := condition()):
        assert time.monotonic() < deadline, f"waited in vain for {what or condition}"
        time.sleep(0.002)
    return result


def client_of(server: chiral.PolicyServer, **options: Any) -> chiral.PolicyClient:
    options.setdefault("connect_timeout", DEADLINE)
    options.setdefault("request_timeout", DEADLINE)
    return chiral.PolicyClient(f"ws://127.0.0.1:{server.port}", **options)


@pytest.fixture
def robot() -> Iterator[SmallRobot]:
    with SmallRobot() as server:
        assert isinstance(server, SmallRobot)
        yield server
