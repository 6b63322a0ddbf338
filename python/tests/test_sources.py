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


class Watched(SmallRobot):
    """A robot whose sources each say what is to be expected of them."""

    def camera_configs(self) -> list[chiral.CameraConfig]:
        return [
            chiral.CameraConfig("patient", 4, 6, stale_after=3600, frozen_after=0),
            chiral.CameraConfig("slow", 4, 6, frozen_after=2, expected_hz=0.001),
            chiral.CameraConfig("hasty", 4, 6, stale_after=1e-9),
        ]

    def proprio_configs(self) -> list[chiral.ProprioConfig]:
        return [
            chiral.ProprioConfig("rare", 2, element_names=("grip", "turn"), unit="rad", stale_after=3600, frozen_after=2),
            chiral.ProprioConfig("slow", 1, expected_hz=0.001),
            chiral.ProprioConfig("hasty", 1, stale_after=1e-9),
        ]

    def slot_configs(self) -> list[chiral.SlotConfig]:
        return [
            chiral.SlotConfig("rare", np.int32, stale_after=3600, frozen_after=2),
            chiral.SlotConfig("hasty", np.int32, stale_after=1e-9),
        ]


def test_each_source_has_limits_of_its_own() -> None:
    # What has no limit of its own is stale at once: what is fresh here is so by its declaration.
    with Watched(camera_stale_after=1e-9, proprio_stale_after=1e-9) as robot, client_of(robot) as client:
        assert isinstance(robot, Watched)
        for _ in range(4):
            for name in ("patient", "slow", "hasty"):
                robot.update_image(name, np.ones((4, 6, 3), np.uint8))
            robot.update_proprio("rare", np.ones(2))
            robot.update_proprio("slow", np.ones(1))
            robot.update_proprio("hasty", np.ones(1))
            robot.update_slot("rare", 1)
            robot.update_slot("hasty", 1)
            obs = client.get_obs()
        sources = {f"camera {camera.name}": camera.status for camera in obs.cameras}
        sources |= {f"proprio {name}": stamp.status for name, stamp in obs.proprio_stamps.items()}
        statuses = ("never", "fresh", "stale", "frozen", "ahead")
        extra: dict[str, Any] = obs.extra
        sources |= {f"slot {name}": statuses[value["status"]] for name, value in extra.items()}
        assert sources == {
            "camera patient": "fresh",
            "camera slow": "frozen",
            "camera hasty": "stale",
            "proprio rare": "frozen",
            "proprio slow": "fresh",
            "proprio hasty": "stale",
            "slot rare": "frozen",
            "slot hasty": "stale",
        }
        meaning = client.get_metadata()["chiral.sources"]
        assert meaning["proprios"]["rare"] == {"elements": ["grip", "turn"], "unit": "rad"}
        assert meaning["proprios"]["slow"] == meaning["cameras"]["slow"] == {"expected_hz": 0.001}


class Economical(SmallRobot):
    def camera_configs(self) -> list[chiral.CameraConfig]:
        return [
            chiral.CameraConfig("all", 4, 6, has_depth=True),
            chiral.CameraConfig("one", 4, 6, has_depth=True, readers=1, depth_readers=0),
            chiral.CameraConfig("none", 4, 6, has_depth=True, readers=0),
        ]

    def slot_configs(self) -> list[chiral.SlotConfig]:
        return [chiral.SlotConfig("seen", np.int32), chiral.SlotConfig("sent", np.int32, readers=0)]


def test_looks_beyond_a_sources_readers_are_copies() -> None:
    with Economical() as robot, client_of(robot) as client:
        assert isinstance(robot, Economical)
        cameras = robot._chiral_cameras
        for name in cameras:
            robot.update_image(name, np.full((4, 6, 3), 7, np.uint8))
            robot.update_depth(name, np.full((4, 6), 0.5, np.float32))
        for name, with_depth, pinned in (("all", True, 2), ("one", False, 1), ("one", True, 0), ("none", False, 0)):
            views = [cameras[name].view(with_depth) for _ in range(3)]
            assert [view.pinned for view in views] == [True] * pinned + [False] * (3 - pinned), name
            assert all((view.image() == 7).all() for view in views)
            assert not with_depth or all((view.depth() == 0.5).all() for view in views)
            del views
        # A view of another camera takes none from the one that fewer may look at while there is another.
        for names in (("one", "all"), ("all", "one")):
            held = [cameras[name].view() for name in names]
            assert [view.pinned for view in held] == [True, True], names
            del held
        robot.update_slot("seen", 5)
        robot.update_slot("sent", 6)
        assert robot.slot("seen") == 5
        with pytest.raises(ValueError, match="slot 'sent' has readers = 0"):
            robot.slot("sent")
        extra: dict[str, Any] = client.get_obs().extra
        assert np.frombuffer(extra["sent"]["data"], np.int32) == 6


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (chiral.CameraConfig("cam", 4, 6, readers=3), ValueError, "camera 'cam': readers is 3, expected 0 to 2"),
        (chiral.CameraConfig("cam", 4, 6, readers=-1), ValueError, "camera 'cam': readers is -1, expected 0 to 2"),
        (chiral.CameraConfig("cam", 4, 6, readers=1.5), TypeError, "camera 'cam': readers is 1.5, expected a whole number"),
        (chiral.CameraConfig("cam", 4, 6, has_depth=True, readers=1, depth_readers=2), ValueError,
         "camera 'cam': depth_readers is 2, expected 0 to 1"),
        (chiral.CameraConfig("cam", 4, 6, depth_readers=1), ValueError, "camera 'cam': depth_readers is given, but it has no depth"),
        (chiral.CameraConfig("cam", 4, 6, stale_after=0), ValueError, "camera 'cam': stale_after is 0, expected seconds, more than 0"),
        (chiral.CameraConfig("cam", 4, 6, frozen_after=-1), ValueError, "camera 'cam': frozen_after is -1, expected samples in a row"),
        (chiral.CameraConfig("cam", 4, 6, expected_hz=-30), ValueError, "camera 'cam': expected_hz is -30.* expected a rate"),
        (chiral.ProprioConfig("arm", 2, stale_after=float("nan")), ValueError, "proprio 'arm': stale_after is nan, expected seconds"),
        (chiral.ProprioConfig("arm", 2, expected_hz=float("inf")), ValueError, "proprio 'arm': expected_hz is inf, expected a rate"),
        (chiral.ProprioConfig("arm", 2, element_names=("a",)), ValueError, "proprio 'arm': element_names has 1 names, expected 2"),
        (chiral.SlotConfig("touch", np.int32, stale_after=-1), ValueError, "slot 'touch': stale_after is -1, expected seconds"),
        (chiral.SlotConfig("touch", np.int32, frozen_after="2"), TypeError, "slot 'touch': frozen_after is '2', expected a whole"),
        (chiral.SlotConfig("touch", np.int32, readers=2), ValueError, "slot 'touch': readers is 2, expected 0 to 1"),
    ],
)
def test_a_declaration_out_of_range_is_refused(wrong: Any, error: type[Exception], message: str) -> None:
    class Wrong(SmallRobot):
        def camera_configs(self) -> list[chiral.CameraConfig]:
            return [wrong] if isinstance(wrong, chiral.CameraConfig) else []

        def proprio_configs(self) -> list[chiral.ProprioConfig]:
            return [wrong] if isinstance(wrong, chiral.ProprioConfig) else []

        def slot_configs(self) -> list[chiral.SlotConfig]:
            return [wrong] if isinstance(wrong, chiral.SlotConfig) else []

    with pytest.raises(error, match=message):
        Wrong()
