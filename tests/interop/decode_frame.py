# SPDX-License-Identifier: Apache-2.0
"""Decodes one Chiral frame and prints what it holds as JSON.

Independent of the C++ codec: only python3-msgpack and numpy, used the way a Python client would use them. The tests
compare its output with what was encoded.

    decode_frame.py FRAME_FILE
"""
import json
import struct
import sys

import msgpack
import numpy as np


def array(payload, dtype, offset, size, shape):
    """A view of `size` bytes of the payload; raises if they are not there or do not fit the shape."""
    if offset + size > len(payload):
        raise ValueError(f"{size} bytes at {offset} lie outside the payload of {len(payload)}")
    return np.frombuffer(payload, np.dtype(dtype), size // np.dtype(dtype).itemsize, offset).reshape(shape)


def decode(message):
    (header_length,) = struct.unpack_from("<I", message)
    header = msgpack.unpackb(message[4 : 4 + header_length])
    payload = message[4 + header_length :]
    result = {"header": header, "keys": list(header), "payload_bytes": len(payload)}

    claimed = 0
    if "cameras" in header:
        result["cameras"] = []
        for camera in header["cameras"]:
            shape = camera["image_shape"] or [0]
            image = array(payload, camera["image_dtype"], camera["image_offset"], camera["image_size"], shape)
            decoded = {
                "name": camera["name"],
                "timestamp": camera["timestamp"],
                "K": np.array(camera["intrinsics"], np.float64).reshape(3, 3).tolist(),
                "T": np.array(camera["extrinsics"], np.float64).reshape(4, 4).tolist(),
                "image": image.tolist(),
                "depth": None,
            }
            claimed += image.nbytes
            if "depth_shape" in camera:
                depth = array(
                    payload, camera["depth_dtype"], camera["depth_offset"], camera["depth_size"], camera["depth_shape"]
                )
                decoded["depth"] = depth.tolist()
                claimed += depth.nbytes
            result["cameras"].append(decoded)
    if "proprios" in header:
        result["proprios"] = {}
        for proprio in header["proprios"]:
            data = array(payload, proprio["dtype"], proprio["offset"], proprio["size"], [-1])
            result["proprios"][proprio["name"]] = data.tolist()
            claimed += data.nbytes
    if "shape" in header:
        action = array(payload, header["dtype"], 0, len(payload), header["shape"])
        result["action"] = action.tolist()
        claimed += action.nbytes
    result["claimed_bytes"] = claimed
    return result


if __name__ == "__main__":
    with open(sys.argv[1], "rb") as file:
        print(json.dumps(decode(file.read())))
