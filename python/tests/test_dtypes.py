# SPDX-License-Identifier: Apache-2.0
"""Elements of every type that numpy names: declared, updated, seen by the program itself and by a client."""

from __future__ import annotations

from typing import Any

import chiral
import numpy as np
import pytest

from conftest import SmallRobot

DTYPES = ["bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float16", "float32", "float64"]


def pixels(shape: tuple[int, ...], dtype: str) -> Any:
    return (np.arange(np.prod(shape)) % (2 if dtype == "bool" else 100)).reshape(shape).astype(dtype)


class TypedRobot(SmallRobot):
    def camera_configs(self) -> list[chiral.CameraConfig]:
        return [
            chiral.CameraConfig(f"{what} {dtype}", 4, 6, 1 if what == "flat" else 3, what == "deep",
                                image_dtype=np.uint8 if what == "deep" else np.dtype(dtype),
                                depth_dtype=np.dtype(dtype) if what == "deep" else np.float32,
                                depth_unit=0.001 if what == "deep" else 0.0, two_dimensional=what == "flat")
            for dtype in DTYPES
            for what in ("image", "flat", "deep")
        ]


def test_every_dtype_is_seen_as_it_was_written() -> None:
    with TypedRobot(host="127.0.0.1", port=0) as robot:
        assert isinstance(robot, TypedRobot)
        for dtype in DTYPES:
            robot.update_image(f"image {dtype}", pixels((4, 6, 3), dtype))
            robot.update_image(f"flat {dtype}", pixels((4, 6), dtype))
            robot.update_depth(f"deep {dtype}", pixels((4, 6), dtype))
        with chiral.PolicyClient(f"ws://127.0.0.1:{robot.port}") as client:
            observations = [robot._make_obs(), client.reset()[0]]
        for obs in observations:
            for dtype in DTYPES:
                for name, shape in ((f"image {dtype}", (4, 6, 3)), (f"flat {dtype}", (4, 6))):
                    assert obs[name].image.dtype == dtype and np.array_equal(obs[name].image, pixels(shape, dtype))
                depth = obs[f"deep {dtype}"].depth
                assert depth is not None and depth.dtype == dtype and np.array_equal(depth, pixels((4, 6), dtype))
                assert obs[f"deep {dtype}"].depth_unit == 0.001
        for dtype in DTYPES:
            assert np.array_equal(robot.images[f"flat {dtype}"], pixels((4, 6), dtype))
            assert np.array_equal(robot.depths[f"deep {dtype}"], pixels((4, 6), dtype))


def test_frames_are_filled_in_place_by_their_dtype() -> None:
    robot = TypedRobot(host="127.0.0.1", port=0)
    with robot.frame("deep uint16") as frame:
        assert frame.depth.dtype == np.uint16 and frame.image.dtype == np.uint8
        frame.depth[:] = 1234
    assert (robot.depths["deep uint16"] == 1234).all()


def test_updates_cast_as_numpy_does() -> None:
    robot = TypedRobot(host="127.0.0.1", port=0)
    robot.update_depth("deep float64", np.full((4, 6), 2, np.float32))
    assert (robot.depths["deep float64"] == 2).all()
    robot.update_image("image uint16", np.full((4, 6, 3), 255, np.uint8))
    assert (robot.images["image uint16"] == 255).all()
    with pytest.raises(TypeError, match="float64 of shape"):
        robot.update_depth("deep uint16", np.full((4, 6), 2.5))


@pytest.mark.parametrize("dtype", [">u2", "complex64", "O", "U4", "M8[s]"])
def test_a_dtype_that_the_wire_cannot_carry_is_refused_by_name(dtype: str) -> None:
    class Robot(SmallRobot):
        def camera_configs(self) -> list[chiral.CameraConfig]:
            return [chiral.CameraConfig("cam", 4, 6, image_dtype=np.dtype(dtype))]

    with pytest.raises(ValueError, match="camera 'cam': image_dtype is .*, expected bool, uint8"):
        Robot()
