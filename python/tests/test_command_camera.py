# SPDX-License-Identifier: Apache-2.0
"""Cameras whose pictures come from a command: whole frames, in place, with a command that ends and is started again."""

from __future__ import annotations

import pathlib
import shlex

import numpy as np
import pytest
from chiral._command_camera import Command, RobotWithCommands
from chiral._native import MjpegSplitter

from conftest import eventually

# Start, a segment, a scan with stuffing and a restart in it, end; and one with the picture of a thumbnail in a segment.
PICTURE = b"\xff\xd8" + b"\xff\xe0\x00\x04ab" + b"\xff\xda\x00\x03c" + b"scan\xff\x00\xff\xd3scan\xff\xff\xd9"
WITH_THUMBNAIL = b"\xff\xd8" + b"\xff\xe1\x00\x1f" + PICTURE[:29].ljust(29, b".") + b"\xff\xda\x00\x02" + b"more\xff\xd9"


@pytest.mark.parametrize("step", [1, 2, 3, 7, 1000])
def test_pictures_are_found_however_their_bytes_come(step: int) -> None:
    splitter = MjpegSplitter(1000)
    stream = b"\x00\xff" + PICTURE + b"between\xff" + WITH_THUMBNAIL + PICTURE + PICTURE[:-1]
    found = [picture for at in range(0, len(stream), step) for picture in splitter.take(stream[at : at + step])]
    assert found == [PICTURE, WITH_THUMBNAIL, PICTURE]
    assert splitter.unfinished == len(PICTURE) - 1


def test_a_picture_that_is_broken_or_too_large_is_passed_over() -> None:
    splitter = MjpegSplitter(100)
    assert splitter.take(b"\xff\xd8\xff\xe0\x00\x01" + PICTURE) == [PICTURE], "a segment's length counts its own two bytes"
    assert splitter.take(b"\xff\xd8\xff\xda\x00\x02" + b"x" * 200) == [] and splitter.unfinished == 0
    assert splitter.take(PICTURE) == [PICTURE]


@pytest.mark.parametrize("text", ["clip", "clip,640x480", "clip,640x480,cat", ",4x2,cmd:x", "clip,4by2,cmd:x", "clip,4x2,cmd:", "a,4x2,exe:b"])
def test_what_is_no_camera_is_refused_with_what_was_expected(text: str) -> None:
    with pytest.raises(ValueError, match="expected NAME,WIDTHxHEIGHT,cmd:COMMAND"):
        Command.parse(text)


def test_a_command_may_have_commas_and_colons() -> None:
    assert Command.parse("clip,4x2,cmd:a -vf x,y:z") == Command("clip", 2, 4, "a -vf x,y:z", False)


def test_whole_frames_of_a_command_are_published_and_it_is_started_again(tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture) -> None:
    frames = np.arange(2 * 24, dtype=np.uint8).reshape(2, 2, 4, 3)
    (tmp_path / "frames").write_bytes(frames.tobytes() + b"\xff" * 7)  # and a part of a third
    command = Command.parse(f"clip,4x2,cmd:cat {shlex.quote(str(tmp_path / 'frames'))}")
    robot = RobotWithCommands([command], cameras=1, camera_hz=0, proprio_hz=0, port=0)
    try:
        eventually(lambda: robot.newest_frames()["clip"] >= 4, "two runs of two frames")
        assert list(robot.images) == ["cam_0", "clip"]
        assert robot.newest_frames()["clip"] % 2 == 1 or np.array_equal(robot.images["clip"], frames[1])
    finally:
        robot.end()
    assert np.array_equal(robot.images["clip"], frames[1]), "and nothing of the third"
    told = "camera 'clip': its command ended with code 0 after 2 frames, 7 bytes of an unfinished one were dropped"
    eventually(lambda: told in caplog.text)


def test_a_command_that_goes_on_for_ever_ends_with_the_robot() -> None:
    robot = RobotWithCommands([Command.parse("noise,4x2,cmd:cat /dev/zero & wait")], cameras=0, camera_hz=0, proprio_hz=0, port=0)
    eventually(lambda: robot.newest_frames()["noise"] > 2)
    child = robot._command_cameras[0]._child
    robot.end()
    assert child is not None and child.returncode is not None
    newest = robot.newest_frames()["noise"]
    assert not robot.wait_frames({"noise": newest}, 0.05)
