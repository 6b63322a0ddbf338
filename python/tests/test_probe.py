# SPDX-License-Identifier: Apache-2.0
"""What python -m chiral probe writes is what chiral-probe writes of the same robot."""

from __future__ import annotations

import json
import os
import pathlib
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from typing import Any

import chiral.testing
import numpy as np
import pytest
from chiral._terminal import table
from chiral.types import Array

from conftest import DEADLINE


def probes() -> dict[str, list[str]]:
    (native,) = [program for program in os.environ["CHIRAL_PROGRAMS"].split(":") if program.endswith("chiral-probe")]
    return {"native": [native], "python": [sys.executable, "-m", "chiral", "probe"]}


class Robot(chiral.testing.SimulatedRobot):
    """Sees a picture of noise, and depth with holes, near and far."""

    def __init__(self) -> None:
        super().__init__(cameras=1, depth=True, proprios=4, touch=True, camera_hz=0, proprio_hz=0, port=0,
                         camera_stale_after=3600.0, proprio_stale_after=3600.0)  # a busy machine is no matter here
        random = np.random.default_rng(7)
        self.update_image("cam_0", random.integers(0, 256, (48, 64, 3), np.uint8))
        depth = random.uniform(0.1, 70.0, (48, 64)).astype(np.float32)
        depth[:4] = np.nan
        depth[4:8] = 0.0
        depth[8] = -1.0
        self.update_depth("cam_0", depth)

    async def get_metadata(self) -> dict[str, Any]:
        return {"robot": "noise", "action_D": 7, "limits": [[-1.5, 1.5]], "ä": {"b": True}}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, pathlib.Path]]:
    folders = {kind: tmp_path_factory.mktemp(kind) for kind in probes()}
    with Robot() as robot:
        for kind, command in probes().items():
            done = subprocess.run(
                [*command, f"ws://127.0.0.1:{robot.port}", "--count", "5", "--json", folders[kind] / "json", "--save", folders[kind] / "saved"],
                capture_output=True, text=True, timeout=DEADLINE, check=False,
            )
            assert done.returncode == 0, done.stdout + done.stderr
        yield folders


