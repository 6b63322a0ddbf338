# SPDX-License-Identifier: Apache-2.0
"""Clients on the robot's own machine: arrays that are the robot's memory, given back in time, and nothing after a fork."""

from __future__ import annotations

import os
import pathlib
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import chiral
import numpy as np
import pytest

from conftest import DEADLINE, SmallRobot


@pytest.fixture
def socket(tmp_path: pathlib.Path) -> str:
    return str(tmp_path / "robot.sock")


@pytest.fixture
def local_robot(socket: str) -> Iterator[SmallRobot]:
    with SmallRobot(local_socket=socket) as server:
        assert isinstance(server, SmallRobot)
        server.update_image("wrist", np.full((4, 6, 3), 1, np.uint8))
        yield server


@pytest.fixture
def env(local_robot: SmallRobot, socket: str) -> Iterator[chiral.PolicyClient]:
    with chiral.PolicyClient(f"unix://{socket}", connect_timeout=DEADLINE, request_timeout=DEADLINE) as client:
        yield client


def test_the_same_calls_work(env: chiral.PolicyClient, local_robot: SmallRobot) -> None:
    obs, info = env.reset()
    assert obs["wrist"].image.shape == (4, 6, 3) and info == {} and local_robot.resets == 1
    assert env.get_metadata() == {}
    env.apply_action([1.0, 2.0])
    assert env.step([3.0, 4.0])[0]["wrist"].image[0, 0, 0] == 1
    assert [action.tolist() for action in local_robot.actions] == [[1.0, 2.0], [3.0, 4.0]]


def test_arrays_are_read_only_and_do_not_change(env: chiral.PolicyClient, local_robot: SmallRobot) -> None:
    with env.observe() as obs:
        image = obs["wrist"].image
        assert not image.flags.writeable and not image.flags.owndata
        with pytest.raises(ValueError):
            image[0, 0, 0] = 9
        for value in range(2, 100):
            local_robot.update_image("wrist", np.full((4, 6, 3), value, np.uint8))
        assert (image == 1).all()
        del image
    assert local_robot.stats()["copied_observations"] == 0


@pytest.fixture
def direct(socket: str) -> Iterator[tuple[SmallRobot, chiral.PolicyClient]]:
    with SmallRobot(local_socket=socket, local_direct_readers=1) as robot:
        assert isinstance(robot, SmallRobot)
        robot.update_image("wrist", np.full((4, 6, 3), 1, np.uint8))
        with chiral.PolicyClient(f"unix://{socket}", connect_timeout=DEADLINE, request_timeout=DEADLINE) as client:
            yield robot, client


def test_the_newest_image_of_a_camera_is_read_directly(direct: tuple[SmallRobot, chiral.PolicyClient]) -> None:
    robot, env = direct
    assert env.reads_directly
    with env.observe("wrist") as obs:
        image = obs["wrist"].image
        assert [camera.name for camera in obs.cameras] == ["wrist"] and not image.flags.writeable
        for value in range(2, 100):
            robot.update_image("wrist", np.full((4, 6, 3), value, np.uint8))
        assert (image == 1).all()
        del image
    for value in range(100, 110):  # what was held is given back
        robot.update_image("wrist", np.full((4, 6, 3), value, np.uint8))
        with env.observe("wrist") as obs:
            assert (obs["wrist"].image == value).all()
    with pytest.raises(IndexError):
        env.observe("nose").__enter__()


def test_the_newest_image_is_asked_for_where_no_seat_is_left(env: chiral.PolicyClient) -> None:
    assert not env.reads_directly
    with env.observe("wrist") as obs:
        assert (obs["wrist"].image == 1).all()


def test_a_child_of_fork_is_told_that_it_cannot_read_directly(direct: tuple[SmallRobot, chiral.PolicyClient]) -> None:
    _, env = direct
    child = os.fork()
    if child == 0:
        try:
            env.observe("wrist").__enter__()
        except RuntimeError as error:
            os._exit(0 if "fork" in str(error) else 2)
        os._exit(3)
    assert os.waitpid(child, 0)[1] == 0


