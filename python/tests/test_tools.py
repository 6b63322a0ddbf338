# SPDX-License-Identifier: Apache-2.0
"""What the package brings for tests of robots and policies, and its command line."""

from __future__ import annotations

import contextlib
import os
import pathlib
import pty
import re
import signal
import subprocess
import sys
import threading
from typing import Any

import chiral
import chiral.testing
import numpy as np
import pytest

from conftest import DEADLINE, SmallRobot, eventually


class Stopping(SmallRobot):
    """A program that knows nothing of tests: it chooses where it listens."""

    made: list[Stopping] = []

    def __init__(self, protocol: str = "websocket") -> None:
        super().__init__(host="0.0.0.0", port=8765, protocol=protocol, gate={"dimension": 7}, action_timeout=0.05)
        self.stopped = threading.Event()
        Stopping.made.append(self)

    def on_action_timeout(self) -> None:
        self.stopped.set()


def open_ports() -> set[str]:
    """Inodes of the sockets on which this process listens for connections from other machines."""
    listening = set()
    for table in ("tcp", "tcp6", "udp", "udp6"):
        for line in pathlib.Path(f"/proc/self/net/{table}").read_text(encoding="ascii").splitlines()[1:]:
            fields = line.split()
            if fields[3] in ("0A", "07"):
                listening.add(f"socket:[{fields[9]}]")
    mine = set()
    for descriptor in pathlib.Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            mine.add(str(descriptor.readlink()))
    return listening & mine


@pytest.mark.parametrize(
    ("program", "ports"), [(Stopping, 0), (lambda: Stopping("zenoh"), 0), (Stopping, 1)],
    ids=["a class", "one of Zenoh", "one that was made before"],
)
def test_a_robot_is_tested_through_its_gate_and_its_watchdog(program: Any, ports: int) -> None:
    before = open_ports()
    with chiral.testing.serving(program() if ports else program) as env:
        robot = Stopping.made[-1]
        assert len(open_ports() - before) == ports
        obs, _ = env.reset()
        kept = [env.get_obs() for _ in range(4)]  # as many as it likes
        assert obs["wrist"].image.shape == kept[0]["wrist"].image.shape == (4, 6, 3)
        env.apply_action(np.zeros(6))  # through the gate
        env.apply_action(np.zeros(7))
        eventually(lambda: robot.stats()["actions_rejected"] == 1 and robot.stats()["actions_applied"] == 1)
        assert robot.stopped.wait(DEADLINE), "no action has come for too long"
    assert len(robot.actions) == 1


def test_a_policy_is_tested_against_a_simulated_robot() -> None:
    robot = chiral.testing.SimulatedRobot(cameras=1, depth=True, camera_hz=0, proprio_hz=0, max_action_delay=0)
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
        chiral_command("serve", "--port", "0", "--size", "64x48", "--depth", "--cameras", "1", "--action-delay-ms", "0"),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored where tests run in the background of a shell
    )
    assert serving.stdout is not None
    try:
        found = re.match(r"listening on ws://127.0.0.1:(\d+)$", serving.stdout.readline())
        assert found is not None
        probed = subprocess.run(
            chiral_command("probe", f"ws://127.0.0.1:{found[1]}", "--count", "20", "--act"), capture_output=True, text=True,
            timeout=DEADLINE, check=True,
        ).stdout
        small = subprocess.run(
            chiral_command("probe", f"ws://127.0.0.1:{found[1]}", "--seconds", "0.1", "--want", "16x12,jpeg:50,depth:none"),
            capture_output=True, text=True, timeout=DEADLINE, check=True,
        ).stdout
        assert "(12, 16, 3) uint8" in small, small
        for told in ("cam_0", "(48, 64, 3) uint8", "(48, 64) float32", "joint_pos", "20 observations", "action_dim"):
            assert told in probed, probed
    finally:
        serving.send_signal(signal.SIGINT)
        out, err = serving.communicate(timeout=DEADLINE)
    counted = {name: int(count) for name, count in re.findall(r"(\w+) +(\d+)", out)}
    assert serving.returncode == 0 and counted["observations"] > 20 and counted["actions_applied"] > 0, (out, err)


WITHOUT_RICH = "import runpy, sys; sys.modules['rich'] = None; runpy.run_module('chiral', run_name='__main__')"


def shown_on_a_terminal(*command: str) -> str:
    terminal, end = pty.openpty()
    with subprocess.Popen([sys.executable, *command], stdout=end, env={**os.environ, "TERM": "xterm", "COLUMNS": "120"}) as running:
        os.close(end)
        shown = b""
        with contextlib.suppress(OSError), open(terminal, "rb", buffering=0) as output:  # EIO: nobody else has it open any more
            while piece := output.read(4096):
                shown += piece
        assert running.wait(DEADLINE) == 0, shown
    return shown.decode()


