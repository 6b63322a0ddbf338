# SPDX-License-Identifier: Apache-2.0
"""The protocol in plain Python, from its description alone: what the package is tried against, and measured beside.

A message is a little-endian u32 with the length of a header, the header, a MessagePack map, and a payload to the end.
"""

from __future__ import annotations

import asyncio
import struct
import threading
from typing import Any

import msgpack
import numpy as np
import websockets
from websockets.sync.client import connect

Message = tuple[dict[str, Any], memoryview]


def pack(header: dict[str, Any], payload: bytes = b"") -> bytes:
    packed = msgpack.packb(header)
    return struct.pack("<I", len(packed)) + packed + payload


def unpack(message: bytes) -> Message:
    (length,) = struct.unpack_from("<I", message)
    return msgpack.unpackb(message[4 : 4 + length]), memoryview(message)[4 + length :]


def pack_observation(kind: str, observation: dict[str, Any], **more: Any) -> bytes:
    """observation: timestamp, extra, cameras (dicts with name, timestamp, image, perhaps depth), proprios (dict of arrays)."""
    pieces: list[bytes] = []
    offset = 0

    def place(array: np.ndarray) -> tuple[int, int]:
        nonlocal offset
        at = offset
        pieces.append(np.ascontiguousarray(array).tobytes())
        offset += len(pieces[-1])
        return at, len(pieces[-1])

    cameras = []
    for camera in observation["cameras"]:
        fields: dict[str, Any] = {
            "name": camera["name"],
            "timestamp": camera["timestamp"],
            "intrinsics": np.asarray(camera["intrinsics"], float).ravel().tolist(),
            "extrinsics": np.asarray(camera["extrinsics"], float).ravel().tolist(),
        }
        for what in ("image", "depth"):
            if camera.get(what) is None:
                continue
            at, size = place(camera[what])
            fields[f"{what}_shape"] = list(camera[what].shape)
            fields[f"{what}_dtype"] = str(camera[what].dtype)
            fields[f"{what}_offset"], fields[f"{what}_size"] = at, size
        cameras.append(fields)
    proprios = []
    for name, values in observation["proprios"].items():
        at, size = place(np.asarray(values, np.float32))
        proprios.append({"name": name, "dtype": "float32", "offset": at, "size": size})
    header = {"type": kind, "timestamp": observation["timestamp"], "extra": observation["extra"], "cameras": cameras,
              "proprios": proprios, **more}
    return pack(header, b"".join(pieces))


def unpack_observation(message: Message) -> dict[str, Any]:
    header, payload = message

    def array(fields: dict[str, Any], prefix: str, shape: list[int] | None) -> np.ndarray:
        offset, size = fields[f"{prefix}offset"], fields[f"{prefix}size"]
        values = np.frombuffer(payload[offset : offset + size], fields[f"{prefix}dtype"])
        return values if shape is None else values.reshape(shape)

    cameras = {}
    for fields in header["cameras"]:
        cameras[fields["name"]] = {
            "timestamp": fields["timestamp"],
            "intrinsics": np.reshape(fields["intrinsics"], (3, 3)),
            "extrinsics": np.reshape(fields["extrinsics"], (4, 4)),
            "image": array(fields, "image_", fields["image_shape"]),
            "depth": array(fields, "depth_", fields["depth_shape"]) if "depth_shape" in fields else None,
        }
    proprios = {fields["name"]: array(fields, "", None) for fields in header["proprios"]}
    return {"type": header["type"], "timestamp": header["timestamp"], "extra": header["extra"], "cameras": cameras,
            "proprios": proprios, "info": header.get("info")}


class PureClient:
    def __init__(self, uri: str) -> None:
        self._connected = connect(uri, max_size=None, compression=None, ping_interval=None)
        self._socket = self._connected.__enter__()

    def close(self) -> None:
        self._connected.__exit__(None, None, None)

    def _ask(self, header: dict[str, Any]) -> Message:
        self._socket.send(pack(header))
        answer = self._socket.recv()
        assert isinstance(answer, bytes)
        return unpack(answer)

    def get_metadata(self) -> Any:
        return self._ask({"type": "metadata"})[0]["data"]

    def reset(self) -> dict[str, Any]:
        return unpack_observation(self._ask({"type": "reset"}))

    def get_obs(self) -> dict[str, Any]:
        return unpack_observation(self._ask({"type": "obs_request"}))

    def apply_action(self, action: np.ndarray, obs_timestamps: dict[str, float]) -> None:
        header = {"type": "apply_action", "shape": list(action.shape), "dtype": "float32", "obs_timestamps": obs_timestamps}
        self._socket.send(pack(header, action.astype(np.float32).tobytes()))


class PureServer:
    """Serves `observation`, a dict as above, on a thread of its own; keeps the actions that come."""

    def __init__(self, observation: dict[str, Any], metadata: Any = None, info: Any = None) -> None:
        self.observation = observation
        self.metadata = metadata or {}
        self.info = info or {}
        self.actions: list[tuple[np.ndarray, dict[str, float]]] = []
        self.port = 0
        self._opened = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._main(),), daemon=True)

    def __enter__(self) -> PureServer:
        self._thread.start()
        self._opened.wait()
        return self

    def __exit__(self, *exception: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    async def _main(self) -> None:
        self._stop = asyncio.Event()
        async with websockets.serve(self._serve, "127.0.0.1", 0, max_size=None, compression=None, ping_interval=None) as server:
            self.port = next(iter(server.sockets)).getsockname()[1]
            self._opened.set()
            await self._stop.wait()

    async def _serve(self, socket: Any) -> None:
        async for message in socket:
            header, payload = unpack(message)
            kind = header["type"]
            if kind == "metadata":
                await socket.send(pack({"type": "metadata_response", "data": self.metadata}))
            elif kind == "reset":
                await socket.send(pack_observation("reset_response", self.observation, info=self.info))
            elif kind == "obs_request":
                await socket.send(pack_observation("obs_response", self.observation))
            elif kind == "apply_action":
                self.actions.append((np.frombuffer(payload, np.float32).reshape(header["shape"]), header["obs_timestamps"]))
