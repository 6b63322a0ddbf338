#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the golden messages of `want` with Python's msgpack and Pillow: a request, and an answer to it.

Needs Debian's python3-msgpack and python3-pil; the files are committed, so that tests need neither.
"""

import io
import pathlib
import struct

import msgpack
from PIL import Image

HERE = pathlib.Path(__file__).parent


def message(header: dict, payload: bytes = b"") -> bytes:
    packed = msgpack.packb(header)
    return struct.pack("<I", len(packed)) + packed + payload


def request() -> bytes:
    return message(
        {
            "type": "obs_request",
            "want": {
                "size": [224, 320],
                "fit": "pad",
                "image": "jpeg",
                "quality": 80,
                "depth": "millimetres",
                "cameras": {"wrist": {"size": [], "image": "png", "order": "bgr", "depth": "none"}, "rear": {"image": "none"}},
                "proprios": ["joint_pos"],
                "only_if_newer": True,
                "have": {"wrist": [7, 5]},
                "took": 0.04,
                "budget": {"bytes_per_second": 1000000, "min_quality": 40, "min_scale": 0.25},
                "a key of a later version": [1, {"x": None}],
            },
        }
    )


def response() -> bytes:
    """One camera of 2 x 4 pixels as PNG, half red and half blue, and one of which nothing is new."""
    pixels = bytes([250, 0, 0, 250, 0, 0, 0, 0, 250, 0, 0, 250] * 2)
    stream = io.BytesIO()
    Image.frombytes("RGB", (4, 2), pixels).save(stream, "PNG")
    png = stream.getvalue()
    common = {
        "timestamp": 12.5,
        "intrinsics": [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
        "extrinsics": [float(i % 5 == 0) for i in range(16)],
        "image_dtype": "uint8",
    }
    wrist = common | {
        "name": "wrist", "sequence": 9, "image_encoding": "png", "image_order": "rgb",
        "image_shape": [2, 4, 3], "image_offset": 0, "image_size": len(png),
    }
    rear = common | {
        "name": "rear", "sequence": 4, "depth_sequence": 4, "unchanged": ["image", "depth"], "image_encoding": "jpeg",
        "image_shape": [224, 224, 3], "image_offset": len(png), "image_size": 0,
        "depth_shape": [224, 224], "depth_dtype": "float32", "depth_encoding": "millimetres",
        "depth_offset": len(png), "depth_size": 0,
    }
    header = {"type": "obs_response", "timestamp": 1.5, "extra": {}, "cameras": [wrist, rear], "proprios": []}
    return message(header, png)


(HERE / "obs_request.bin").write_bytes(request())
(HERE / "obs_response.bin").write_bytes(response())
print("a request and an answer")