def test_a_terminal_gets_richs_tables_and_progress_and_all_else_plain_columns() -> None:
    def has_table(text: str) -> bool:
        assert chiral.__version__ in text
        return "\N{BOX DRAWINGS HEAVY VERTICAL}" in text

    assert has_table(shown_on_a_terminal("-m", "chiral", "info"))
    assert not has_table(shown_on_a_terminal("-c", WITHOUT_RICH, "info"))
    assert not has_table(subprocess.run(chiral_command("info"), capture_output=True, text=True, timeout=DEADLINE, check=True).stdout)
    with chiral.testing.SimulatedRobot(size=(12, 16), host="127.0.0.1", port=0) as robot:
        asked = ("probe", f"ws://127.0.0.1:{robot.port}/observe", "--count", "3")
        assert "asking" in shown_on_a_terminal("-m", "chiral", *asked)
        assert "asking" not in shown_on_a_terminal("-c", WITHOUT_RICH, *asked)


def test_a_robot_is_probed_over_its_local_socket(tmp_path: pathlib.Path) -> None:
    with chiral.testing.SimulatedRobot(size=(12, 16), host="127.0.0.1", port=0, local_socket=str(tmp_path / "robot")):
        probed = subprocess.run(
            chiral_command("probe", f"unix://{tmp_path}/robot", "--count", "5"), capture_output=True, text=True,
            timeout=DEADLINE, check=False,
        )
    assert probed.returncode == 0 and "5 observations" in probed.stdout, probed


def test_a_robot_is_not_served_on_a_port_that_is_taken() -> None:
    with chiral.testing.SimulatedRobot(size=(12, 16), host="127.0.0.1", port=0) as robot:
        second = subprocess.run(
            chiral_command("serve", "--port", str(robot.port), "--seconds", "1"), capture_output=True, text=True,
            timeout=DEADLINE, check=False,
        )
    assert second.returncode == 1 and second.stdout == "" and str(robot.port) in second.stderr, second


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("info",), 0, chiral.__version__),
        (("probe", "ws://127.0.0.1:1", "--timeout", "0.1"), 1, "no connection"),
        (("probe", "nonsense"), 2, "nonsense"),
        (("probe", "ws://127.0.0.1:1", "--legacy", "--act"), 2, "--act: --legacy sends actions already"),
        (("probe", "ws://127.0.0.1:1", "--legacy", "--want", "jpeg"), 2, "--want: not for --legacy"),
        (("probe", "wss://127.0.0.1:1", "--insecure", "--ca", "file"), 2, "--insecure: does not look at what --ca trusts"),
        (("serve", "--camera", "clip,4x2,cat"), 2, "expected NAME,WIDTHxHEIGHT,cmd:COMMAND"),
        (("serve", "--tls-cert", "cert.pem"), 2, "expected both"),
        (("serve", "--size", "big"), 2, "expected WIDTHxHEIGHT"),
        (("probe", "ws://127.0.0.1:1", "--count", "-1"), 2, "expected 0 or more"),
        (("probe", "ws://127.0.0.1:1", "--want", "224x224,squeeze"), 2, "'squeeze' is not known; expected WIDTHxHEIGHT"),
        (("--version",), 0, chiral.__version__),
        (("serve", "--zenoh-port", "0"), 2, "--zenoh-port needs --zenoh"),
        (("serve", "--zenoh-prefix", "*", "--zenoh", "--port", "0"), 1, "prefix"),
    ],
)
def test_commands_tell_what_is_wrong(arguments: Any, code: int, told: str) -> None:
    done = subprocess.run(chiral_command(*arguments), capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert done.returncode == code and told in done.stdout + done.stderr, done


def options_of(help_text: str) -> dict[str, tuple[str, str]]:
    """What a value is called, and the default in brackets, of each flag."""
    found: dict[str, tuple[str, str]] = {}
    for entry in re.split(r"\n +(?=-)", help_text):
        flag = re.match(r"(?:-h, ?)?(--[a-z-]+)(?: ([A-Zx,:]+))?", entry)
        if flag is not None:
            default = re.search(r"\[([^\]]*)\]\s*(?:\n\S|\n\n|$)", entry)
            found[flag[1]] = (flag[2] or "", " ".join(default[1].split()) if default is not None else "")
    return found


# A robot in Python has no step() of its own that it could implement alone; and --version is the top command's.
NATIVE_ONLY = {"serve": {"--legacy", "--version"}, "probe": {"--version"}}


@pytest.mark.parametrize(("ours", "native"), [("serve", "chiral-serve"), ("probe", "chiral-probe")])
def test_options_are_those_of_the_native_programs(ours: str, native: str) -> None:
    (program,) = [program for program in os.environ["CHIRAL_PROGRAMS"].split(":") if program.endswith(native)]
    told = [subprocess.run([*command, "--help"], capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": "120"}).stdout
            for command in (chiral_command(ours), [program])]
    here, there = map(options_of, told)
    assert len(here) > 9
    assert there.keys() - here.keys() == NATIVE_ONLY[ours] and not here.keys() - there.keys(), "the same names"
    assert here == {flag: there[flag] for flag in here}, "the same values and defaults"
