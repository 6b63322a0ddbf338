# SPDX-License-Identifier: Apache-2.0
"""RFC 6455 as a client that can break every rule of it, and that takes no broken rule from the server.

Frames to the server are made of whatever the caller wants: reserved bits, wrong lengths, no mask. Frames from the server are
checked bit by bit; a ServerViolation says which rule one broke.
"""
import base64
import hashlib
import os
import socket
import struct
import time

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
# A server that works answers in milliseconds; a busy machine and a sanitizer take their time.
DEADLINE = 60.0


class ServerViolation(AssertionError):
    """The server broke a rule of the RFC, or did not answer before the deadline."""


def mask_bytes(payload, key):
    repeated = (key * (len(payload) // 4 + 1))[: len(payload)]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")).to_bytes(len(payload), "big")


def frame(opcode, payload=b"", fin=True, rsv=0, mask=b"\x37\xfa\x21\x3d", length=None, length_bytes=None, wrong_mask=False):
    """One frame. `rsv` is 4 for RSV1, 2 for RSV2, 1 for RSV3. `mask` None: not masked. `length` is announced instead of the
    true one. `length_bytes` 1, 2 or 8 instead of as few as possible. `wrong_mask`: masked with another key than it says."""
    announced = len(payload) if length is None else length
    if length_bytes is None:
        length_bytes = 1 if announced < 126 else 2 if announced < 1 << 16 else 8
    masked = 0 if mask is None else 0x80
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    head += {1: lambda: bytes([masked | announced]),
             2: lambda: struct.pack(">BH", masked | 126, announced),
             8: lambda: struct.pack(">BQ", masked | 127, announced)}[length_bytes]()
    if mask is None:
        return head + payload
    return head + mask + mask_bytes(payload, bytes(b ^ 0x55 for b in mask) if wrong_mask else mask)


def fragments(opcode, *pieces, last=True):
    """A message in several frames; with `last` false, its end is missing."""
    count = len(pieces)
    return [frame(opcode if i == 0 else CONT, piece, fin=last and i == count - 1) for i, piece in enumerate(pieces)]


def close_payload(code, reason=b""):
    return struct.pack(">H", code) + reason


def handshake_key():
    return base64.b64encode(os.urandom(16)).decode()


class Connection:
    """A TCP connection to the server."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=DEADLINE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffered = b""
        self.parts = []  # of a message that is not ended
        self.reset = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        """Sends as much as the server takes: one that has closed already takes no more."""
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def send_octets(self, data):
        for i in range(len(data)):
            self.send(data[i : i + 1])

    def _more(self):
        try:
            data = self.socket.recv(1 << 16)
        except ConnectionResetError:
            self.reset = True
            data = b""
        except socket.timeout:
            raise ServerViolation(f"no answer in {DEADLINE:.0f} s") from None
        self.buffered += data
        return bool(data)

    def read_exactly(self, size):
        """None if the connection ends before the first of them."""
        pieces, got = [self.buffered], len(self.buffered)
        while got < size:
            self.buffered = b""
            if not self._more():
                if got:
                    raise ServerViolation("the connection ended inside a frame")
                return None
            pieces.append(self.buffered)
            got += len(self.buffered)
        whole = b"".join(pieces)
        self.buffered = whole[size:]
        return whole[:size]

    def at_end(self):
        """Waits for the end of the connection; false if the server sends something instead."""
        return not self.buffered and not self._more()

    # ---- HTTP ----

    def read_http(self):
        """(status, headers in lower case, body), or None if the connection ends without an answer."""
        while b"\r\n\r\n" not in self.buffered:
            if not self._more():
                return None
        head, self.buffered = self.buffered.split(b"\r\n\r\n", 1)
        lines = head.decode("ascii").split("\r\n")
        headers = {}
        for line in lines[1:]:
            name, value = line.split(":", 1)
            headers[name.lower()] = value.strip()
        size = int(headers.get("content-length", 0))
        return int(lines[0].split()[1]), headers, self.read_exactly(size) if size else b""

    def handshake(self, extra=()):
        """The handshake of a client without fault; returns the status and headers of the answer."""
        key = handshake_key()
        self.send(request(key=key, extra=extra))
        answer = self.read_http()
        if answer is None:
            raise ServerViolation("the handshake was not answered")
        status, headers, _ = answer
        if status == 101:
            check_accepted(headers, key)
        return status, headers

    # ---- frames ----

    def read_frame(self):
        """(opcode, payload) of a control frame or a whole message, or None at the end of the connection. The server sends large
        messages in fragments, and empty pings at any time, to see whether the client is there: they are left out."""
        while True:
            frame = self._read_any_frame()
            if frame is None:
                return None
            last, opcode, payload = frame
            if opcode >= 8:
                if not last:
                    raise ServerViolation("5.4: a control frame in fragments")
                if (opcode, payload) != (PING, b""):
                    return opcode, payload
                continue
            if (opcode == CONT) != bool(self.parts):
                raise ServerViolation("5.4: a fragment that continues nothing" if opcode == CONT else "5.4: a message within another one")
            self.parts.append(payload)
            if last:
                whole, self.parts = b"".join(self.parts), []
                return BINARY, whole

    def _read_any_frame(self):
        head = self.read_exactly(2)
        if head is None:
            return None
        if head[0] & 0x70:
            raise ServerViolation("5.2: the server set a reserved bit")
        if head[1] & 0x80:
            raise ServerViolation("5.1: the server masked a frame")
        opcode, length = head[0] & 15, head[1]
        if opcode not in (CONT, BINARY, CLOSE, PING, PONG):
            raise ServerViolation(f"the server sent opcode {opcode}")
        if opcode >= 8 and length > 125:
            raise ServerViolation("5.5: a control frame of more than 125 bytes")
        if length == 126:
            (length,) = struct.unpack(">H", self.read_exactly(2))
            if length < 126:
                raise ServerViolation("5.2: a length that is not as short as possible")
        elif length == 127:
            (length,) = struct.unpack(">Q", self.read_exactly(8))
            if length < 1 << 16 or length >> 63:
                raise ServerViolation("5.2: a length that is not as short as possible, or negative")
        return bool(head[0] & 0x80), opcode, self.read_exactly(length) if length else b""


def request(method="GET", target="/", version="HTTP/1.1", key=None, without=(), replace=None, extra=()):
    """An opening handshake; `without` fields, some replaced, and with extra lines."""
    fields = {"Host": "127.0.0.1", "Upgrade": "websocket", "Connection": "Upgrade",
              "Sec-WebSocket-Key": handshake_key() if key is None else key, "Sec-WebSocket-Version": "13"}
    fields.update(replace or {})
    lines = [f"{method} {target} {version}"]
    lines += [f"{name}: {value}" for name, value in fields.items() if name not in without]
    return "\r\n".join([*lines, *extra, "", ""]).encode()


def check_accepted(headers, key):
    expected = base64.b64encode(hashlib.sha1((key + GUID).encode()).digest()).decode()
    for name, value in (("upgrade", "websocket"), ("connection", "upgrade"), ("sec-websocket-accept", expected)):
        got = headers.get(name, "")
        if (got if name == "sec-websocket-accept" else got.lower()) != value:
            raise ServerViolation(f"4.2.2: {name} is '{got}', expected '{value}'")
    for name in ("sec-websocket-extensions", "sec-websocket-protocol"):
        if name in headers:
            raise ServerViolation(f"4.2.2: {name}: {headers[name]}, nothing of it was to be agreed on")


def connect(port, extra=()):
    """An open WebSocket. The client before is still leaving for a moment: the server then says 503."""
    end = time.monotonic() + DEADLINE
    while True:
        connection = Connection(port)
        status, headers = connection.handshake(extra)
        if status == 101:
            return connection
        connection.socket.close()
        if status != 503 or time.monotonic() > end:
            raise ServerViolation(f"the handshake was answered with {status} {headers}")
