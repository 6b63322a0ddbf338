# SPDX-License-Identifier: Apache-2.0
"""Sources of other kinds than pixels and vectors: cameras that deliver JPEGs, and slots for data of a program's own."""

from __future__ import annotations

from typing import Any

import chiral
import numpy as np
import pytest

from conftest import SmallRobot, client_of

TOUCH = np.dtype([("pressure", np.float32, (2, 3)), ("contact", np.bool_)])


def grey_jpeg(level: int, size: int = 8) -> bytes:
    """A JPEG of one block of one level, 129 to 255, written by hand: ITU-T T.81."""
    coefficient = 8 * (level - 128)
    category = coefficient.bit_length()
    bits = "10" + format(coefficient, f"0{category}b") + "0"  # this category, its bits, end of block
    bits += "1" * (-len(bits) % 8)
    table_of = bytes([1, 1] + [0] * 14)
    return b"".join([
        b"\xff\xd8",
        b"\xff\xdb\x00\x43\x00" + bytes([1] * 64),
        b"\xff\xc0\x00\x0b\x08" + size.to_bytes(2, "big") * 2 + b"\x01\x01\x11\x00",
        b"\xff\xc4\x00\x15\x00" + table_of + bytes([0, category]),
        b"\xff\xc4\x00\x14\x10" + bytes([1] + [0] * 15) + b"\x00",
        b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00",
        int(bits, 2).to_bytes(len(bits) // 8, "big"),
        b"\xff\xd9",
    ])


class Robot(SmallRobot):
    def camera_configs(self) -> list[chiral.CameraConfig]:
        return [chiral.CameraConfig("uvc", 8, 8, 1, encoding="jpeg", max_encoded_bytes=1000)]

    def slot_configs(self) -> list[chiral.SlotConfig]:
        return [chiral.SlotConfig("touch", TOUCH), chiral.SlotConfig("force", np.float64, (6,))]


def test_a_camera_delivers_jpegs_and_clients_get_pixels() -> None:
    with Robot() as robot, client_of(robot) as client:
        assert isinstance(robot, Robot)
        assert robot.images["uvc"].shape == (0,)
        kinds: list[tuple[int, Any]] = [(200, bytes), (160, bytearray), (240, lambda stream: np.frombuffer(stream, np.uint8))]
        for level, kind in kinds:
            stream = grey_jpeg(level)
            robot.update_image("uvc", kind(stream))
            assert robot.images["uvc"].tobytes() == stream
            assert robot._make_obs()["uvc"].image.tobytes() == stream
            image = client.get_obs()["uvc"].image
            assert image.shape == (8, 8, 1)
            assert abs(image.astype(int) - level).max() <= 1


def test_what_is_no_stream_of_a_jpeg_camera_is_refused() -> None:
    with Robot() as robot:
        assert isinstance(robot, Robot)
        with pytest.raises(ValueError, match="uint8 of shape .8, 8, 1. came, expected the bytes of a JPEG"):
            robot.update_image("uvc", np.zeros((8, 8, 1), np.uint8))
        with pytest.raises(ValueError, match="image has 1001 bytes, expected 1 to 1000"):
            robot.update_image("uvc", bytes(1001))
        with pytest.raises(ValueError, match="image has 0 bytes, expected 1 to 1000"):
            robot.update_image("uvc", b"")
        with pytest.raises(ValueError, match="'uvc' delivers encoded images"), robot.frame("uvc") as frame:
            frame.image[...] = 0


def test_an_unknown_encoding_is_refused() -> None:
    class Wrong(SmallRobot):
        def camera_configs(self) -> list[chiral.CameraConfig]:
            return [chiral.CameraConfig("uvc", 8, 8, encoding="mjpeg")]

    with pytest.raises(ValueError, match="camera 'uvc': encoding is 'mjpeg', expected 'raw' or 'jpeg'"):
        Wrong()


def test_slots_travel_in_extra() -> None:
    touch = np.zeros((), TOUCH)
    touch["pressure"] = [[1, 2, 3], [4, 5, 6]]
    touch["contact"] = True
    with Robot() as robot, client_of(robot) as client:
        assert isinstance(robot, Robot)
        assert robot.slot("force").tolist() == [0] * 6
        robot.update_slot("touch", touch)
        robot.update_slot("force", [1, 2, 3, 4, 5, 6.5], captured=5.0)
        assert robot.slot("touch") == touch
        assert robot.slot("force").tolist() == [1, 2, 3, 4, 5, 6.5]
        extra: dict[str, Any] = client.get_obs().extra
        force = extra["force"]
        assert (force["dtype"], force["shape"], force["sequence"], force["timestamp"]) == ("float64", [6], 1, 5.0)
        assert np.frombuffer(force["data"], force["dtype"]).tolist() == [1, 2, 3, 4, 5, 6.5]
        assert extra["touch"]["dtype"] == "uint8"
        assert np.frombuffer(extra["touch"]["data"], TOUCH)[0] == touch
        robot.update_slot("touch", np.zeros((), TOUCH).tobytes())
        assert not np.frombuffer(client.get_obs().extra["touch"]["data"], TOUCH)[0]["contact"]


def test_what_does_not_fit_a_slot_is_refused() -> None:
    with Robot() as robot:
        assert isinstance(robot, Robot)
        with pytest.raises(KeyError, match="no slot 'tuoch'; there are: touch, force"):
            robot.update_slot("tuoch", 1)
        with pytest.raises(ValueError, match="float64 of shape .5,. came, expected float64 of shape .6,."):
            robot.update_slot("force", np.zeros(5))
        with pytest.raises(ValueError, match="slot has 3 bytes, expected 48"):
            robot.update_slot("force", b"abc")

    class Wrong(SmallRobot):
        def slot_configs(self) -> list[chiral.SlotConfig]:
            return [chiral.SlotConfig("touch", np.object_)]

    with pytest.raises(ValueError, match="slot 'touch': dtype is .O, expected one of a fixed size"):
        Wrong()
