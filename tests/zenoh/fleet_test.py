# SPDX-License-Identifier: Apache-2.0
"""Three simulated robots and their clients on one Zenoh router: who is found, and who is in control when a link is cut, the router
dies, or a robot dies.

    fleet_test.py        CHIRAL_SERVE and CHIRAL_PROBE are the programs

Where this may make network namespaces, it moves into one with the router and the clients, and each robot is in one of its own at
the end of a cable. Where it may not, each robot reaches the router through a relay, which can stop to pass anything on. Either way
a link that is cut is as one whose plug is out: nobody is told that the other end is gone.
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
IN_A_NAMESPACE = "CHIRAL_IN_A_NETWORK_NAMESPACE"


def ip(*words, inside=()):
    subprocess.run([*inside, "ip", *words], check=True)


class Cable:
    """A pair of veth devices, the far one in a namespace of its own."""

    count = 0
    here = "0.0.0.0"  # where the router listens, in the namespace of the test

    def __init__(self, router_port):
        Cable.count += 1
        self._near, network = f"cable{Cable.count}", f"10.77.{Cable.count}"
        self._holder = subprocess.Popen(["unshare", "--net", "--", "sh", "-c", "echo; read end"],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._holder.stdout.read(1)
        there = str(self._holder.pid)
        self.inside = ("nsenter", "--target", there, "--net", "--")
        ip("link", "add", self._near, "type", "veth", "peer", "name", "plug", "netns", there)
        ip("address", "add", f"{network}.1/24", "dev", self._near)
        ip("address", "add", f"{network}.2/24", "dev", "plug", inside=self.inside)
        for device in ("lo", "plug"):
            ip("link", "set", device, "up", inside=self.inside)
        self.cut = False
        self.router = f"tcp/{network}.1:{router_port}"

    @property
    def cut(self):
        return self._cut

    @cut.setter
    def cut(self, cut):
        self._cut = cut
        ip("link", "set", self._near, "down" if cut else "up")

    def close(self):
        self._holder.communicate()  # the end of its input is its end, and that of the devices


class Relay:
    """Passes connections on to a port, both ways, as long as it is not cut."""

    here = "127.0.0.1"
    inside = ()

    def __init__(self, router_port):
        self.cut = False
        self._to = router_port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.router = f"tcp/127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        pass  # it ends with the test

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
            [sys.executable, os.path.join(os.path.dirname(__file__), "router.py"), LINK.here, str(self.port)],
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
        self.links = {name: LINK(self.router.port) for name in ROBOTS}
        for link in self.links.values():
            self.addCleanup(link.close)
        self.robots = {name: self.robot(name) for name in ROBOTS}
        self.look = documented.session(mode="client", connect=[f"tcp/127.0.0.1:{self.router.port}"])
        self.addCleanup(self.look.close)
        self.assertTrue(becomes_true(lambda: self.seen() == set(ROBOTS)), self.seen())

    def robot(self, name):
        program = Program(
            *self.links[name].inside, SERVE, "--port", "0", "--size", "64x48", "--zenoh", "--zenoh-port", "0", "--zenoh-prefix", f"robots/{name}",
            "--zenoh-connect", self.links[name].router)
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
        self.links["arm2"].cut = True
        self.robots["arm2"].wait_line("gone: its Zenoh session is gone")
        self.assertNotEqual(client.wait(), 0)
        self.assertTrue(becomes_true(lambda: self.seen() == {"arm1", "arm3"}), self.seen())
        self.assertEqual(self.ask("arm1").returncode, 0)
        self.links["arm2"].cut = False
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


def may_make_namespaces():
    try:
        made = subprocess.run(["unshare", "--net", "--", "ip", "link", "add", "near", "type", "veth", "peer", "name", "far"],
                              capture_output=True, check=False)
    except FileNotFoundError:
        return False
    return made.returncode == 0


if __name__ == "__main__":
    if IN_A_NAMESPACE not in os.environ and may_make_namespaces():
        os.environ[IN_A_NAMESPACE] = "yes"
        os.execvp("unshare", ["unshare", "--net", "--", sys.executable, "-B", *sys.argv])
    LINK = Cable if IN_A_NAMESPACE in os.environ else Relay
    print("links:", "network namespaces" if LINK is Cable else "relays, since this may not make network namespaces", flush=True)
    if LINK is Cable:
        ip("link", "set", "lo", "up")
    unittest.main(verbosity=2)
