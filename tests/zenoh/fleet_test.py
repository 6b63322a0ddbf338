# SPDX-License-Identifier: Apache-2.0
"""Three simulated robots and their clients on one Zenoh router: who is found, and who is in control when a link is cut, the router
dies, or a robot dies.

    fleet_test.py        CHIRAL_SERVE and CHIRAL_PROBE are the programs

Each robot reaches the router through a relay of its own, which can stop to pass anything on, as a network does whose cable is out:
nobody is told that the other end is gone. That needs no privileges.
"""
import os
import select
import socket
import subprocess
import sys
import threading
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "tools"))

import documented  # noqa: E402
from programs import PROBE, SERVE, Program, becomes_true, run  # noqa: E402

ROBOTS = ("arm1", "arm2", "arm3")


class Relay:
    """Passes connections on to a port, both ways, as long as it is not cut."""

    def __init__(self, port):
        self.cut = False
        self._to = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            near, _ = self._listening.accept()
            try:
                far = socket.create_connection(("127.0.0.1", self._to))
            except OSError:
                near.close()
                continue
            threading.Thread(target=self._pass, args=(near, far), daemon=True).start()

    def _pass(self, near, far):
        other = {near: far, far: near}
        try:
            while True:
                for ready in select.select(list(other), [], [], 0.05)[0]:
                    data = ready.recv(65536)
                    if not data:
                        return
                    if not self.cut:
                        other[ready].sendall(data)
        except OSError:
            pass
        finally:
            near.close()
            far.close()


class Router:
    def __init__(self, port):
        self.port = port
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            [sys.executable, os.path.join(os.path.dirname(__file__), "router.py"), str(self.port)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "routing\n"

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


def free_port():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


class Fleet(unittest.TestCase):
    def setUp(self):
        self.router = Router(free_port())
        self.addCleanup(lambda: self.router.kill())
        self.relays = {name: Relay(self.router.port) for name in ROBOTS}
        self.robots = {name: self.robot(name) for name in ROBOTS}
        self.look = documented.session(mode="client", connect=[f"tcp/127.0.0.1:{self.router.port}"])
        self.addCleanup(self.look.close)
        self.assertTrue(becomes_true(lambda: self.seen() == set(ROBOTS)), self.seen())

    def robot(self, name):
        program = Program(
            SERVE, "--port", "0", "--size", "64x48", "--zenoh", "--zenoh-port", "0", "--zenoh-prefix", f"robots/{name}",
            "--zenoh-connect", f"tcp/127.0.0.1:{self.relays[name].port}")
        self.addCleanup(program.kill)
        program.wait_line("zenoh://")
        return program

    def seen(self):
        keys = [str(reply.ok.key_expr) for reply in self.look.liveliness().get("robots/*/@chiral/robot/*", timeout=2.0) if reply.ok]
        return {key.split("/")[1] for key in keys}

    def uri(self, name):
        return f"zenoh://127.0.0.1:{self.router.port}/robots/{name}"

    def controls(self, name):
        """A client that acts, until it is ended."""
        client = Program(PROBE, self.uri(name), "--act", "--seconds", "600", "--hz", "10")
        self.addCleanup(client.kill)
        self.robots[name].wait_line("connected")
        return client

    def ask(self, name):
        return run(PROBE, self.uri(name), "--count", "3", "--timeout", "20")

    def test_everybody_is_found_and_one_client_controls_one_robot(self):
        self.controls("arm2")
        refused = self.ask("arm2")
        self.assertNotEqual(refused.returncode, 0)
        self.assertIn("Another client controls this robot", refused.stderr)
        for other in ("arm1", "arm3"):
            self.assertEqual(self.ask(other).returncode, 0)
        self.robots["arm2"].end()
        self.assertRegex(self.robots["arm2"].output, r"1 client,")

    def test_a_robot_whose_link_is_cut_stops_and_comes_back_alone(self):
        client = self.controls("arm2")
        self.relays["arm2"].cut = True
        self.robots["arm2"].wait_line("gone: its Zenoh session is gone")
        self.assertNotEqual(client.wait(), 0)
        self.assertTrue(becomes_true(lambda: self.seen() == {"arm1", "arm3"}), self.seen())
        self.assertEqual(self.ask("arm1").returncode, 0)
        self.relays["arm2"].cut = False
        self.assertTrue(becomes_true(lambda: self.seen() == set(ROBOTS)), self.seen())
        self.assertEqual(self.ask("arm2").returncode, 0)

    def test_without_its_router_nobody_is_in_control_and_then_all_come_back(self):
        client = self.controls("arm3")
        self.router.kill()
        self.robots["arm3"].wait_line("gone: its Zenoh session is gone")
        self.assertNotEqual(client.wait(), 0)
        self.router.start()
        self.assertTrue(becomes_true(lambda: self.seen() == set(ROBOTS)), self.seen())
        self.assertEqual(self.ask("arm3").returncode, 0)

    def test_a_robot_that_dies_is_gone_for_its_client_and_for_nobody_else(self):
        client, other = self.controls("arm1"), self.controls("arm2")
        self.robots["arm1"].kill()
        self.assertNotEqual(client.wait(), 0)
        self.assertTrue(becomes_true(lambda: self.seen() == {"arm2", "arm3"}), self.seen())
        self.assertIsNone(other.process.poll())
        self.robots["arm1"] = self.robot("arm1")
        self.assertTrue(becomes_true(lambda: self.seen() == set(ROBOTS)), self.seen())
        self.assertEqual(self.ask("arm1").returncode, 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
