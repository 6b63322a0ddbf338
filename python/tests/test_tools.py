# SPDX-License-Identifier: Apache-2.0
"""What the package brings for tests of robots and policies, and its command line."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from typing import Any

import chiral
import chiral.testing
import numpy as np
import pytest

from conftest import DEADLINE, SmallRobot, eventually


def test_a_robot_is_tested_without_a_port_of_its_own() -> None:
    class Robot(SmallRobot):
        def __init__(self) -> None:
            super().__init__(host="0.0.0.0", port=8765, gate={"dimension": 7})

    robot = Robot()
    with chiral.testing.serving(robot) as env:
        env.reset()
        env.apply_action(np.zeros(7))
        env.apply_action(np.zeros(6))  # through the gate
        eventually(lambda: robot.stats()["actions_rejected"] == 1 and robot.stats()["actions_applied"] == 1)
    assert len(robot.actions) == 1


def test_a_policy_is_tested_against_a_simulated_robot() -> None:
    robot = chiral.testing.SimulatedRobot(cameras=1, depth=True, camera_hz=0, proprio_hz=0)
    with chiral.testing.serving(robot) as env:
        assert env.get_metadata()["action_dim"] == 7
        first, _ = env.reset()
        robot.tick()
        second = env.get_obs()
        assert second["cam_0"].sequence == first["cam_0"].sequence + 1
        assert not np.array_equal(second["cam_0"].image, first["cam_0"].image)
        env.apply_action(np.arange(7))
        eventually(lambda: robot.actions)
        robot.tick()
        assert env.get_obs().proprios["joint_pos"].tolist() == list(range(7))


def chiral_command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "chiral", *arguments]


def test_a_served_robot_is_probed() -> None:
    serving = subprocess.Popen(
        chiral_command("serve", "--port", "0", "--size", "64x48", "--depth", "--cameras", "1"),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )
    assert serving.stdout is not None
    try:
        found = re.search(r"port (\d+)", serving.stdout.readline())
        assert found is not None
        probed = subprocess.run(
            chiral_command("probe", f"ws://127.0.0.1:{found[1]}", "--count", "20"), capture_output=True, text=True,
            timeout=DEADLINE, check=True,
        ).stdout
        for told in ("cam_0", "(48, 64, 3) uint8", "(48, 64) float32", "joint_pos", "20 observations", "action_dim"):
            assert told in probed, probed
    finally:
        serving.send_signal(signal.SIGINT)
        out, err = serving.communicate(timeout=DEADLINE)
    assert serving.returncode == 0 and re.search(r"observations +20", out), (out, err)


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("info",), 0, chiral.__version__),
        (("probe", "ws://127.0.0.1:1", "--timeout", "0.1"), 1, "no connection"),
        (("probe", "nonsense"), 1, "nonsense"),
        (("serve", "--size", "big"), 2, "expected WIDTHxHEIGHT"),
        (("probe", "ws://127.0.0.1:1", "--count", "0"), 2, "at least 1"),
    ],
)
def test_commands_tell_what_is_wrong(arguments: Any, code: int, told: str) -> None:
    done = subprocess.run(chiral_command(*arguments), capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert done.returncode == code and told in done.stdout + done.stderr, done
