# SPDX-License-Identifier: Apache-2.0
"""What the documented Python programs do over Zenoh, written from their description with the public package eclipse-zenoh.

They meet under two keys, chiral/c2s and chiral/s2c, at tcp/HOST:7447, as peers; they know neither tokens nor notes. What they would
do besides, look for others by multicast, is left out: tests stay on this machine's loopback.
"""
import json
import queue
import struct
import time

import msgpack
import numpy as np
import zenoh

TO_ROBOT, FROM_ROBOT = "chiral/c2s", "chiral/s2c"
DEADLINE = 60.0


def session(mode="peer", token=None, **endpoints):
    """Of listen or connect: a list of endpoints. `token`: as a password of Zenoh's own, which the documented programs do not have."""
    config = zenoh.Config()
    config.insert_json5("mode", json.dumps(mode))
    config.insert_json5("scouting/multicast/enabled", "false")
    config.insert_json5("listen/endpoints", json.dumps(endpoints.get("listen", ["tcp/127.0.0.1:0"] if mode == "peer" else [])))
    config.insert_json5("connect/endpoints", json.dumps(endpoints.get("connect", [])))
    if token is not None:
        config.insert_json5("transport/auth/usrpwd", json.dumps({"user": "chiral", "password": token}))
    return zenoh.open(config)


def encode(header, payload=b""):
    packed = msgpack.packb(header)
    return struct.pack("<I", len(packed)) + packed + payload


def decode(message):
    (length,) = struct.unpack_from("<I", message)
    return msgpack.unpackb(message[4 : 4 + length]), message[4 + length :]


class Client:
    """Asks one thing at a time, and takes the next message for the answer."""

    def __init__(self, port):
        self.session = session(connect=[f"tcp/127.0.0.1:{port}"])
        self.answers = queue.Queue()
        self.publisher = self.session.declare_publisher(TO_ROBOT)
        self.subscriber = self.session.declare_subscriber(FROM_ROBOT, lambda sample: self.answers.put(bytes(sample.payload)))

    def connect(self):
        """Asks for metadata twice a second until something answers."""
        end = time.monotonic() + DEADLINE
        while time.monotonic() < end:
            self.publisher.put(encode({"type": "metadata"}))
            try:
                return decode(self.answers.get(timeout=0.5))[0]["data"]
            except queue.Empty:
                pass
        raise TimeoutError("nobody answers")

    def ask(self, kind):
        self.publisher.put(encode({"type": kind}))
        return decode(self.answers.get(timeout=DEADLINE))

    def act(self, values):
        action = np.asarray(values, np.float32)
        header = {"type": "apply_action", "shape": list(action.shape), "dtype": "float32", "obs_timestamps": {}}
        self.publisher.put(encode(header, action.tobytes()))

    def close(self):
        self.session.close()


class Server:
    """One camera, whose picture is the number of actions so far."""

    def __init__(self, port):
        self.actions = queue.Queue()
        self.count = 0
        self.session = session(listen=[f"tcp/127.0.0.1:{port}"])
        self.publisher = self.session.declare_publisher(FROM_ROBOT)
        self.subscriber = self.session.declare_subscriber(TO_ROBOT, self._on_message)

    def _on_message(self, sample):
        header, payload = decode(bytes(sample.payload))
        kind = header["type"]
        if kind == "metadata":
            self.publisher.put(encode({"type": "metadata_response", "data": {"robot": "documented", "joints": 7}}))
        elif kind == "apply_action":
            self.count += 1
            self.actions.put(np.frombuffer(payload, np.float32).reshape(header["shape"]))
        else:
            self.publisher.put(self._observation("reset_response" if kind == "reset" else "obs_response"))

    def _observation(self, kind):
        image = np.full((4, 6, 3), self.count % 256, np.uint8)
        camera = {
            "name": "cam", "timestamp": time.monotonic(), "intrinsics": np.eye(3).ravel().tolist(),
            "extrinsics": np.eye(4).ravel().tolist(), "image_shape": [4, 6, 3], "image_dtype": "uint8", "image_offset": 0,
            "image_size": image.nbytes,
        }
        header = {"type": kind, "timestamp": 0.0, "extra": {}, "cameras": [camera], "proprios": []}
        if kind == "reset_response":
            header["info"] = {}
        return encode(header, image.tobytes())

    def close(self):
        self.session.close()
