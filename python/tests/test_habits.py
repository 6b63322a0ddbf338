# SPDX-License-Identifier: Apache-2.0
"""What real programs do with the documented package beside its documented interface."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import chiral
import chiral.types
import numpy as np
import pytest

from conftest import SmallRobot, client_of, eventually


class Habits(SmallRobot):
    """A robot shaped as programs in the field are."""

    def __init__(self, **options: Any) -> None:
        self._step = 0
        self.closed = False
        self.stopped: list[str] = []
        super().__init__(**options)

    def close(self) -> None:  # their own, which the base must never call
        self.closed = True

    def _make_obs(self) -> chiral.Observation:  # type: ignore[override]
        cameras = []
        for config in self._configs:
            name = config.name
            with self._locks[name]:
                cameras.append(
                    chiral.types.CameraInfo(
                        name=name,
                        intrinsics=self.intrinsics[name].copy(),
                        extrinsics=self.extrinsics[name].copy(),
                        image=self.images[name].copy(),
                        depth=self.depths[name].copy() if config.has_depth else None,
                        timestamp=self._image_timestamps[name],
                    )
                )
        proprios = {}
        for proprio in self._proprio_configs:
            with self._proprio_locks[proprio.name]:
                proprios[proprio.name] = self.proprios[proprio.name].copy()
        return chiral.types.Observation(cameras=cameras, proprios=proprios, timestamp=time.time_ns(), extra={"step": self._step})

    async def _handle(self, ws: Any) -> None:
        try:
            await super()._handle(ws)
        finally:
            self.stopped.append(ws.remote_address[0])

    async def apply_action(self, action: np.ndarray) -> None:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, self.actions.append, action)
        self._step += 1


def test_a_robot_with_habits_serves() -> None:
    with Habits() as server, client_of(server) as env:
        server.update_image("wrist", 9)
        obs, _ = env.reset()
        assert (obs["wrist"].image == 9).all()
        env.apply_action(np.ones(7))
        eventually(lambda: env.get_obs().extra == {"step": 1})
        assert abs(env.get_obs().timestamp - time.time_ns()) < 60e9
        assert not server.stopped
        env.close()
        eventually(lambda: server.stopped == ["127.0.0.1"])
        with client_of(server) as again:
            again.reset()
        eventually(lambda: len(server.stopped) == 2)
    assert not server.closed
    assert server._protocol == "websocket"


def test_a_lock_pins_one_coherent_view() -> None:
    robot = SmallRobot()
    robot.update_image("wrist", 1)
    robot.update_extrinsics("wrist", np.diag([1.0, 1, 1, 1]))
    with robot._locks["wrist"]:
        threading.Thread(target=robot.update_image, args=("wrist", 2)).run()
        robot.update_extrinsics("wrist", np.diag([2.0, 2, 2, 1]))
        assert (robot.images["wrist"] == 1).all() and robot.extrinsics["wrist"][0, 0] == 1
    assert (robot.images["wrist"] == 2).all() and robot.extrinsics["wrist"][0, 0] == 2


def test_matrices_written_under_the_lock_are_published_when_its_block_ends() -> None:
    robot = SmallRobot()
    T = np.diag([3.0, 3, 3, 1])
    with robot._locks["wrist"]:
        np.copyto(robot.extrinsics["wrist"], T)
        robot.intrinsics["wrist"][0, 2] = 320
        image = robot.images["wrist"].copy()
        assert robot._make_obs()["wrist"].extrinsics[0, 0] == 1, "not before"
    assert image.shape == (4, 6, 3)
    camera = robot._make_obs()["wrist"]
    assert camera.extrinsics.tolist() == T.tolist() and camera.intrinsics[0, 2] == 320
    with robot._proprio_locks["joint_pos"]:
        robot.proprios["joint_pos"][:] = 4
    assert robot._make_obs().proprios["joint_pos"].tolist() == [4.0] * 7


def test_a_block_that_only_looks_publishes_nothing() -> None:
    robot = SmallRobot()
    with robot._locks["wrist"]:
        _ = robot.extrinsics["wrist"]
        robot.update_extrinsics("wrist", np.diag([5.0, 5, 5, 1]))
    assert robot.extrinsics["wrist"][0, 0] == 5


def test_small_arrays_written_without_the_lock_are_published_at_once() -> None:
    robot = SmallRobot()
    robot.extrinsics["wrist"][:3, 3] = [1, 2, 3]
    np.copyto(robot.intrinsics["head"], np.eye(3) * 2)
    robot.proprios["joint_pos"][...] = 1
    arm = robot.proprios["joint_pos"]
    arm += 2
    view = robot.extrinsics["head"][:3]
    view[0, 3] = 9
    obs = robot._make_obs()
    assert obs["wrist"].extrinsics[:3, 3].tolist() == [1, 2, 3]
    assert obs["head"].intrinsics[0, 0] == 2
    assert obs.proprios["joint_pos"].tolist() == [3.0] * 7
    assert obs["head"].extrinsics[0, 3] == 9
    copy = robot.extrinsics["wrist"].copy()
    copy[0, 3] = 100  # a copy is nobody's buffer
    assert robot.extrinsics["wrist"][0, 3] == 1
    before = robot._make_obs().proprio_stamps["joint_pos"].sequence
    sample = robot.proprios["joint_pos"].copy()
    sample[0] = 100
    assert robot._make_obs().proprio_stamps["joint_pos"].sequence == before, "nothing was published"


def test_pixels_written_in_place_fail_with_advice() -> None:
    robot = SmallRobot()
    for pixels in (robot.images["wrist"], robot.depths["wrist"]):
        with pytest.raises(ValueError, match=r"update_image\(\).*frame"):
            pixels[0] = 1
        with pytest.raises(ValueError, match="frame"):
            np.copyto(pixels, 1)
        with pytest.raises(ValueError, match="read-only"):
            pixels.fill(1)
    with pytest.raises(TypeError, match="cannot be replaced"):
        robot.images["wrist"] = np.zeros((4, 6, 3), np.uint8)  # type: ignore[index]
    image = robot.images["wrist"].copy()
    image[0] = 1  # a copy is the program's own


def test_the_dicts_have_the_declared_names() -> None:
    robot = SmallRobot()
    assert list(robot.images) == ["wrist", "head"] == list(robot.intrinsics) == list(robot._locks) == list(robot._image_timestamps)
    assert list(robot.depths) == ["wrist"] and "head" not in robot.depths
    assert {name: image.shape for name, image in robot.images.items()} == {"wrist": (4, 6, 3), "head": (3, 5, 1)}
    assert list(robot.proprios) == ["joint_pos"] == list(robot._proprio_locks)
    assert (robot.host, robot.port) == ("127.0.0.1", 0)
    for missing in (robot.images, robot.depths, robot.extrinsics, robot.proprios):
        with pytest.raises(KeyError):
            _ = missing["none"]


def test_images_that_are_kept_stay_what_they_were() -> None:
    robot = SmallRobot()
    kept = []
    for value in range(6):  # more than can be pinned at once
        robot.update_image("wrist", value)
        kept.append(robot.images["wrist"])
    robot.update_image("wrist", 99)
    assert [int(image[0, 0, 0]) for image in kept] == list(range(6))
    assert all((image == image[0, 0, 0]).all() for image in kept)


def test_a_timestamp_that_a_program_sets_stands_until_the_next_image() -> None:
    robot = SmallRobot()
    robot.update_image("wrist", 1)
    robot._image_timestamps["wrist"] = 1_700_000_000_000_000_001
    assert robot._make_obs()["wrist"].timestamp == 1_700_000_000_000_000_001
    robot.update_image("wrist", 2)
    assert robot._make_obs()["wrist"].timestamp < 1e9


def test_locks_are_locks_for_those_who_ask() -> None:
    lock = SmallRobot()._locks["wrist"]
    assert lock.acquire() and lock.locked()
    assert not lock.acquire(blocking=False)
    lock.release()
    assert not lock.locked()
