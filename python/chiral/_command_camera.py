# SPDX-License-Identifier: Apache-2.0
"""Cameras whose pictures come from a command: ffmpeg reading a webcam or a video, a driver's own tool, cat of a file.

The command writes raw RGB24 frames to its standard output, H x W x 3 bytes each with nothing between them, or JPEG pictures one
behind the other. A frame is stamped with the time at which its first byte came; an unfinished one is never published. A command that
ends is started again.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ._log import log
from ._native import MjpegSplitter
from .server import PolicyServer
from .testing import SimulatedRobot
from .types import Array, CameraConfig

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # seconds before a command is started again; doubled while it brings no frame


@dataclass
class Command:
    name: str
    height: int
    width: int
    text: str  # for /bin/sh -c
    jpeg: bool

    @staticmethod
    def parse(text: str) -> Command:
        """NAME,WIDTHxHEIGHT,cmd:COMMAND, or mjpeg:COMMAND for JPEG pictures. ValueError shows what was expected."""
        name, _, rest = text.partition(",")
        size, _, source = rest.partition(",")
        kind, _, command = source.partition(":")
        width, _, height = size.partition("x")
        if not name or kind not in ("cmd", "mjpeg") or not command or not (width.isdecimal() and height.isdecimal()):
            raise ValueError(f"camera '{text}': expected NAME,WIDTHxHEIGHT,cmd:COMMAND, such as clip,640x480,cmd:cat frames.rgb, or "
                             "mjpeg:COMMAND for JPEG pictures")
        return Command(name, int(height), int(width), command, kind == "mjpeg")

    def config(self) -> CameraConfig:
        return CameraConfig(self.name, self.height, self.width, encoding="jpeg" if self.jpeg else "raw")


class _Unfinished(Exception):
    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.size = size


def _fill(image: Array, first: bytes | bytearray, output: Any) -> None:
    with image.reshape(-1).data as pixels:
        pixels[: len(first)] = first
        filled = len(first)
        while filled < len(pixels):
            count = output.readinto(pixels[filled:])
            if not count:
                raise _Unfinished(filled)
            filled += count


class CommandCamera:
    """Runs a command, and feeds a robot's camera from it on a thread of its own."""

    def __init__(self, robot: PolicyServer, command: Command) -> None:
        self._robot = robot
        self._command = command
        self._stopping = threading.Event()
        self._running = threading.Lock()  # for _child
        self._child: subprocess.Popen[bytes] | None = None
        self.frames = 0
        self._thread = threading.Thread(target=self._run, name=f"chiral-{command.name}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends the command with all that it started, and joins the thread."""
        self._stopping.set()
        with self._running:
            self._kill()
        self._thread.join()

    def _kill(self) -> None:
        """With all that it started. Under the lock: its number is nobody else's until it has been waited for."""
        if self._child is not None and self._child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._child.pid, signal.SIGKILL)

    def _run(self) -> None:
        pause = FIRST_PAUSE
        while not self._stopping.is_set():
            before = self.frames
            with self._running:
                if self._stopping.is_set():
                    return
                self._child = subprocess.Popen(["/bin/sh", "-c", self._command.text], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                               bufsize=0, start_new_session=True)
            unfinished = (self._take_pictures if self._command.jpeg else self._take_frames)(self._child)
            os.waitid(os.P_PID, self._child.pid, os.WEXITED | os.WNOWAIT)
            with self._running:
                self._kill()
                code = self._child.wait()
                self._child.stdout.close()  # type: ignore[union-attr]
            if not self._stopping.is_set():
                frames = self.frames - before
                rest = f", {unfinished} bytes of an unfinished one were dropped" if unfinished else ""
                log.warning(f"camera '{self._command.name}': its command ended with code {code} after {frames} frames{rest}")
            pause = FIRST_PAUSE if self.frames > before else min(2 * pause, LONGEST_PAUSE)
            self._stopping.wait(pause)

    def _take_frames(self, child: subprocess.Popen[bytes]) -> int:
        """Reads straight into the slots that are published. Returns the bytes of a frame that has no end."""
        output: Any = child.stdout
        first = bytearray(1)  # waited for without a slot
        while output.readinto(first):
            captured = time.monotonic()
            try:
                with self._robot.frame(self._command.name) as frame:
                    frame.captured = captured
                    _fill(frame.image, first, output)
            except _Unfinished as unfinished:
                return unfinished.size
            self.frames += 1
        return 0

    def _take_pictures(self, child: subprocess.Popen[bytes]) -> int:
        output: Any = child.stdout
        splitter = MjpegSplitter(self._command.height * self._command.width * 3)
        captured = None
        while received := output.read(1 << 16):
            now = time.monotonic()
            for picture in splitter.take(received):
                try:
                    self._robot.update_image(self._command.name, picture, captured=now if captured is None else captured)
                    self.frames += 1
                except ValueError as error:
                    log.warning(f"camera '{self._command.name}': {error}")
                captured = None
            if captured is None and splitter.unfinished:
                captured = now
        return splitter.unfinished


class RobotWithCommands(SimulatedRobot):
    """A simulated robot, and cameras behind its own whose pictures come from commands."""

    def __init__(self, commands: Sequence[Command], **options: Any) -> None:
        self._commands = list(commands)
        super().__init__(**options)
        self._command_cameras = [CommandCamera(self, command) for command in self._commands]

    def camera_configs(self) -> list[CameraConfig]:
        return [*super().camera_configs(), *(command.config() for command in self._commands)]

    def end(self) -> None:
        super().end()
        for camera in self._command_cameras:
            camera.stop()
