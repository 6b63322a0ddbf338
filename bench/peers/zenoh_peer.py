# SPDX-License-Identifier: Apache-2.0
"""Zenoh's Python package as a peer of bench/side_by_side.py: images by its shared memory, and bytes that are asked for over TCP."""
import contextlib
import json
import socket
import sys

import peer
import zenoh

KEY = "bench/image"


def session(mode, endpoint, shared):
    config = zenoh.Config()
    for key, value in (("mode", "peer"), (f"{mode}/endpoints", [endpoint]), ("scouting/multicast/enabled", False),
                       ("transport/shared_memory/enabled", shared)):
        config.insert_json5(key, json.dumps(value))
    return zenoh.open(config)


def free_port():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


def give(_name, size, hz):
    endpoint = f"tcp/127.0.0.1:{free_port()}"
    with session("listen", endpoint, hz > 0) as opened:
        if hz > 0:
            publish(opened, endpoint, size, hz)
            return
        answer = zenoh.ZBytes(bytes(size))
        queryable = opened.declare_queryable(KEY, lambda query: query.reply(KEY, answer))
        peer.ready(endpoint).wait()
        queryable.undeclare()


def publish(opened, endpoint, size, hz):
    from zenoh import shm

    # As many images as are on the way at once, and room for what the allocator adds.
    provider = shm.ShmProvider.default_backend(4 * size + (1 << 20))
    publisher = opened.declare_publisher(KEY, congestion_control=zenoh.CongestionControl.DROP, express=True)
    pixels = [bytes([number]) * size for number in range(2)]
    over = peer.ready(endpoint)
    for number in peer.paced(hz, over):
        image = provider.alloc(size, policy=shm.BlockOn(shm.GarbageCollect()))
        image[0:size] = pixels[number % 2]  # the driver
        image[0:8] = peer.stamp()
        publisher.put(image)


class Taker(contextlib.AbstractContextManager):
    """Its Python package lends nobody shared memory: what has come is copied once, into bytes."""

    def __init__(self, endpoint, size):
        self._session = session("connect", endpoint, sys.argv[4] != "asked")
        self._size = size
        if sys.argv[4] != "asked":
            self._subscriber = self._session.declare_subscriber(KEY, zenoh.handlers.RingChannel(1))
            self._held = self._subscriber.recv().payload.to_bytes()

    def __exit__(self, *_):
        self._session.close()

    def next(self):
        self._held = self._subscriber.recv().payload.to_bytes()
        return peer.since(self._held[:8])

    def asked(self):
        return peer.timed(self._ask)

    def _ask(self):
        for reply in self._session.get(KEY):
            self._held = reply.ok.payload.to_bytes()
        if len(self._held) != self._size:
            sys.exit(f"{len(self._held)} bytes came, expected {self._size}")


peer.main(give, Taker)
