# SPDX-License-Identifier: Apache-2.0
"""The policy of the examples controls the robot of the examples; both end well.

    robot_and_policy.py MINIMAL_ROBOT POLICY_CLIENT
"""
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request

DEADLINE = 60.0
ACTIONS = 5


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def count(text, what):
    found = re.search(rf"([0-9]+) {what}", text)
    assert found, f"nothing of {what} in: {text}"
    return int(found[1])


def wait_until_applied(port):
    """The policy has sent them, and is gone: a robot that is stopped now would drop those whose turn has not come."""
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=DEADLINE) as answer:
            applied = re.search(r"^chiral_actions_applied_total ([0-9]+)$", answer.read().decode(), re.MULTILINE)
        if int(applied[1]) == ACTIONS:
            return
        time.sleep(0.01)
    raise AssertionError(f"the robot has applied {applied[1]} actions in a minute, expected {ACTIONS}")


def main(robot_program, policy_program):
    port = free_port()  # the client waits until the robot has opened it
    robot = subprocess.Popen([robot_program, str(port)], stdout=subprocess.PIPE, text=True)
    try:
        policy = subprocess.run([policy_program, f"ws://127.0.0.1:{port}", str(ACTIONS)], capture_output=True, text=True,
                                timeout=DEADLINE, check=False)
        assert policy.returncode == 0, policy.stderr
        assert count(policy.stdout, "actions") == ACTIONS, policy.stdout
        assert count(policy.stdout, "observations") >= 1, policy.stdout
        wait_until_applied(port)
        robot.send_signal(signal.SIGINT)
        output, _ = robot.communicate(timeout=DEADLINE)
        assert robot.returncode == 0, robot.returncode
        assert count(output, "actions") == ACTIONS, output
        assert count(output, "observations") >= 1, output
    finally:
        robot.kill()
    print("robot and policy: ok")


if __name__ == "__main__":
    main(*sys.argv[1:])
