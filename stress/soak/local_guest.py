# SPDX-License-Identifier: Apache-2.0
"""A local client that pins by itself, as far as it takes to die, or to lie, while it does: net/direct_protocol.hpp from outside."""
import ctypes
import mmap
import os
import socket
import struct

_HAZARDS = 2  # of a guest at each camera
_ATTEMPT_BITS = 40
_WORD = (1 << 64) - 1


class NoSeat(Exception):
    """The server has no page for this client."""


class _Layout:
    """Where the words of each camera lie: (view, hazards), offsets into the server's memory and into the page."""

    def __init__(self, packet):
        self._left = packet
        self.page_bytes, self.bell, cameras = self._take("<QQI")
        self.cameras = [self._camera() for _ in range(cameras)]

    def _take(self, layout):
        size = struct.calcsize(layout)
        values, self._left = struct.unpack(layout, self._left[:size]), self._left[size:]
        return values

    def _text(self):
        (size,) = self._take("<H")
        text, self._left = self._left[:size], self._left[size:]
        return text

    def _camera(self):
        self._text()
        self._take("<3IB")
        self._text(), self._text()
        self._take("<dqq")
        words = self._take("<QQ")
        self._take("<24Q")
        return words


class Guest:
    """What came behind a welcome that has "direct=1" among its lines."""

    def __init__(self, client, memory):
        packet, descriptors, _, _ = socket.recv_fds(client, 65536, 1)
        if packet[:1] != b"D" or len(descriptors) != 1:
            raise NoSeat(f"expected a page, got {packet[:80]!r}")
        layout = _Layout(packet[1:])
        self._page = mmap.mmap(descriptors[0], layout.page_bytes)
        os.close(descriptors[0])
        self._memory = mmap.mmap(memory, 0, prot=mmap.PROT_READ)
        client.send(b"D")
        packet = client.recv(65536)
        (self.occupant,) = struct.unpack("<Q", packet[1:])
        if packet[:1] != b"D" or self.occupant == 0:
            raise NoSeat(f"the page was not admitted: {packet[:80]!r}")
        self._words = (ctypes.c_uint64 * (layout.page_bytes // 8)).from_buffer(self._page)
        self._bell = layout.bell // 8
        self._cameras = layout.cameras
        self._attempts = 0

    def pin(self, pending_only=False):
        """Every hazard of every camera, or only the first half of that: then writers meet one who never comes to its end."""
        for view, hazards in self._cameras:
            for i in range(_HAZARDS):
                self._attempts += 1
                self._words[hazards // 8 + i] = (self.occupant << _ATTEMPT_BITS | self._attempts) << 2 & _WORD | 1
                if not pending_only:
                    (now,) = struct.unpack_from("<Q", self._memory, view)
                    self._words[hazards // 8 + i] = now << 2 & _WORD | 2

    def answer_to(self, wish):
        """The newest image, once the server has answered that wish for a newer one; None before."""
        return self._words[self._bell + 1] if self._words[self._bell] & 0xFFFFFFFF == wish else None

    def lie(self, rng):
        """Anything, in every word of its page."""
        for i in range(len(self._words)):
            self._words[i] = rng.getrandbits(64)
