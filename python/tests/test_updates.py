# SPDX-License-Identifier: Apache-2.0
"""update_*() copies as np.copyto does, and says what came and what was expected when it cannot."""

from __future__ import annotations

import threading
import time
from typing import Any

import chiral
import numpy as np
import pytest

from conftest import SmallRobot, eventually


@pytest.fixture
def robot() -> SmallRobot:
    return SmallRobot()  # not serving: buffers work from construction on


SHAPE = (4, 6, 3)
CASES: list[Any] = [
    np.full(SHAPE, 9, np.uint8),
    np.arange(72, dtype=np.uint8).reshape(SHAPE)[:, ::-1],  # not contiguous
    np.asfortranarray(np.arange(72, dtype=np.uint8).reshape(SHAPE)),
    np.arange(3, dtype=np.uint8),  # one colour for all pixels
    np.ones((1, *SHAPE), np.uint8),  # a leading 1 more
    7,
    np.uint8(8),
    True,
    np.ones(SHAPE, bool),
    np.full(SHAPE, 200, np.uint16),  # same kind, though it may not fit
    np.full(SHAPE, 300, np.uint16),
]
REFUSED: list[Any] = [
    [[[1, 2, 3]] * 6] * 4,  # int64 to numpy
    np.full(SHAPE, 300.0),
    np.full(SHAPE, 3, np.float32),
    np.full(SHAPE, 3, np.int64),
    1.5,
    "image",
    np.zeros((6, 4, 3), np.uint8),  # width and height in the other order
    np.zeros((4, 6), np.uint8),
    np.zeros((2, *SHAPE), np.uint8),
    np.zeros(0, np.uint8),
]


@pytest.mark.parametrize("image", CASES, ids=lambda c: f"{np.asarray(c).dtype}{np.asarray(c).shape}")
def test_an_image_is_copied_as_numpy_copies(robot: SmallRobot, image: Any) -> None:
    expected = np.zeros(SHAPE, np.uint8)
    np.copyto(expected, image)
    robot.update_image("wrist", image)
    assert np.array_equal(robot.images["wrist"], expected)


@pytest.mark.parametrize("image", REFUSED, ids=lambda c: f"{np.asarray(c).dtype}{np.asarray(c).shape}")
def test_what_numpy_refuses_is_refused_alike_and_changes_nothing(robot: SmallRobot, image: Any) -> None:
    robot.update_image("wrist", np.full(SHAPE, 5, np.uint8))
    with pytest.raises((TypeError, ValueError)) as numpys:
        np.copyto(np.zeros(SHAPE, np.uint8), image)
    with pytest.raises(numpys.type, match=r"update_image\('wrist'\): .* came, expected uint8 of shape \(4, 6, 3\)") as kept:
        robot.update_image("wrist", image)
    assert kept.value.__traceback__ is not None  # which keeps all that the call held
    assert (robot.images["wrist"] == 5).all()
    robot.update_image("wrist", np.full(SHAPE, 6, np.uint8))  # the field is free again
    assert (robot.images["wrist"] == 6).all()


def test_depths_matrices_and_samples_are_cast_and_broadcast_too(robot: SmallRobot) -> None:
    robot.update_depth("wrist", np.full((4, 6), 2, np.float64))
    robot.update_intrinsics("wrist", np.array([[600, 0, 320], [0, 600, 240], [0, 0, 1]]))
    robot.update_extrinsics("wrist", np.eye(4, dtype=np.float32))
    robot.update_proprio("joint_pos", np.arange(7))
    assert (robot.depths["wrist"] == 2).all() and robot.depths["wrist"].dtype == np.float32
    assert robot.intrinsics["wrist"][0, 2] == 320
    assert robot.proprios["joint_pos"].tolist() == list(range(7))
    robot.update_proprio("joint_pos", 1.5)
    assert robot.proprios["joint_pos"].tolist() == [1.5] * 7
    for update, bad in [
        (robot.update_intrinsics, np.eye(4)),
        (robot.update_extrinsics, np.eye(3)),
    ]:
        with pytest.raises(ValueError, match="came, expected float64"):
            update("wrist", bad)
    with pytest.raises(ValueError, match="joint_pos.*expected float32 of shape"):
        robot.update_proprio("joint_pos", np.zeros(6))
    with pytest.raises(TypeError):
        robot.update_proprio("joint_pos", np.zeros(7, complex))


def test_values_that_are_not_finite_are_refused_where_a_robot_would_act_on_them(robot: SmallRobot) -> None:
    with pytest.raises(ValueError, match="finite|NaN"):
        robot.update_proprio("joint_pos", [0, 0, 0, float("nan"), 0, 0, 0])
    with pytest.raises(ValueError, match="finite|NaN"):
        robot.update_extrinsics("wrist", np.full((4, 4), np.inf))
    robot.update_depth("wrist", np.full((4, 6), np.nan, np.float32))  # no return: as depth cameras say it


