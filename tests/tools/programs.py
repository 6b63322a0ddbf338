# SPDX-License-Identifier: Apache-2.0
"""Starts chiral-serve and chiral-probe for tests, and makes sure that nothing outlives the test."""
import contextlib
import ctypes
import os
import queue
import signal
import subprocess
import threading
import time

SERVE = os.environ["CHIRAL_SERVE"]
PROBE = os.environ["CHIRAL_PROBE"]
# Sanitizer builds on a busy machine are slow; a test that works takes a fraction of this.
DEADLINE = 60.0

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


def _die_with_parent():
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def run(program, *arguments, timeout=DEADLINE):
    """Runs a program to its end; its output is text."""
    return subprocess.run(
        [program, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
        timeout=timeout, preexec_fn=_die_with_parent)


class Program:
    """A running program whose lines can be waited for."""

    def __init__(self, program, *arguments):
        # Two pipes, because what a command writes to its error output comes in pieces of lines.
        self.process = subprocess.Popen(
            [program, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, errors="replace", preexec_fn=_die_with_parent)
        self.output = ""
        self._lines = queue.Queue()
        self._threads = [threading.Thread(target=self._read, args=(stream,), daemon=True)
                         for stream in (self.process.stdout, self.process.stderr)]
        for thread in self._threads:
            thread.start()

    def _read(self, stream):
        for line in stream:
            self._lines.put(line)
        stream.close()

    def wait_line(self, wanted, timeout=DEADLINE):
        """The first line that contains `wanted`; fails with all output at the deadline or the end."""
        for line in self.output.splitlines():
            if wanted in line:
                return line
        end = time.monotonic() + timeout
        while True:
            alive = any(thread.is_alive() for thread in self._threads)
            try:
                line = self._lines.get(timeout=0.05 if alive else 0.0)
            except queue.Empty:
                if not alive:
                    raise AssertionError(f"ended without a line with '{wanted}':\n{self.output}") from None
                if time.monotonic() > end:
                    raise AssertionError(f"no line with '{wanted}' after {timeout} s in:\n{self.output}") from None
                continue
            self.output += line
            if wanted in line:
                return line.rstrip("\n")

    def end(self, sig=signal.SIGINT, timeout=DEADLINE):
        """Sends a signal and waits for the end; returns the exit code. All output is in self.output then."""
        if self.process.poll() is None:
            self.process.send_signal(sig)
        code = self.process.wait(timeout)
        self._drain()
        return code

    def wait(self, timeout=DEADLINE):
        code = self.process.wait(timeout)
        self._drain()
        return code

    def _drain(self):
        for thread in self._threads:
            thread.join(5.0)
        while not self._lines.empty():
            self.output += self._lines.get()

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._drain()


@contextlib.contextmanager
def serve(*arguments):
    """chiral-serve on a free port; yields (program, uri) when it listens."""
    program = Program(SERVE, "--port", "0", *arguments)
    try:
        line = program.wait_line("listening on ")
        yield program, line.removeprefix("listening on ")
    finally:
        program.kill()


def processes_with(text):
    """Numbers of the living processes, zombies not counted, whose command line contains `text`; never this one."""
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            with open(f"/proc/{name}/cmdline", "rb") as file:
                if text.encode() in file.read():
                    found.append(int(name))
        except OSError:
            pass  # it ended meanwhile
    return found


def becomes_true(condition, timeout=DEADLINE):
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True
