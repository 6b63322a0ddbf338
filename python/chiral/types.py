# SPDX-License-Identifier: Apache-2.0
"""What server and client exchange: declarations of sensors, and observations.

Shapes are height x width x channels, row-major. Extrinsics are camera-to-world, depth is in metres, and timestamps of
sensors are seconds on the robot's monotonic clock unless a program says otherwise.
"""

from __future__ import annotations

import copy as _copy
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["CameraConfig", "CameraInfo", "Observation", "ProprioConfig", "SlotConfig", "Stamp"]

Array = npt.NDArray[Any]


def _identity(size: int) -> Array:
    return np.eye(size, dtype=np.float64)


@dataclass
class ProprioConfig:
    """One proprioception stream: a vector that is read as a whole.

    name: unique among the streams. size: number of elements. dtype: of the buffer; on the wire it is always float32.
    element_names, one for each, and unit are told to clients. stale_after, frozen_after, expected_hz: as a CameraConfig's, with
    the server's proprio_stale_after and proprio_frozen_after.
    """

    name: str
    size: int
    dtype: npt.DTypeLike = np.float32
    element_names: tuple[str, ...] = ()
    unit: str = ""
    stale_after: float | None = None
    frozen_after: int | None = None
    expected_hz: float = 0.0


@dataclass
class CameraConfig:
    """One camera: up to four buffers that are published together or one by one.

    height, width: pixels. channels: 3 for RGB, 1 for grayscale. intrinsics (3, 3) and extrinsics (4, 4, camera-to-world) are
    initial values: update_intrinsics() and update_extrinsics() change them. image_dtype, depth_dtype: bool, or integers and
    floats of 8 to 64 bits. Beyond the documented fields: depth_unit, metres that one unit of depth stands for (0.001 for
    16-bit millimetres; 0: nobody says, float types are metres then), and two_dimensional, for images of shape (H, W) with
    channels=1. encoding="jpeg": update_image() takes the bytes of a JPEG, at most max_encoded_bytes of them (0: as many as its
    pixels have); in the program its image is a vector of these bytes, while clients get pixels.

    stale_after (seconds) and frozen_after (equal images in a row, 0: never) of this camera, instead of the server's
    camera_stale_after and camera_frozen_after. expected_hz: images per second that it is to deliver, 0 where nobody says; where
    stale_after is not given and three periods are longer than the server's limit, they are the limit. readers: looks at it that
    are views of its memory at once, 0 to 2, and depth_readers, of these, at its depth map; each costs one image. Further looks
    are copies.
    """

    name: str
    height: int
    width: int
    channels: int = 3
    has_depth: bool = False
    intrinsics: Array = field(default_factory=lambda: _identity(3))
    extrinsics: Array = field(default_factory=lambda: _identity(4))
    image_dtype: npt.DTypeLike = np.uint8
    depth_dtype: npt.DTypeLike = np.float32
    depth_unit: float = 0.0
    two_dimensional: bool = False
    encoding: str = "raw"
    max_encoded_bytes: int = 0
    stale_after: float | None = None
    frozen_after: int | None = None
    expected_hz: float = 0.0
    readers: int | None = None
    depth_readers: int | None = None


@dataclass
class SlotConfig:
    """Data of a program's own among the sensors: a tactile map, a force reading, the state of a robot.

    name: unique among the slots. dtype and shape: of its array; a structured dtype, too. Clients find it in
    `obs.extra[name]`, a dict of dtype, shape, data, timestamp, sequence and status; one of a structured dtype as uint8, for
    `np.frombuffer(data, dtype)`. stale_after (seconds) of this slot, instead of the server's proprio_stale_after; after
    frozen_after equal values in a row it is frozen, 0: never. readers: 0 if the program does not look at it with slot(), which
    saves the memory of one value.
    """

    name: str
    dtype: npt.DTypeLike
    shape: tuple[int, ...] = ()
    stale_after: float | None = None
    frozen_after: int = 0
    readers: int = 1


class Stamp(NamedTuple):
    """How current a source is: capture time, number of the sample since start, samples missed since the previous
    observation, and 'never', 'fresh', 'stale', 'frozen' or 'ahead'."""

    timestamp: float = 0.0
    sequence: int = 0
    missed: int = 0
    status: str = "never"


@dataclass
class CameraInfo:
    """One camera in an observation.

    intrinsics (3, 3) and extrinsics (4, 4) are float64, image is (H, W, C) or (H, W), depth is (H, W) or None. timestamp is the
    capture time of the image in seconds. sequence, missed and status (see Stamp) are beyond the documented fields, and so are
    depth_unit: metres that one unit of depth stands for, 0 where nobody says; then float types are metres; depth_sequence, the
    number of the depth map; and unchanged, which only answers to a Want have: "image" and "depth" where they are those that came
    before.
    """

    name: str
    intrinsics: Array
    extrinsics: Array
    image: Array
    depth: Array | None = None
    timestamp: float = 0.0
    sequence: int = 0
    missed: int = 0
    status: str = "never"
    depth_unit: float = 0.0
    depth_sequence: int = 0
    unchanged: tuple[str, ...] = ()


@dataclass
class Observation:
    """All sensors at one point in time. `obs["name"]` is a camera.

    timestamp: whatever the application sets. extra: any values that MessagePack has. Beyond the documented fields:
    proprio_stamps, and snapshot_time, the monotonic time in seconds when the snapshot was taken.
    """

    cameras: list[CameraInfo]
    proprios: dict[str, Array] = field(default_factory=dict)
    timestamp: float = 0.0
    extra: dict[str, Any] = field(default_factory=dict)
    proprio_stamps: dict[str, Stamp] = field(default_factory=dict, repr=False)
    snapshot_time: float = field(default=0.0, repr=False)

    def __getitem__(self, name: str) -> CameraInfo:
        for camera in self.cameras:
            if camera.name == name:
                return camera
        raise KeyError(f"no camera '{name}' in the observation; it has: {', '.join(c.name for c in self.cameras) or 'none'}")

    def copy(self) -> Observation:
        """The same with memory of its own: every array is writable, and nothing is shared with buffers or messages."""
        cameras = []
        for camera in self.cameras:
            twin = _copy.copy(camera)
            twin.intrinsics = np.array(camera.intrinsics)
            twin.extrinsics = np.array(camera.extrinsics)
            twin.image = np.array(camera.image)
            twin.depth = None if camera.depth is None else np.array(camera.depth)
            cameras.append(twin)
        proprios = {name: np.array(values) for name, values in self.proprios.items()}
        return Observation(cameras, proprios, self.timestamp, _copy.deepcopy(self.extra), dict(self.proprio_stamps),
                           self.snapshot_time)
