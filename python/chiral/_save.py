# SPDX-License-Identifier: Apache-2.0
"""An observation as files, the same that chiral-probe writes: PNG pictures, and the rest as JSON."""

from __future__ import annotations

import json
import pathlib
import re
import struct
import zlib
from typing import Any

import numpy as np

from ._measured import slots_in
from .types import Array, CameraInfo, Observation

_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # of PNG, by the number of channels: gray and RGB, each with alpha


def png(pixels: Array) -> bytes:
    """(H, W) or (H, W, C) of uint8 or uint16, with 1 to 4 channels. ValueError for what a PNG does not hold."""
    height, width = pixels.shape[:2]
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    if channels not in _COLOUR_TYPES:
        raise ValueError(f"a PNG has 1 to 4 channels, the image has {channels}")
    if pixels.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"a PNG holds uint8 or uint16, the image is {pixels.dtype}")
    bits = 8 * pixels.dtype.itemsize
    rows = np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder(">")).reshape(height, -1).view(np.uint8)
    unfiltered = np.hstack([np.zeros((height, 1), np.uint8), rows])

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, bits, _COLOUR_TYPES[channels], 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(unfiltered.tobytes(), 3)) + chunk(b"IEND", b""))


def millimetres(camera: CameraInfo) -> Array:
    """Depth as uint16, 0 where there is none. Where nobody says, floats are metres and integers millimetres."""
    assert camera.depth is not None
    unit = camera.depth_unit if camera.depth_unit > 0 else 1.0 if camera.depth.dtype.kind == "f" else 0.001
    depth = camera.depth.astype(np.float64) * unit * 1000.0
    depth[~np.isfinite(depth)] = 0.0
    rounded: Array = np.clip(np.floor(depth + 0.5), 0, 65535).astype(np.uint16)
    return rounded


def preview(depth: Array) -> Array:
    """For the eye: from red, near, over yellow, green and cyan to blue, far; black where there is none."""
    measured = np.sort(depth[depth > 0])
    pixels = np.zeros((*depth.shape, 3), np.uint8)
    if measured.size == 0:
        return pixels
    cut = measured.size // 100  # of outliers at each end, which would leave one colour for the rest
    nearest, farthest = float(measured[cut]), float(measured[measured.size - 1 - cut])
    far = (depth - nearest) / (farthest - nearest) if farthest > nearest else np.zeros(depth.shape)
    at = np.clip(far, 0.0, 1.0) * 4.0
    for channel, stops in enumerate(((1, 1, 0, 0, 0), (0, 1, 1, 1, 0), (0, 0, 0, 1, 1))):
        pixels[..., channel] = np.floor(255.0 * np.interp(at, range(5), stops) + 0.5)
    pixels[depth == 0] = 0
    return pixels


def _file_name(name: str, taken: set[str]) -> str:
    """Names come from the server: they must not lead out of the folder, nor meet in one file."""
    safe = re.sub(r"[^A-Za-z0-9_.-]", "_", name.encode()[:100].decode("latin-1")) or "camera"
    if safe.startswith("."):
        safe = "_" + safe[1:]
    unique, number = safe, 1
    while taken & {unique, f"{unique}_depth", f"{unique}_depth_preview"}:
        number += 1
        unique = f"{safe}_{number}"
    taken |= {unique, f"{unique}_depth", f"{unique}_depth_preview"}
    return unique


def _finite(values: Any) -> Any:
    """JSON has no NaN: what is not finite is null."""
    if isinstance(values, dict):
        return {key: _finite(value) for key, value in values.items()}
    if isinstance(values, list):
        return [_finite(value) for value in values]
    return None if isinstance(values, float) and not np.isfinite(values) else values


def save(obs: Observation, folder: pathlib.Path) -> list[pathlib.Path]:
    """Makes the folder and returns the files: NAME.png of each camera, where it has depth NAME_depth.png (16 bits, millimetres) and
    NAME_depth_preview.png, and observation.json with K, T, times, samples and slots. OSError or ValueError name what cannot be."""
    folder.mkdir(parents=True, exist_ok=True)
    files: list[pathlib.Path] = []

    def write(name: str, content: bytes) -> str:
        files.append(folder / name)
        files[-1].write_bytes(content)
        return name

    taken = {"observation"}
    cameras = []
    for camera in obs.cameras:
        name = _file_name(camera.name, taken)
        entry: dict[str, Any] = {"name": camera.name, "timestamp": camera.timestamp, "sequence": camera.sequence,
                                 "intrinsics": camera.intrinsics.tolist(), "extrinsics": camera.extrinsics.tolist()}
        if camera.image.size > 0:
            try:
                entry["image"] = write(f"{name}.png", png(camera.image))
            except ValueError as error:
                raise ValueError(f"cannot write {folder / name}.png: {error}") from None
        if camera.depth is not None:
            depth = millimetres(camera)
            entry["depth"] = write(f"{name}_depth.png", png(depth))
            entry["depth_unit"] = "millimetre"
            entry["depth_preview"] = write(f"{name}_depth_preview.png", png(preview(depth)))
        cameras.append(entry)
    told = {
        "timestamp": obs.timestamp,
        "snapshot_time": obs.snapshot_time,
        "cameras": cameras,
        "proprios": [{"name": name, "timestamp": stamp.timestamp, "sequence": stamp.sequence, "values": obs.proprios[name].tolist()}
                     for name, stamp in obs.proprio_stamps.items()],
        "slots": [{"name": slot.name, "timestamp": slot.timestamp, "sequence": slot.sequence, "status": slot.status,
                   "dtype": slot.dtype, "shape": slot.shape,
                   "values": np.frombuffer(slot.data, slot.dtype).reshape(slot.shape).tolist()} for slot in slots_in(obs.extra)],
    }
    write("observation.json", (json.dumps(_finite(told), indent=2) + "\n").encode())
    return files