def test_a_block_gives_back_what_it_had(env: chiral.PolicyClient) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(10):
            with env.observe() as obs:
                assert obs["wrist"].image.sum() == 72
    with pytest.raises(RuntimeError, match="block has ended"):
        obs["wrist"].image[0]


def test_what_escapes_a_block_is_warned_of_and_stays_valid(env: chiral.PolicyClient, local_robot: SmallRobot) -> None:
    with pytest.warns(RuntimeWarning, match="the image of 'wrist' outlived"):
        with env.observe() as obs:
            image: Any = obs["wrist"].image
            part = memoryview(image[1:3])
            del image
    local_robot.update_image("wrist", np.full((4, 6, 3), 2, np.uint8))
    assert part[0, 0, 0] == 1
    with env.observe() as obs:
        copy = obs.copy()
        with pytest.raises(chiral.LoanError):
            env.get_obs()
    del part
    kept = env.get_obs(), env.get_obs()
    assert copy["wrist"].image[0, 0, 0] == kept[0]["wrist"].image[0, 0, 0] == 2


def test_after_a_fork_the_arrays_say_that_they_are_gone_and_the_parents_stay(env: chiral.PolicyClient,
                                                                                local_robot: SmallRobot) -> None:
    obs = env.get_obs()
    copy = obs.copy()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            says = "nothing"
            try:
                obs["wrist"].image.sum()
            except RuntimeError as error:
                says = str(error)
            try:
                env.get_obs()
            except RuntimeError as error:
                says += f"; {error}"
            os.write(writing, f"{copy['wrist'].image[0, 0, 0]} {says}".encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    says = os.read(reading, 4096).decode()
    os.close(reading)
    os.close(writing)
    assert says.startswith("1 this process is a child of fork()") and "; " in says, says
    for value in range(2, 50):  # the child, when it let go, did so for itself alone
        local_robot.update_image("wrist", np.full((4, 6, 3), value, np.uint8))
    assert obs["wrist"].image.sum() == 72
    assert env.get_obs()["wrist"].image[0, 0, 0] == 49


def test_wait_frame_says_when_there_is_a_newer_image(env: chiral.PolicyClient, local_robot: SmallRobot) -> None:
    assert env.wait_frame("wrist", 0, DEADLINE) == 1
    assert env.wait_frame("wrist", 1, 0.01) is None
    local_robot.update_image("wrist", np.full((4, 6, 3), 2, np.uint8))
    assert env.wait_frame("wrist", 1, DEADLINE) == 2
    with pytest.raises(IndexError):
        env.wait_frame("nose", 0, DEADLINE)


def test_wait_frame_may_look_for_the_image_instead_of_sleeping(socket: str) -> None:
    with SmallRobot(local_socket=socket, local_direct_readers=1) as robot:
        robot.update_image("wrist", np.full((4, 6, 3), 1, np.uint8))
        with chiral.PolicyClient(f"unix://{socket}", connect_timeout=DEADLINE, busy_poll=1.0) as env:
            assert env.reads_directly
            for value in range(2, 20):
                sensor = threading.Thread(target=robot.update_image, args=("wrist", np.full((4, 6, 3), value, np.uint8)))
                sensor.start()
                assert env.wait_frame("wrist", value - 1, DEADLINE) == value
                sensor.join()
                with env.observe("wrist") as obs:
                    assert obs["wrist"].image[0, 0, 0] == value
    with pytest.raises(ValueError, match="busy_poll"):
        chiral.PolicyClient(f"unix://{socket}", busy_poll=2.0)


def test_a_robot_may_serve_its_own_machine_alone(socket: str) -> None:
    with SmallRobot(local_socket=socket, local_only=True) as robot:
        assert robot.port == 0
        with chiral.PolicyClient(f"unix://{socket}", connect_timeout=DEADLINE) as env:
            assert env.reset()[0]["wrist"].image.shape == (4, 6, 3)
    with pytest.raises(ValueError, match="local.only is true without a local_socket, expected a path for that"):
        SmallRobot(local_only=True)