def test_unknown_names_are_key_errors_that_name_what_there_is(robot: SmallRobot) -> None:
    with pytest.raises(KeyError, match="no camera 'wirst'; there are: wrist, head"):
        robot.update_image("wirst", 0)
    with pytest.raises(KeyError, match="no proprio 'q'; there are: joint_pos"):
        robot.update_proprio("q", 0)
    with pytest.raises(KeyError, match="'head' was declared without depth"):
        robot.update_depth("head", 0.0)


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int32, np.int64, np.uint8, bool])
def test_a_stream_of_any_dtype_keeps_its_values_exactly(dtype: Any) -> None:
    class Robot(SmallRobot):
        def proprio_configs(self) -> list[chiral.ProprioConfig]:
            return [chiral.ProprioConfig("state", 3, dtype)]

    robot = Robot()
    values = np.array([1, 0, 1]) if dtype is bool else np.array([1, 2, 100])
    values = values.astype(dtype)
    if dtype is np.float64:
        values[0] = 1 / 3  # which float32 cannot hold
    robot.update_proprio("state", values)
    assert robot.proprios["state"].dtype == dtype and robot.proprios["state"].tolist() == values.tolist()
    assert robot._make_obs().proprios["state"].dtype == np.float32  # as on the wire


def test_images_are_stamped_by_the_monotonic_clock_or_by_the_driver(robot: SmallRobot) -> None:
    before = time.monotonic()
    robot.update_image("wrist", 1)
    assert before <= robot._make_obs()["wrist"].timestamp <= time.monotonic()
    robot.update_image("wrist", 1, captured=12.5)
    assert robot._make_obs()["wrist"].timestamp == 12.5 == robot._image_timestamps["wrist"]


def test_two_threads_may_update_the_same_camera(robot: SmallRobot) -> None:
    class Big(SmallRobot):
        def camera_configs(self) -> list[chiral.CameraConfig]:
            return [chiral.CameraConfig("wrist", 480, 640)]

    big = Big()
    errors: list[BaseException] = []

    def write(value: int) -> None:
        image = np.full((480, 640, 3), value, np.uint8)
        try:
            for _ in range(200):
                big.update_image("wrist", image)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(value,)) for value in (1, 2, 3)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        image = big.images["wrist"]
        assert (image == image[0, 0, 0]).all(), "torn"
    assert not errors
    assert big._make_obs()["wrist"].sequence == 600


def test_the_interpreter_runs_on_while_pixels_are_copied() -> None:
    """A copy that holds the GIL would let no other thread count while it lasts."""

    class Big(SmallRobot):
        def camera_configs(self) -> list[chiral.CameraConfig]:
            return [chiral.CameraConfig("wrist", 4000, 6000)]

    big = Big()
    image = np.zeros((4000, 6000, 3), np.uint8)
    counted = 0
    done = threading.Event()

    def count() -> None:
        nonlocal counted
        while not done.is_set():
            counted += 1
            time.sleep(0)

    counting = threading.Thread(target=count)
    counting.start()
    eventually(lambda: counted > 0)
    during = 0
    for _ in range(20):
        before = counted
        big._chiral_native.update_image(0, image)  # one call of the extension: no bytecode in between
        during += counted - before
    done.set()
    counting.join()
    assert during > 0


def test_a_frame_is_filled_in_place_and_published_at_once(robot: SmallRobot) -> None:
    with robot.frame("wrist") as frame:
        frame.image[...] = 3
        frame.depth[...] = 0.5
        frame.extrinsics = np.diag([2.0, 2, 2, 1])
        frame.captured = 77.0
        assert robot._make_obs()["wrist"].sequence == 0, "nothing is published before the end"
    camera = robot._make_obs()["wrist"]
    assert (camera.image == 3).all() and camera.depth is not None and (camera.depth == 0.5).all()
    assert camera.extrinsics[0, 0] == 2 and camera.timestamp == 77.0 and camera.sequence == 1


def test_a_frame_that_fails_publishes_nothing(robot: SmallRobot) -> None:
    with pytest.raises(ZeroDivisionError):
        with robot.frame("wrist") as frame:
            frame.image[...] = 3
            _ = 1 // 0
    assert robot._make_obs()["wrist"].sequence == 0
    robot.update_image("wrist", 4)  # and the field is free
    with pytest.raises(RuntimeError, match="not open"):
        _ = frame.image


def test_a_frames_arrays_are_closed_with_it(robot: SmallRobot) -> None:
    with robot.frame("wrist") as frame:
        image = frame.image
        image[...] = 1
    with pytest.raises(ValueError):
        image[...] = 2