def read(path: pathlib.Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def shape_of(value: Any) -> Any:
    """What of a JSON value does not depend on the time it took: all but numbers."""
    if isinstance(value, dict):
        return {key: shape_of(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [shape_of(inner) for inner in value]
    return "number" if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def test_the_numbers_have_the_same_fields_and_the_same_robot_in_them(written: dict[str, pathlib.Path]) -> None:
    native, python = (read(written[kind] / "json") for kind in ("native", "python"))
    assert shape_of(python) == shape_of(native)
    assert python["observations"] == native["observations"] == 5
    assert abs(python["bytes"] - native["bytes"]) < native["bytes"] / 100
    for kind in ("cameras", "proprios", "slots"):
        for ours, theirs in zip(python[kind], native[kind]):
            for same in ("image_shape", "depth_shape", "depth_unit", "size", "shape", "seen", "missed", "observations_by_status", "rate_hz",
                         "sequence_first", "sequence_last"):
                assert ours.get(same) == theirs.get(same), (kind, same)
    assert [len(python[kind]) for kind in ("cameras", "proprios", "slots")] == [1, 4, 1]


def pixels_of(file: bytes) -> Array:
    """Of a PNG that is not interlaced: RFC 2083."""
    chunks, at = [], 8
    while at < len(file):
        (length,) = struct.unpack_from(">I", file, at)
        chunks.append((file[at + 4 : at + 8], file[at + 8 : at + 8 + length]))
        assert zlib.crc32(file[at + 4 : at + 8 + length]) == struct.unpack_from(">I", file, at + 8 + length)[0]
        at += 12 + length
    width, height, bits, colour = struct.unpack_from(">IIBB", chunks[0][1])
    size = {0: 1, 2: 3, 4: 2, 6: 4}[colour] * bits // 8
    rows = zlib.decompress(b"".join(content for name, content in chunks if name == b"IDAT"))
    before, decoded = bytearray(width * size), []
    for y in range(height):
        line = bytearray(rows[y * (width * size + 1) + 1 : (y + 1) * (width * size + 1)])
        for x in range(width * size):
            left, up = line[x - size] if x >= size else 0, before[x]
            corner = before[x - size] if x >= size else 0
            nearest = min((left, up, corner), key=lambda value: abs(left + up - corner - value))
            line[x] = (line[x] + (0, left, up, (left + up) // 2, nearest)[rows[y * (width * size + 1)]]) % 256
        decoded.append(bytes(line))
        before = line
    return np.frombuffer(b"".join(decoded), ">u2" if bits == 16 else np.uint8).reshape(height, width, -1)


def test_the_saved_observation_is_the_same(written: dict[str, pathlib.Path]) -> None:
    native, python = (written[kind] / "saved" for kind in ("native", "python"))
    names = sorted(path.name for path in native.iterdir())
    assert names == sorted(path.name for path in python.iterdir()) == ["cam_0.png", "cam_0_depth.png", "cam_0_depth_preview.png",
                                                                      "observation.json"]
    for name in names[:3]:
        assert np.array_equal(pixels_of((native / name).read_bytes()), pixels_of((python / name).read_bytes())), name
    ours, theirs = read(python / "observation.json"), read(native / "observation.json")
    assert ours.pop("snapshot_time") > theirs.pop("snapshot_time") > 0
    assert ours == theirs


class Pictures(chiral.PolicyServer):
    """A camera for each array, which it shows."""

    def __init__(self, pictures: dict[str, Array]) -> None:
        self._pictures = pictures
        super().__init__("127.0.0.1", 0)
        for name, pixels in pictures.items():
            self.update_image(name, pixels)

    def camera_configs(self) -> list[chiral.CameraConfig]:
        return [chiral.CameraConfig(name, *pixels.shape[:2], channels=1 if pixels.ndim == 2 else pixels.shape[2], image_dtype=pixels.dtype,
                                    two_dimensional=pixels.ndim == 2) for name, pixels in self._pictures.items()]

    async def reset(self) -> tuple[chiral.Observation, dict[str, Any]]:
        return self._make_obs(), {}

    async def apply_action(self, action: Array) -> None:
        pass


def saved(pictures: dict[str, Array], folder: pathlib.Path) -> list[pathlib.Path]:
    with Pictures(pictures) as robot, chiral.PolicyClient(f"ws://127.0.0.1:{robot.port}") as env:
        run = chiral._native.ProbeRun("", False)
        run.add(env._native.get_obs(None), 0.0, 0.0, 0, 0)
        return run.save(folder)


def test_pictures_of_every_kind_that_a_png_holds(tmp_path: pathlib.Path) -> None:
    pictures = {}
    for dtype in (np.uint8, np.uint16):
        for shape in ((3, 5), (3, 5, 1), (3, 5, 2), (3, 5, 3), (3, 5, 4)):
            pictures[f"{np.dtype(dtype)}_{len(shape)}_{shape[-1]}"] = (np.arange(np.prod(shape)) * 4099).astype(dtype).reshape(shape)
    files = {path.stem: path for path in saved(pictures, tmp_path)}
    assert files.keys() == {*pictures, "observation"}
    for name, pixels in pictures.items():
        assert np.array_equal(pixels_of(files[name].read_bytes()), pixels.reshape(3, 5, -1)), name


@pytest.mark.parametrize(("pixels", "told"), [(np.zeros((2, 2, 5), np.uint8), "1 to 4 channels"), (np.zeros((2, 2), np.float32), "float32")])
def test_what_a_png_does_not_hold_is_named(pixels: Array, told: str, tmp_path: pathlib.Path) -> None:
    with pytest.raises(ValueError, match=f"odd.png: .*{told}"):
        saved({"odd": pixels}, tmp_path)


def test_nothing_is_saved_where_nothing_came(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ValueError, match="no observation came"):
        chiral._native.ProbeRun("", False).save(tmp_path)


def test_what_a_server_says_moves_no_cursor_and_fills_no_screen(capsys: pytest.CaptureFixture[str]) -> None:
    table("metadata", ("value",), [("a\x1b[2Jb\x9bc\n",), ("ä" * 5000,)])
    told = capsys.readouterr().out
    assert "a?[2Jb?c?" in told and len(told) < 1000, told


def test_the_legacy_dialect_is_spoken(tmp_path: pathlib.Path) -> None:
    with chiral.testing.SimulatedRobot(cameras=1, camera_hz=0, proprio_hz=0, port=0) as robot:
        subprocess.run([*probes()["python"], f"ws://127.0.0.1:{robot.port}", "--legacy", "--count", "5", "--json", tmp_path / "json"],
                       capture_output=True, timeout=DEADLINE, check=True)
    told = read(tmp_path / "json")
    assert told["dialect"] == "legacy" and told["observations"] == 5 and told["actions"] == 4
    assert robot.resets == 1 and [action.tolist() for action in robot.actions] == [[0.0] * 7] * 4


def test_what_came_before_an_error_is_written(tmp_path: pathlib.Path) -> None:
    class Falling(chiral.testing.SimulatedRobot):
        looks = 0

        def get_obs(self) -> chiral.Observation:
            self.looks += 1
            if self.looks == 3:
                raise RuntimeError("it fell over")
            return self._make_obs()

    with Falling(cameras=1, camera_hz=0, proprio_hz=0, port=0) as robot:
        done = subprocess.run([*probes()["python"], f"ws://127.0.0.1:{robot.port}", "--json", tmp_path / "json"],
                              capture_output=True, text=True, timeout=DEADLINE, check=False)
    told = read(tmp_path / "json")
    assert done.returncode == 1 and "it fell over" in done.stderr and "it fell over" in told["error"] and told["observations"] == 2
