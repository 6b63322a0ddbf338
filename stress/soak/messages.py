# SPDX-License-Identifier: Apache-2.0
"""Messages of the wire protocol: what clients ask, and whether an observation of chiral-stress is of one piece."""
import struct

import msgpack

from peer import BINARY, frame


def message(header, payload=b""):
    packed = msgpack.packb(header, use_bin_type=True)
    return struct.pack("<I", len(packed)) + packed + payload


def ask(kind):
    return frame(BINARY, message({"type": kind}))


def action(values):
    return frame(BINARY, message({"type": "apply_action", "shape": [len(values)], "dtype": "float32", "obs_timestamps": {}},
                                 struct.pack(f"<{len(values)}f", *values)))


class Incoherent(Exception):
    """An observation shows something that no robot ever was in."""


_MASK = (1 << 64) - 1


# The pattern of frame_pattern.hpp: every 8 bytes of an image hold the frame's number and the camera.
def _image_number(word, unit, camera):
    x = (word - unit * 0x9E3779B97F4A7C15) & _MASK
    x = ((x ^ (x >> 31) ^ (x >> 62)) * 0x319642B2D24D8EC3) & _MASK
    x = ((x ^ (x >> 27) ^ (x >> 54)) * 0x96DE1B173F119089) & _MASK
    x ^= (x >> 30) ^ (x >> 60)
    return x >> 8 if x & 0xFF == camera else None


def frame_numbers(data, rng, places=24):
    """The number of the frame that each camera of an obs_response shows: {name: number}. Looks at `places` places of every
    image and depth map, and at all of K and T. Every pixel is looked at by the observer within chiral-stress."""
    (size,) = struct.unpack_from("<I", data)
    header = msgpack.unpackb(data[4 : 4 + size])
    if header["type"] != "obs_response":
        raise Incoherent(f"asked for an observation, got {header['type']}")
    payload = 4 + size
    numbers = {}
    for index, camera in enumerate(header["cameras"]):
        number = camera["sequence"]
        seen = {int(value) for value in camera["intrinsics"]} | {int(value) for value in camera["extrinsics"]}
        for _ in range(places):
            unit = rng.randrange(camera["image_size"] // 8)
            (word,) = struct.unpack_from("<Q", data, payload + camera["image_offset"] + unit * 8)
            seen.add(_image_number(word, unit, index))
            if camera.get("depth_size"):
                at = rng.randrange(camera["depth_size"] // 4)
                (depth,) = struct.unpack_from("<f", data, payload + camera["depth_offset"] + at * 4)
                seen.add(int(depth))
        if seen != {number}:
            raise Incoherent(f"camera '{camera['name']}' is frame {number}, and shows {seen}")
        numbers[camera["name"]] = number
    return numbers
