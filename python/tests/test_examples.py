# SPDX-License-Identifier: Apache-2.0
"""The examples run, and their types are right."""

from __future__ import annotations

import pathlib
import socket
import subprocess
import sys

import chiral

from conftest import DEADLINE

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples" / "python"


def run(*arguments: str) -> str:
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=3 * DEADLINE, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_policies_move_the_robot() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    robot = subprocess.Popen([sys.executable, str(EXAMPLES / "robot.py"), port], stderr=subprocess.DEVNULL)
    try:
        told = run(str(EXAMPLES / "policy.py"), f"ws://127.0.0.1:{port}", "1")
        assert "'homed': True" in told and "(480, 640, 3)" in told and int(told.split()[-2]) > 0
        assert "joints:" in run(str(EXAMPLES / "async_policy.py"), f"ws://127.0.0.1:{port}")
    finally:
        robot.kill()
        robot.wait()


def test_a_frame_is_filled_in_place() -> None:
    assert run(str(EXAMPLES / "frame_in_place.py")) == "captured at 12.5 s: brightness 200.0, 1.5 m\n"


def test_types_are_right_by_the_strictest_rules() -> None:
    package = pathlib.Path(chiral.__file__).parent.resolve()
    files = [str(path) for path in sorted(EXAMPLES.glob("*.py"))]
    run("-m", "mypy", "--strict", "--no-incremental", "--cache-dir=/dev/null", "--scripts-are-modules", *files, "-p", "chiral")
    assert (package / "py.typed").exists()
