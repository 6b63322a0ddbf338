# SPDX-License-Identifier: Apache-2.0
"""chiral-stress with its port open, seen from outside: its process, its /metrics and its verdict."""
import asyncio
import ctypes
import json
import os
import re
import signal

from peer import Ended, Peer, TooLate, within

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


def die_with_parent():
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Robot:
    def __init__(self, program, arguments, json_file):
        self._command = [program, "--transport", "ws", "--listen", "0", "--json", json_file, *arguments]
        self._json_file = json_file
        # Memory is judged: what the robot holds, not what glibc keeps of the largest blocks that were ever given back. It does so
        # where it may move the limit above which a block is a mapping of its own: mallopt(3), M_MMAP_THRESHOLD.
        self._environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "131072"}
        self.last_lines = []
        self.port = None

    async def start(self):
        # In a session of its own: Ctrl-C is for the soak, which then ends the robot in order.
        self._process = await asyncio.create_subprocess_exec(
            *self._command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT, start_new_session=True, preexec_fn=die_with_parent, env=self._environment)
        self.description = (await self._line()).rstrip()
        while self.port is None:
            match = re.match(r"listening on ws://127\.0\.0\.1:(\d+)", await self._line())
            if match:
                self.port = int(match[1])
        self._reader = asyncio.create_task(self._keep_lines())

    async def _line(self):
        line = (await within(self._process.stdout.readline(), "chiral-stress to listen")).decode()
        if not line:
            raise RuntimeError("chiral-stress has ended: " + "\n".join(self.last_lines))
        self.last_lines.append(line.rstrip())
        return line

    async def _keep_lines(self):
        while line := await self._process.stdout.readline():
            self.last_lines = [*self.last_lines[-99:], line.decode().rstrip()]

    def running(self):
        return self._process.returncode is None

    def figures(self):
        """(resident bytes, threads, open descriptors)"""
        status = open(f"/proc/{self._process.pid}/status").read()
        return (int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024, int(re.search(r"Threads:\s+(\d+)", status)[1]),
                len(os.listdir(f"/proc/{self._process.pid}/fd")))

    async def metrics(self, census):
        """{name with labels: value}, or None if the connection was refused, because there are too many."""
        try:
            with await Peer.open(census) as peer:
                status, body = await peer.http(b"GET /metrics HTTP/1.1\r\nHost: robot\r\n\r\n")
        except (Ended, TooLate):
            return None
        if status != 200:
            return None
        pairs = (line.rsplit(" ", 1) for line in body.decode().splitlines() if not line.startswith("#"))
        return {name: float(value) for name, value in pairs}

    async def end(self):
        """Ends the run; its exit code and its results, None if there are none."""
        if self.running():
            self._process.send_signal(signal.SIGINT)
        try:
            code = await asyncio.wait_for(self._process.wait(), 120)
        except asyncio.TimeoutError:
            self._process.kill()
            code = await self._process.wait()
        await self._reader
        try:
            with open(self._json_file) as file:
                return code, json.load(file)
        except (OSError, ValueError):
            return code, None
