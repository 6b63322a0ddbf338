#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the vectors of this folder: observations as a numpy server sends them, with pixels of every type, and what they hold.

Needs numpy and msgpack. The frames are committed, so that the tests need neither.
"""
import json
import pathlib
import struct

import msgpack
import numpy as np

OUT = pathlib.Path(__file__).parent
NAMES = "bool uint8 int8 uint16 int16 uint32 int32 uint64 int64 float16 float32 float64".split()


def pixels(dtype, shape):
    """Numbers over the whole range of the type, extremes among them."""
    dtype, count = np.dtype(dtype), int(np.prod(shape))
    if dtype.kind == "b":
        return (np.arange(count) % 3 == 0).reshape(shape)
    if dtype.kind == "f":
        values = np.linspace(-1, 1, count) * float(np.finfo(dtype).max)
        values[count // 2] = np.nan
        return values.astype(dtype).reshape(shape)
    low, high = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    return np.array([low + (high - low) * i // (count - 1) for i in range(count)], dtype).reshape(shape)


def write(manifest, name, image, depth=None, depth_unit=None, spelling=str):
    """One obs_response. `spelling` names a dtype: str() gives "uint16", dtype.str gives "<u2"."""
    camera = {
        "name": "camera",
        "timestamp": 12.5,
        "intrinsics": np.eye(3).ravel().tolist(),
        "extrinsics": np.eye(4).ravel().tolist(),
        "image_shape": list(image.shape),
        "image_dtype": spelling(image.dtype),
        "image_offset": 0,
        "image_size": image.nbytes,
    }
    expected = {"image_dtype": str(image.dtype), "image_shape": list(image.shape), "image_hex": image.tobytes().hex()}
    payload = image.tobytes()
    if depth is not None:
        camera |= {
            "depth_shape": list(depth.shape),
            "depth_dtype": spelling(depth.dtype),
            "depth_offset": len(payload),
            "depth_size": depth.nbytes,
        }
        expected |= {"depth_dtype": str(depth.dtype), "depth_shape": list(depth.shape), "depth_hex": depth.tobytes().hex()}
        payload += depth.tobytes()
        if depth_unit is not None:
            camera["depth_unit"] = expected["depth_unit"] = depth_unit
    header = msgpack.packb({"type": "obs_response", "timestamp": 0.5, "extra": {}, "cameras": [camera], "proprios": []})
    (OUT / f"{name}.bin").write_bytes(struct.pack("<I", len(header)) + header + payload)
    manifest[name] = expected


def main():
    manifest = {}
    for name in NAMES:
        write(manifest, f"image_{name}", pixels(name, (3, 5, 3)), spelling=lambda dtype: dtype.str)
        write(manifest, f"depth_{name}", pixels("uint8", (3, 5)), pixels(name, (3, 5)))
    write(manifest, "mono16", pixels("uint16", (4, 6)))
    millimetres = np.array([[0, 1, 250, 999], [1000, 1001, 4095, 65535]], np.uint16)  # 0: not measured
    write(manifest, "z16_millimetres", pixels("uint8", (2, 4, 3)), millimetres, depth_unit=0.001)
    (OUT / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")


if __name__ == "__main__":
    main()
