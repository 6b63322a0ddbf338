# SPDX-License-Identifier: Apache-2.0
"""A policy client in Python against a C++ server: what one says in Chiral's protocol is what the other understands.

Speaks through Debian's python3-websockets, python3-msgpack and numpy, and shares no code with the C++ codec. Starts the
server that is to be tested, and exits with 0 if everything that was exchanged was right.

    policy_client.py INTEROP_SERVER decoupled|legacy
"""
import asyncio
import struct
import subprocess
import sys

import msgpack
import numpy as np
import websockets

TIMEOUT = 60.0
SHAPES = {"wrist": ((6, 8, 3), True), "gray": ((5, 4, 1), False), "large": ((480, 640, 3), True)}


def encode(header, payload=b""):
    packed = msgpack.packb(header)
    return struct.pack("<I", len(packed)) + packed + payload


def encode_action(kind, action, timestamps):
    header = {"type": kind, "shape": list(action.shape), "dtype": "float32", "obs_timestamps": timestamps}
    return encode(header, action.astype("<f4").tobytes())


def decode(message):
    (length,) = struct.unpack_from("<I", message)
    return msgpack.unpackb(message[4 : 4 + length]), message[4 + length :]


def equal(got, expected, what):
    if not np.array_equal(got, expected):
        raise AssertionError(f"{what}: got {got}, expected {expected}")


def check_observation(header, payload):
    """Checks every field of an observation and returns the number of its wrist frame."""
    numbers = {}
    position = 0
    equal([camera["name"] for camera in header["cameras"]], list(SHAPES), "cameras, in the order of declaration")
    for camera in header["cameras"]:
        shape, has_depth = SHAPES[camera["name"]]
        equal(camera["image_shape"], shape, "image_shape")
        equal(camera["image_dtype"], "uint8", "image_dtype")
        equal(camera["image_offset"], position, "image_offset")
        equal(camera["image_size"], np.prod(shape), "image_size")
        image = np.frombuffer(payload, np.uint8, camera["image_size"], camera["image_offset"]).reshape(shape)
        position += camera["image_size"]

        number = round(camera["timestamp"] * 1000)
        equal(abs(camera["timestamp"] - number * 0.001) < 1e-9 and number > 0, True, "capture time in milliseconds")
        equal(image, np.full(shape, number % 251), "pixels, all of one frame")
        rows, columns = np.mgrid[0:4, 0:4]
        equal(camera["extrinsics"], (number + 0.5 + 10 * rows + columns).ravel(), "T, row by row")
        equal(camera["intrinsics"], (number + 0.25 + 10 * rows + columns)[:3, :3].ravel(), "K, row by row")
        equal("depth_shape" in camera, has_depth, "has depth")
        if has_depth:
            equal(camera["depth_shape"], shape[:2], "depth_shape")
            equal(camera["depth_dtype"], "float32", "depth_dtype")
            equal(camera["depth_offset"], position, "depth_offset")
            equal(camera["depth_size"], np.prod(shape[:2]) * 4, "depth_size")
            depth = np.frombuffer(payload, "<f4", np.prod(shape[:2]), camera["depth_offset"])
            position += camera["depth_size"]
            equal(depth, np.full(depth.shape, (number % 251) * 0.5), "depth, of the same frame")
        numbers[camera["name"]] = number
    for proprio, name, size in zip(header["proprios"], ("joint_pos", "gripper"), (7, 1)):
        equal(proprio["name"], name, "proprio")
        equal(proprio["dtype"], "float32", "dtype")
        equal(proprio["offset"], position, "offset")
        equal(proprio["size"], size * 4, "size")
        values = np.frombuffer(payload, "<f4", size, proprio["offset"])
        position += proprio["size"]
        equal(values, values[0] + 0.125 * np.arange(size), "joints, all of one sample")
    equal(position, len(payload), "payload size")
    return numbers["wrist"]


async def ask(socket, kind):
    await socket.send(encode({"type": kind}))
    return decode(await socket.recv())


async def expect_refused(uri):
    try:
        async with websockets.connect(uri):
            raise AssertionError("a second client was let in")
    except websockets.InvalidStatusCode as error:
        equal(error.status_code, 503, "status of the refusal")


