#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The documented observations from the documented kind of server: Python's websockets and msgpack on one event loop, buffers that
are copied in and out under a lock. What a policy gets today; bench/shaped_link measures it beside ours.

    documented_server.py [--cameras N] [--size WIDTHxHEIGHT] [--hz R]

Prints the address when it listens, and serves until it is ended.
"""

import argparse
import asyncio
import struct
import threading
import time

import msgpack
import numpy
import websockets


class Camera:
    def __init__(self, name, height, width):
        self.name = name
        self.lock = threading.Lock()
        self.image = numpy.zeros((height, width, 3), numpy.uint8)
        self.depth = numpy.zeros((height, width), numpy.float32)
        self.timestamp = 0.0

    def publish_for_ever(self, hz):
        """Sensor thread."""
        noise = numpy.random.default_rng(1)
        images = [noise.integers(0, 255, self.image.shape, numpy.uint8) for _ in range(4)]
        depth = numpy.linspace(0.3, 4, self.depth.size, dtype=numpy.float32).reshape(self.depth.shape)
        following = time.monotonic()
        for number in range(1 << 62):
            with self.lock:
                numpy.copyto(self.image, images[number % 4])
                numpy.copyto(self.depth, depth)
                self.timestamp = time.monotonic()
            following += 1 / hz
            time.sleep(max(0.0, following - time.monotonic()))

    def copied(self):
        with self.lock:
            return self.image.tobytes(), self.depth.tobytes(), self.timestamp


def observation(cameras):
    header, payload, offset = [], [], 0
    for camera in cameras:
        image, depth, timestamp = camera.copied()
        header.append({
            "name": camera.name, "timestamp": timestamp,
            "intrinsics": [float(i % 4 == 0) for i in range(9)], "extrinsics": [float(i % 5 == 0) for i in range(16)],
            "image_shape": list(camera.image.shape), "image_dtype": "uint8", "image_offset": offset, "image_size": len(image),
            "depth_shape": list(camera.depth.shape), "depth_dtype": "float32", "depth_offset": offset + len(image),
            "depth_size": len(depth),
        })
        payload += [image, depth]
        offset += len(image) + len(depth)
    packed = msgpack.packb({"type": "obs_response", "timestamp": time.time(), "cameras": header, "proprios": [], "extra": {}})
    return b"".join([struct.pack("<I", len(packed)), packed, *payload])


async def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cameras", type=int, default=4, help=argparse.SUPPRESS)
    parser.add_argument("--size", default="640x480", help=argparse.SUPPRESS)
    parser.add_argument("--hz", type=float, default=30, help=argparse.SUPPRESS)
    parser.add_argument("--host", default="127.0.0.1", help=argparse.SUPPRESS)
    options = parser.parse_args()
    width, height = (int(side) for side in options.size.split("x"))
    cameras = [Camera(f"cam_{i}", height, width) for i in range(options.cameras)]
    for camera in cameras:
        threading.Thread(target=camera.publish_for_ever, args=(options.hz,), daemon=True).start()

    async def serve(socket, *_):
        async for message in socket:
            (size,) = struct.unpack("<I", message[:4])
            if msgpack.unpackb(message[4:4 + size])["type"] == "obs_request":
                await socket.send(observation(cameras))

    async with websockets.serve(serve, options.host, 0, compression=None, max_size=None) as server:
        address, port = server.sockets[0].getsockname()[:2]
        print(f"listening on ws://{address}:{port}", flush=True)
        await asyncio.Future()


asyncio.run(main())
