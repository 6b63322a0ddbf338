# SPDX-License-Identifier: Apache-2.0
"""A TCP connection to the server, with as much HTTP and WebSocket as good and bad clients need. For asyncio."""
import asyncio
import os
import socket
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../tests/conformance"))
from rfc6455 import BINARY, CLOSE, PING, PONG, frame, request  # noqa: E402

# Whatever must come, comes within this, also from a busy machine. Only a run that fails waits for it.
PATIENCE = 60.0

# Python's socket module has no name for it: <asm-generic/socket.h>.
_SO_ATTACH_FILTER = 26


class Ended(Exception):
    """The server has ended the connection."""


class TooLate(Exception):
    """What had to come did not come."""


async def within(awaitable, what):
    try:
        return await asyncio.wait_for(awaitable, PATIENCE)
    except asyncio.TimeoutError:
        raise TooLate(f"waited {PATIENCE:.0f} s for {what}") from None


class Peer:
    def __init__(self, census, connection):
        self._census = census
        self._socket = connection
        self._loop = asyncio.get_running_loop()
        self._input = bytearray()
        self._sending = asyncio.Lock()  # what is sent meanwhile, as a pong is, must not land in the middle of a frame

    @classmethod
    async def open(cls, census, receive_buffer=None):
        connection = socket.socket()
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if receive_buffer:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        peer = cls(census, connection)
        try:
            await within(peer._loop.sock_connect(connection, ("127.0.0.1", census.port)), "a connection")
        except OSError as error:
            connection.close()
            raise Ended(str(error)) from None
        except BaseException:
            connection.close()
            raise
        census.connections += 1
        return peer

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._socket.close()

    # ---- sending ----

    async def send(self, data):
        try:
            async with self._sending:
                await within(self._loop.sock_sendall(self._socket, data), "the server to read")
        except OSError as error:
            raise Ended(str(error)) from None

    async def send_slowly(self, data, pause):
        for i in range(len(data)):
            await self.send(data[i : i + 1])
            await asyncio.sleep(pause)

    def send_what_fits(self, data):
        """How much that was."""
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise Ended(str(error)) from None

    # ---- receiving ----

    async def read(self, size, what="an answer"):
        """At least one byte; Ended at the end."""
        try:
            data = await within(self._loop.sock_recv(self._socket, size), what)
        except OSError as error:
            raise Ended(str(error)) from None
        if not data:
            raise Ended("the end of the connection")
        return data

    async def read_exactly(self, size):
        while len(self._input) < size:
            self._input += await self.read(max(size - len(self._input), 1 << 16))
        whole = bytes(self._input[:size])
        del self._input[:size]
        return whole

    async def http(self, text):
        """Sends a request; the status and body of the answer."""
        await self.send(text)
        while b"\r\n\r\n" not in self._input:
            self._input += await self.read(1 << 16)
        end = self._input.index(b"\r\n\r\n") + 4
        head = (await self.read_exactly(end)).decode("latin-1")
        size = 0
        for line in head.split("\r\n")[1:]:
            name, _, value = line.partition(":")
            if name.lower() == "content-length":
                size = int(value)
        return int(head.split()[1]), await self.read_exactly(size)

    async def handshake(self, path="/"):
        status, _ = await self.http(request(target=path))
        if status != 101:
            self._census.refused += 1
        return status

    async def read_frame(self):
        head = await self.read_exactly(2)
        length = head[1] & 0x7F
        if length == 126:
            (length,) = struct.unpack(">H", await self.read_exactly(2))
        elif length == 127:
            (length,) = struct.unpack(">Q", await self.read_exactly(8))
        return head[0] & 15, await self.read_exactly(length), bool(head[0] & 0x80)

    async def receive(self):
        """The next message, of however many fragments, or close frame, as (opcode, payload); pings are answered on the way."""
        message, fragments = BINARY, []
        while True:
            opcode, payload, last = await self.read_frame()
            if opcode == PING:
                await self.send(frame(PONG, payload))
            elif opcode == CLOSE:
                return opcode, payload
            elif opcode != PONG:
                message = opcode or message  # 0: goes on with what was begun
                fragments.append(payload)
                if last:
                    return message, b"".join(fragments)

    async def message(self):
        opcode, payload = await self.receive()
        if opcode == CLOSE:
            code = struct.unpack(">H", payload[:2])[0] if len(payload) >= 2 else 0
            raise Ended(f"closed by the server ({code}): {payload[2:].decode('utf-8', 'replace')}")
        return payload

    async def close_code(self):
        """Reads up to the close frame and answers it."""
        while True:
            opcode, payload = await self.receive()
            if opcode == CLOSE:
                await self.send(frame(CLOSE, payload))
                return struct.unpack(">H", payload[:2])[0] if len(payload) >= 2 else 0

    async def until_end(self, what="the server to end the connection"):
        """Drops what comes until the server ends the connection."""
        try:
            await within(self._drain(), what)
        except Ended:
            pass

    async def _drain(self):
        while True:
            await self.read(1 << 18)

    # ---- ending ----

    async def leave(self):
        """As RFC 6455 has it."""
        await self.send(frame(CLOSE, struct.pack(">H", 1000)))
        await self.until_end()

    def shut_down_sending(self):
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError as error:
            raise Ended(str(error)) from None

    def reset(self):
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def go_deaf(self):
        """From now on this machine drops what comes in for the connection, as if its cable had been pulled."""
        import ctypes

        class Instruction(ctypes.Structure):
            _fields_ = [("code", ctypes.c_uint16), ("jt", ctypes.c_uint8), ("jf", ctypes.c_uint8), ("k", ctypes.c_uint32)]

        drop = Instruction(0x06, 0, 0, 0)  # BPF_RET | BPF_K: keep 0 bytes of the packet
        program = struct.pack("HL", 1, ctypes.addressof(drop))  # struct sock_fprog
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
