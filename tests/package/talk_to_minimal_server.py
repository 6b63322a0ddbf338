# SPDX-License-Identifier: Apache-2.0
"""Starts the guide's minimal server, takes some steps with it as a legacy client, and ends it with Ctrl-C.

    talk_to_minimal_server.py MINIMAL_SERVER
"""
import base64
import os
import signal
import socket
import struct
import subprocess
import sys
import time

PORT = 8765  # the guide's
TIMEOUT = 60.0


def port_is_open():
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", PORT)) == 0


def receive(connection, size):
    data = b""
    while len(data) < size:
        got = connection.recv(size - len(data))
        if not got:
            raise AssertionError("the server hung up")
        data += got
    return data


def send(connection, opcode, payload):
    """One masked frame; the key is 0, so that the payload stays as it is."""
    assert len(payload) < 65536
    length = struct.pack("!B", 0x80 | len(payload)) if len(payload) < 126 else struct.pack("!BH", 0x80 | 126, len(payload))
    connection.sendall(bytes([0x80 | opcode]) + length + bytes(4) + payload)


def receive_message(connection):
    """The next close frame, or the next whole message, which may come in fragments; pings are answered."""
    message = b""
    while True:
        first, size = receive(connection, 2)
        if size == 126:
            (size,) = struct.unpack("!H", receive(connection, 2))
        elif size == 127:
            (size,) = struct.unpack("!Q", receive(connection, 8))
        payload = receive(connection, size)
        if first & 15 == 9:
            send(connection, 10, payload)
        elif first & 15 == 8:
            return 8, payload
        else:
            message += payload
            if first & 0x80:
                return 2, message


def packed(text):
    return bytes([0xA0 | len(text)]) + text.encode()


def message(header, payload=b""):
    return struct.pack("<I", len(header)) + header + payload


def main(program):
    if port_is_open():
        sys.exit(f"port {PORT} is taken on this machine: the guide's server cannot be tested")
    server = subprocess.Popen([program])
    try:
        deadline = time.monotonic() + TIMEOUT
        while not port_is_open():
            assert server.poll() is None and time.monotonic() < deadline, "the server opened no port"
            time.sleep(0.05)
        with socket.create_connection(("127.0.0.1", PORT), TIMEOUT) as connection:
            key = base64.b64encode(os.urandom(16)).decode()
            connection.sendall(
                f"GET / HTTP/1.1\r\nHost: robot\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
            )
            answer = b""
            while not answer.endswith(b"\r\n\r\n"):
                answer += receive(connection, 1)
            assert answer.startswith(b"HTTP/1.1 101 "), answer

            reset = message(b"\x81" + packed("type") + packed("reset"))
            action = message(
                b"\x83" + packed("type") + packed("action") + packed("shape") + b"\x92\x01\x07" + packed("dtype") + packed("float32"),
                struct.pack("<7f", *range(7)),
            )
            for request, expected in [(reset, b"reset_response")] + [(action, b"step_response")] * 5:
                send(connection, 2, request)
                opcode, payload = receive_message(connection)
                assert opcode == 2 and expected in payload[:1000], payload[:1000]
                assert len(payload) > 480 * 640 * (3 + 4), len(payload)

            server.send_signal(signal.SIGINT)
            opcode, payload = receive_message(connection)
            assert opcode == 8 and payload[:2] == struct.pack("!H", 1001), payload
            send(connection, 8, payload)
        code = server.wait(TIMEOUT)
        assert code == 0, f"the server ended with {code}"
    finally:
        server.kill()
    print("minimal server: ok")


if __name__ == "__main__":
    main(*sys.argv[1:])
