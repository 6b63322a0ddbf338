# SPDX-License-Identifier: Apache-2.0
"""The examples run, and their types are right."""

from __future__ import annotations

import pathlib
import re
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
    port = free_port()
    robot = subprocess.Popen([sys.executable, str(EXAMPLES / "robot.py"), port], stderr=subprocess.DEVNULL)
    try:
        told = run(str(EXAMPLES / "policy.py"), f"ws://127.0.0.1:{port}", "1")
        assert "'homed': True" in told and "(480, 640, 3)" in told and int(told.split()[-2]) > 0
        assert "joints:" in run(str(EXAMPLES / "async_policy.py"), f"ws://127.0.0.1:{port}")
    finally:
        robot.kill()
        robot.wait()


def free_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def test_the_readmes_robot_and_policy_talk_to_each_other() -> None:
    readme = (ROOT / "python" / "README.md").read_text(encoding="utf-8")
    robot_text, policy_text = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    port = free_port()
    documented = 'Robot(host="127.0.0.1").run()', "ws://127.0.0.1:8765", "range(100)"
    assert documented[0] in robot_text and documented[1] in policy_text and documented[2] in policy_text
    feeding = "import threading, time\nrobot = Robot(host='127.0.0.1', port=%s)\nrobot.update_image('wrist', 255)\nrobot.run()" % port
    robot = subprocess.Popen(
        [sys.executable, "-u", "-c", robot_text.replace(documented[0] + "   # sensor", feeding + "  # sensor")],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )
    try:
        run("-c", policy_text.replace(documented[1], f"ws://127.0.0.1:{port}").replace(documented[2], "range(10)"))
        assert robot.stdout is not None
        assert robot.stdout.readline() == "to the motors: [1. 1. 1. 1. 1. 1. 1.]\n"
    finally:
        robot.kill()
        robot.wait()


def test_a_frame_is_filled_in_place() -> None:
    assert run(str(EXAMPLES / "frame_in_place.py")) == "captured at 12.5 s: brightness 200.0, 1.5 m\n"


def test_types_are_right_by_the_strictest_rules() -> None:
    package = pathlib.Path(chiral.__file__).parent.resolve()
    files = [str(path) for path in sorted(EXAMPLES.glob("*.py"))]
    installed = "site-packages" in package.parts  # where mypy looks for names, and does not take files
    for checked in (["-p", "chiral"], files) if installed else ([str(package), *files],):
        run("-m", "mypy", "--strict", "--cache-dir=/dev/null", "--scripts-are-modules", *checked)
    assert (package / "py.typed").exists()
