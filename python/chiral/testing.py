# SPDX-License-Identifier: Apache-2.0
"""For unit tests of a robot or a policy that need no other machine: a client for a robot, and a robot for a policy.

    def test_my_robot():
        with chiral.testing.serving(MyRobot) as env:    # no port, nothing to wait for
            obs, info = env.reset()
            env.apply_action(np.zeros(7))

What goes between the two passes everything that it passes in earnest: control, the gate, the time-outs and the queues.
"""

from __future__ import annotations

import math
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from .client import PolicyClient
from .server import PolicyServer, _imposed
from .types import Array, CameraConfig, Observation, ProprioConfig, SlotConfig

__all__ = ["SimulatedRobot", "serving"]


@contextmanager
def serving(robot: PolicyServer | Callable[[], PolicyServer], **client_options: Any) -> Iterator[PolicyClient]:
    """Serves a robot where nobody else is, and gives a client that is connected to it.

    robot: a class, or any callable that makes the server: then no port is opened at all, whatever host, port and protocol it asks
    for; the two talk through a socket in a folder of their own, and arrays that come are writable copies. Or a server that has
    been made: that goes through the loopback interface, on a port that the system picks, with the wire's encoding.
    """
    if isinstance(robot, PolicyServer):
        robot.host, robot.port = "127.0.0.1", 0
        with robot, PolicyClient(f"ws://127.0.0.1:{robot.port}", **client_options) as client:
            yield client
        return
    with tempfile.TemporaryDirectory(prefix="chiral-") as folder:
        socket = f"{folder}/robot"
        imposed = _imposed.set({"local_socket": socket, "local_only": True, "local_observers": 0})
        try:
            server = robot()
        finally:
            _imposed.reset(imposed)
        with server, PolicyClient(f"unix://{socket}", **{"writable": True, **client_options}) as client:
            yield client


_STREAMS = (("joint_pos", "rad"), ("joint_vel", "rad/s"), ("joint_effort", "N m"))


class SimulatedRobot(PolicyServer):
    """An arm that goes where actions say, and cameras that see a pattern move.

    cameras: how many, named cam_0 and so on, each of size (height, width). proprios: how many streams of `joints` values: joint_pos,
    joint_vel, joint_effort, proprio_3 and so on. touch: a slot of that name, (2, 4, 4) float32, what the gripper's pads feel in kPa.
    camera_hz, proprio_hz: how often they are updated; 0: only by tick(), for tests that choose the moment.
    """

    def __init__(
        self,
        *,
        cameras: int = 2,
        size: tuple[int, int] = (48, 64),
        depth: bool = False,
        joints: int = 7,
        proprios: int = 2,
        touch: bool = False,
        camera_hz: float = 30.0,
        proprio_hz: float = 100.0,
        host: str = "127.0.0.1",
        port: int | None = None,
        **options: Any,
    ) -> None:
        self._cameras_declared = [
            CameraConfig(f"cam_{i}", size[0], size[1], has_depth=depth, intrinsics=_pinhole(size)) for i in range(cameras)
        ]
        self._joints = joints
        self._streams = [_STREAMS[i][0] if i < len(_STREAMS) else f"proprio_{i}" for i in range(proprios)]
        self._touch = touch
        self.actions: list[Array] = []  #: every action that was executed
        self.resets = 0
        self.position: Array = np.zeros(joints, np.float32)
        self._ticks = 0
        self._ended = threading.Event()
        super().__init__(host, port, **options)
        for hz, tick in ((camera_hz, self._tick_cameras), (proprio_hz, self._tick_proprios)):
            tick()
            if hz > 0:
                threading.Thread(target=self._every, args=(1.0 / hz, tick), daemon=True).start()

    def camera_configs(self) -> list[CameraConfig]:
        return self._cameras_declared

    def proprio_configs(self) -> list[ProprioConfig]:
        names = tuple(f"joint_{joint}" for joint in range(1, self._joints + 1))
        units = dict(_STREAMS)
        return [ProprioConfig(stream, self._joints, element_names=names if stream in units else (), unit=units.get(stream, ""))
                for stream in self._streams]

    def slot_configs(self) -> list[SlotConfig]:
        return [SlotConfig("touch", np.float32, (2, 4, 4))] if self._touch else []

    async def get_metadata(self) -> dict[str, Any]:
        return {"robot": "simulated", "action_dim": self._joints, "action_N": 1, "action_D": self._joints}

    async def reset(self) -> tuple[Observation, dict[str, Any]]:
        self.resets += 1
        self.position = np.zeros(self._joints, np.float32)
        return self._make_obs(), {}

    async def apply_action(self, action: Array) -> None:
        self.actions.append(action)
        last = action if action.ndim == 1 else action[-1]
        if last.shape == self.position.shape:
            self.position = last.copy()

    def tick(self) -> None:
        """One new image of every camera, and one sample of every stream."""
        self._tick_cameras()
        self._tick_proprios()

    def end(self) -> None:
        """Ends the sensor threads."""
        self._ended.set()

    def _tick_cameras(self) -> None:
        self._ticks += 1
        for i, config in enumerate(self._cameras_declared):
            row = np.arange(config.width) + self._ticks * (i + 1)
            with self.frame(config.name) as frame:
                frame.image[...] = (row % 256).astype(np.uint8)[None, :, None]
                if config.has_depth:
                    frame.depth[...] = np.float32(1.0 + 0.5 * math.sin(self._ticks / 30.0))

    def _tick_proprios(self) -> None:
        for stream in self._streams:
            self.update_proprio(stream, self.position if stream == "joint_pos" else 0.0)
        if self._touch:  # something soft that wanders over the pads
            now = time.monotonic()
            row, column = 1.5 + math.sin(now), 1.5 + math.cos(0.7 * now)
            at = np.arange(4)
            self.update_slot("touch", 20.0 * np.exp(-((at[:, None] - row) ** 2) - (at - column) ** 2))

    def _every(self, period: float, tick: Any) -> None:
        due = time.monotonic()
        while not self._ended.wait(max(0.0, due - time.monotonic())):
            tick()
            due = max(due + period, time.monotonic())


def _pinhole(size: tuple[int, int]) -> Array:
    height, width = size
    return np.array([[width, 0, width / 2], [0, width, height / 2], [0, 0, 1]], dtype=np.float64)
