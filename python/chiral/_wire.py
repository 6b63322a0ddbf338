# SPDX-License-Identifier: Apache-2.0
"""Between the package's dataclasses and the tuples that the extension takes and gives: see src/observation.hpp."""

from __future__ import annotations

from typing import Any

import msgpack  # type: ignore[import-untyped, unused-ignore]
import numpy as np

from .types import Array, CameraInfo, Observation, Stamp

STATUS = ("never", "fresh", "stale", "frozen", "ahead")


def _plain(value: Any) -> Any:
    """What MessagePack has no type for, as programs mean it."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise TypeError(f"a value of type {type(value).__name__} cannot be sent; expected what MessagePack has, or numpy's")


def pack_map(values: Any, what: str) -> bytes:
    """A dict as MessagePack; nothing for an empty one."""
    if not values:
        return b""
    if not isinstance(values, dict):
        raise TypeError(f"{what} is of type {type(values).__name__}, expected dict")
    packed: bytes = msgpack.packb(values, default=_plain)
    return packed


def unpack_map(values: dict[str, Any] | bytes) -> dict[Any, Any]:
    if isinstance(values, dict):
        return values
    unpacked: dict[Any, Any] = msgpack.unpackb(values, strict_map_key=False)
    return unpacked


def _camera(
    name: str, K: Array, T: Array, image: Array, depth: Array | None, time: float, sequence: int, missed: int, status: int,
    depth_unit: float, depth_sequence: int, unchanged: tuple[str, ...],
) -> CameraInfo:
    return CameraInfo(name, K, T, image, depth, time, sequence, missed, STATUS[status], depth_unit, depth_sequence, unchanged)


def observation(values: tuple[Any, ...]) -> Observation:
    timestamp, snapshot_time, extra, cameras, proprios = values
    return Observation(
        [_camera(*camera) for camera in cameras],
        {proprio[0]: proprio[1] for proprio in proprios},
        timestamp,
        unpack_map(extra),
        {name: Stamp(time, sequence, missed, STATUS[status]) for name, _, time, sequence, missed, status in proprios},
        snapshot_time,
    )


def _pixels(array: Any) -> Array:
    pixels = np.asarray(array)
    return pixels if pixels.flags.c_contiguous else np.ascontiguousarray(pixels)


def _matrix(array: Any, size: int, camera: CameraInfo, what: str) -> Array:
    matrix = np.ascontiguousarray(array, dtype=np.float64)
    if matrix.shape != (size, size):
        raise ValueError(f"camera '{camera.name}': {what} has shape {matrix.shape}, expected ({size}, {size})")
    return matrix


def observation_values(obs: Any) -> tuple[Any, ...]:
    if not isinstance(obs, Observation):
        raise TypeError(f"a hook returned {type(obs).__name__}, expected chiral.Observation")
    cameras = [
        (
            camera.name,
            _matrix(camera.intrinsics, 3, camera, "intrinsics"),
            _matrix(camera.extrinsics, 4, camera, "extrinsics"),
            _pixels(camera.image),
            None if camera.depth is None else _pixels(camera.depth),
            float(camera.timestamp),
            camera.sequence,
            camera.missed,
            STATUS.index(camera.status),
            float(camera.depth_unit),
            camera.depth_sequence,
        )
        for camera in obs.cameras
    ]
    proprios = []
    for name, values in obs.proprios.items():
        stamp = obs.proprio_stamps.get(name, Stamp())
        proprios.append((name, np.ascontiguousarray(values, dtype=np.float32).ravel(), stamp.timestamp, stamp.sequence,
                         stamp.missed, STATUS.index(stamp.status)))
    return (float(obs.timestamp), obs.snapshot_time, pack_map(obs.extra, "extra"), cameras, proprios)
