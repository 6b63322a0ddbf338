# SPDX-License-Identifier: Apache-2.0
"""gRPC's Python package as a peer of bench/side_by_side.py: bytes that are asked for over one stream, without Protocol Buffers."""
import concurrent.futures
import contextlib
import queue
import sys

import grpc
import peer

METHOD = "/observations/stream"
OPTIONS = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1), ("grpc.http2.max_frame_size", (1 << 24) - 1),
           ("grpc.http2.write_buffer_size", (1 << 24) - 1), ("grpc.http2.lookahead_bytes", 1 << 26)]


class Answers(grpc.GenericRpcHandler):
    def __init__(self, answer):
        self._handler = grpc.stream_stream_rpc_method_handler(lambda requests, _: (answer for _ in requests))

    def service(self, details):
        return self._handler if details.method == METHOD else None


def give(_name, size, _hz):
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(2), options=OPTIONS)
    server.add_generic_rpc_handlers([Answers(bytes(size))])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    peer.ready(f"127.0.0.1:{port}").wait()
    server.stop(0.1)


class Taker(contextlib.AbstractContextManager):
    def __init__(self, address, size):
        self._channel = grpc.insecure_channel(address, options=OPTIONS)
        self._questions = queue.SimpleQueue()
        self._answers = self._channel.stream_stream(METHOD)(iter(self._questions.get, None))
        self._size = size

    def __exit__(self, *_):
        self._questions.put(None)
        self._channel.close()

    def asked(self):
        return peer.timed(self._ask)

    def _ask(self):
        self._questions.put(b"?")
        came = len(next(self._answers))
        if came != self._size:
            sys.exit(f"{came} bytes came, expected {self._size}")


peer.main(give, Taker)