async def talk_decoupled(uri):
    # As the public client connects: no limit, no compression.
    async with websockets.connect(uri, max_size=None, compression=None) as socket:
        header, payload = await ask(socket, "metadata")
        equal(header["type"], "metadata_response", "type")
        equal(header["data"] == {"action_dim": "7", "cameras": "wrist gray large"}, True, "metadata")
        equal(len(payload), 0, "payload of metadata")

        header, payload = await ask(socket, "reset")
        equal(header["type"], "reset_response", "type")
        equal(header["info"] == {"episode": "fresh"}, True, "info")
        equal(header["timestamp"], 0.0, "timestamp")
        newest = check_observation(header, payload)

        sent = {"actions": 0, "rows": 0, "sum": 0.0}
        seen = {"wrist": newest * 0.001}

        async def dispatch():
            for i in range(200):
                action = np.arange(7, dtype=np.float32) + i if i % 2 == 0 else np.full((4, 7), 0.5 * i, np.float32)
                await socket.send(encode_action("apply_action", action, seen))
                sent["actions"] += 1
                sent["rows"] += 1 if action.ndim == 1 else action.shape[0]
                sent["sum"] += float(action.sum(dtype=np.float64))
                await asyncio.sleep(0)

        actions = asyncio.create_task(dispatch())
        for i in range(60):
            header, payload = await ask(socket, "obs_request")
            equal(header["type"], "obs_response", "type")
            equal(header["timestamp"], 1.25, "timestamp")
            number = check_observation(header, payload)
            equal(number >= newest, True, "frames never go back")
            newest = number
            seen["wrist"] = number * 0.001
            if i % 20 == 0:
                await expect_refused(uri)
        await actions
        while True:  # actions are not answered: the server's observations show when they have arrived
            header, payload = await ask(socket, "obs_request")
            if header["extra"]["actions"] == sent["actions"]:
                break
        equal({key: header["extra"][key] for key in sent} == sent, True, f"{header['extra']} is what was sent, {sent}")
        equal(0 < header["extra"]["seen"] <= newest * 0.001 + 1e-9, True, "obs_timestamps")

        for _ in range(12):  # pipelined
            await socket.send(encode({"type": "obs_request"}))
        for _ in range(12):
            check_observation(*decode(await socket.recv()))
    async with websockets.connect(uri, max_size=None) as socket:  # the next one, which offers compression
        check_observation(*(await ask(socket, "obs_request")))
        await socket.send(encode({"type": "unheard_of"}))
        try:
            await socket.recv()
            raise AssertionError("an unknown type was answered")
        except websockets.ConnectionClosed as error:
            equal(error.rcvd.code, 1007, "close code")
            equal("unheard_of" in error.rcvd.reason, True, f"reason: {error.rcvd.reason}")


async def talk_legacy(uri):
    async with websockets.connect(uri, max_size=None, compression=None) as socket:
        header, payload = await ask(socket, "reset")
        equal(header["type"], "reset_response", "type")
        for i in range(1, 30):
            action = np.full((2, 3), i if i < 29 else -1, np.float32)
            await socket.send(encode_action("action", action, {}))
            header, payload = decode(await socket.recv())
            equal(header["type"], "step_response", "type")
            check_observation(header, payload)
            equal(header["timestamp"], 2.5, "timestamp")
            equal(header["reward"], 0.5, "reward")
            equal(header["terminated"], i == 29, "terminated")
            equal(header["truncated"], i != 29, "truncated")
            equal(header["info"] == {"note": "stepped"}, True, "info")
            equal(header["extra"]["actions"], i, "steps")
            equal(header["extra"]["seen"], -1.0, "no obs_timestamps")
            await expect_refused(uri) if i == 10 else None


def main(program, dialect):
    server = subprocess.Popen([program, dialect], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        uri = f"ws://127.0.0.1:{int(server.stdout.readline())}"
        talk = {"decoupled": talk_decoupled, "legacy": talk_legacy}[dialect]
        asyncio.run(asyncio.wait_for(talk(uri), TIMEOUT))
        server.stdin.close()
        if server.wait(TIMEOUT) != 0:
            raise AssertionError(f"the server ended with {server.returncode}")
    finally:
        server.kill()
    print(f"{dialect}: everything that was exchanged was right")


if __name__ == "__main__":
    main(*sys.argv[1:])
