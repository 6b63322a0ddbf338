# SPDX-License-Identifier: Apache-2.0
"""The documented Python programs with ours, in both directions: chiral-serve --zenoh with their client, chiral-probe with their
server. Over Zenoh itself, on loopback.

    interop_test.py        CHIRAL_SERVE and CHIRAL_PROBE are the programs
"""
import json
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "tools"))

import zenoh  # noqa: E402

import documented  # noqa: E402
from programs import PROBE, SERVE, Program, run  # noqa: E402


def free_port():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


class Robot:
    """chiral-serve, at a port of Zenoh's own."""

    def __init__(self, *arguments):
        size = () if "--size" in arguments else ("--size", "64x48")
        self.program = Program(SERVE, "--port", "0", "--zenoh", "--zenoh-port", "0", *size, *arguments)
        self.port = int(re.search(r"127\.0\.0\.1:(\d+)/", self.program.wait_line("zenoh://")).group(1))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.program.kill()


class Interop(unittest.TestCase):
    def test_a_documented_client_is_served(self):
        with Robot() as robot:
            client = documented.Client(robot.port)
            self.addCleanup(client.close)
            self.assertIsInstance(client.connect(), dict)
            header, payload = client.ask("reset")
            self.assertEqual(header["type"], "reset_response")
            for _ in range(5):
                client.act([0.1] * 7)
                header, payload = client.ask("obs_request")
                self.assertEqual(header["type"], "obs_response")
                self.assertEqual([camera["image_shape"] for camera in header["cameras"]], [[48, 64, 3]] * 2)
                self.assertEqual(sum(c["image_size"] for c in header["cameras"]) + sum(p["size"] for p in header["proprios"]),
                                 len(payload))
            robot.program.end()
            self.assertRegex(robot.program.output, r"5 actions received, 5 applied")

    def test_a_documented_server_is_asked(self):
        port = free_port()
        server = documented.Server(port)
        self.addCleanup(server.close)
        with tempfile.NamedTemporaryFile() as numbers:
            told = run(PROBE, f"tcp/127.0.0.1:{port}", "--count", "5", "--json", numbers.name)
        self.assertEqual(told.returncode, 0, told.stderr)
        self.assertIn("documented", told.stdout)

    def test_ours_with_ours(self):
        with Robot("--zenoh-prefix", "robots/arm7") as robot:
            told = run(PROBE, f"zenoh://127.0.0.1:{robot.port}/robots/arm7", "--count", "20")
            self.assertEqual(told.returncode, 0, told.stderr)
            self.assertRegex(told.stdout, r"\b20 ")

    def test_a_robot_that_was_stopped_refuses_what_was_meant_for_the_past(self):
        # Zenoh gives a link up that is silent for two seconds; a busy machine may take longer to come back.
        with tempfile.NamedTemporaryFile("w", suffix=".json5") as patient:
            patient.write("{transport: {link: {tx: {lease: 60000}}}}")
            patient.flush()
            # What is read within half of what an action may wait counts as of before the stop.
            with Robot("--zenoh-config", patient.name, "--action-delay-ms", "1000") as robot:
                client = documented.Client(robot.port)
                self.addCleanup(client.close)
                client.connect()
                client.act([0.1] * 7)
                client.ask("obs_request")
                pid = robot.program.process.pid
                os.kill(pid, signal.SIGSTOP)
                os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)
                for _ in range(20):
                    client.act([0.2] * 7)
                time.sleep(2.0)  # twice what an action may wait: it is time itself that has to pass
                os.kill(pid, signal.SIGCONT)
                late, end = 0, time.monotonic() + documented.DEADLINE
                while late < 20 and time.monotonic() < end:  # each answer tells of those since the one before
                    late += client.ask("obs_request")[0].get("extra", {}).get("chiral.actions_late", 0)
                self.assertEqual(late, 20)

    def test_a_client_that_is_stopped_in_the_middle_of_large_answers_loses_control_and_the_next_one_gets_it(self):
        with Robot("--size", "640x480", "--cameras", "4") as robot:
            address = f"zenoh://127.0.0.1:{robot.port}"
            client = Program(PROBE, address, "--seconds", "600")
            self.addCleanup(client.kill)
            client.wait_line("per observation")  # it is in, and would not just try again
            os.kill(client.process.pid, signal.SIGSTOP)
            robot.program.wait_line("gone: ")
            told = run(PROBE, address, "--count", "3")
            self.assertEqual(told.returncode, 0, told.stderr)
            os.kill(client.process.pid, signal.SIGCONT)
            self.assertNotEqual(client.wait(), 0)

    def test_whoever_subscribes_gets_the_stream_and_the_figures(self):
        with Robot("--zenoh-stream-hz", "20", "--zenoh-metrics") as robot:
            session = documented.session(connect=[f"tcp/127.0.0.1:{robot.port}"])
            self.addCleanup(session.close)
            stream, figures = queue.Queue(), queue.Queue()
            subscribers = [session.declare_subscriber("chiral/stream", lambda sample: stream.put(bytes(sample.payload))),
                           session.declare_subscriber("chiral/metrics/**", figures.put)]
            sequences = []
            for _ in range(3):
                header, _ = documented.decode(stream.get(timeout=documented.DEADLINE))
                self.assertEqual(header["type"], "obs_response")
                sequences.append(header["cameras"][0]["sequence"])
            self.assertEqual(sequences, sorted(set(sequences)))
            wanted = {"chiral/metrics/chiral_clients", "chiral/metrics/chiral_source_rate_hz/camera/cam_0"}
            for _ in range(1000):
                figure = figures.get(timeout=documented.DEADLINE)
                float(figure.payload.to_string())
                wanted.discard(str(figure.key_expr))
                if not wanted:
                    break
            self.assertEqual(wanted, set())
            del subscribers

    def test_whoever_does_not_know_the_token_hears_nothing_and_moves_nothing(self):
        with Robot("--token", "right") as robot:
            address, endpoint = f"zenoh://127.0.0.1:{robot.port}", f"tcp/127.0.0.1:{robot.port}"
            for wrong in (None, "wrong"):
                with self.assertRaises(zenoh.ZError):
                    documented.session(mode="client", token=wrong, connect=[endpoint])
                told = run(PROBE, address, *(("--token", wrong) if wrong else ()), "--count", "1", "--timeout", "3")
                self.assertEqual(told.returncode, 1, told.stdout + told.stderr)
                self.assertIn("token", told.stderr)
            # A peer's session opens, and goes on trying.
            stranger, friend = documented.session(connect=[endpoint]), documented.session(token="right", connect=[endpoint])
            self.addCleanup(stranger.close)
            self.addCleanup(friend.close)
            overheard, heard = queue.Queue(), queue.Queue()
            subscribers = [stranger.declare_subscriber("chiral/**", overheard.put), friend.declare_subscriber("chiral/**", heard.put)]
            client = Program(PROBE, address, "--token", "right", "--seconds", "600")
            self.addCleanup(client.kill)
            client.wait_line("per observation")
            message = documented.encode({"type": "nonsense"})
            hello = str(heard.get(timeout=documented.DEADLINE).key_expr)
            self.assertIn("chiral/c2s/", hello)
            # What would end the session of the client, if anybody listened.
            stranger.put(hello, message)
            told = run(PROBE, address, "--token", "right", "--count", "3", "--timeout", "3")
            self.assertIn("Another client controls this robot", told.stderr)
            self.assertEqual([bytes(sample.payload) for sample in list(overheard.queue)], [message])  # its own
            friend.put(hello, message)  # and it does: this one may
            robot.program.wait_line("gone: ")
            del subscribers

    def test_tls_with_certificates_of_both_sides_is_zenohs_own(self):
        with tempfile.TemporaryDirectory() as folder:
            def openssl(*arguments):
                subprocess.run(["openssl", *arguments], check=True, capture_output=True, cwd=folder)

            new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
            openssl("req", "-x509", *new_key, "-days", "1", "-keyout", "site.key", "-out", "site.pem", "-subj", "/CN=site")
            with open(f"{folder}/names", "w", encoding="utf-8") as names:
                names.write("subjectAltName=IP:127.0.0.1\n")
            for name in ("robot", "policy"):
                openssl("req", *new_key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
                openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "site.pem", "-CAkey", "site.key", "-CAcreateserial",
                        "-days", "1", "-extfile", "names", "-out", f"{name}.pem")

            def configuration(of, **more):
                path = f"{folder}/{of}.json5"
                tls = {"root_ca_certificate": f"{folder}/site.pem", "enable_mtls": True}
                for end in ("listen", "connect"):
                    tls |= {f"{end}_private_key": f"{folder}/{of}.key", f"{end}_certificate": f"{folder}/{of}.pem"}
                with open(path, "w", encoding="utf-8") as file:
                    json.dump({"transport": {"link": {"tls": tls}}} | more, file)
                return path

            port = free_port()
            listen = {"listen": {"endpoints": [f"tls/127.0.0.1:{port}"]}}
            robot = Program(SERVE, "--port", "0", "--zenoh", "--zenoh-port", str(port), "--size", "64x48",
                            "--zenoh-config", configuration("robot", **listen))
            self.addCleanup(robot.kill)
            robot.wait_line("zenoh://")
            address, config = f"tls/127.0.0.1:{port}", configuration("policy")
            told = run(PROBE, address, "--zenoh-config", config, "--count", "3")
            self.assertEqual(told.returncode, 0, told.stderr)
            for stranger in ([address], [f"tcp/127.0.0.1:{port}"]):
                told = run(PROBE, *stranger, "--count", "1", "--timeout", "3")
                self.assertEqual(told.returncode, 1, told.stdout + told.stderr)

    def test_a_second_controller_is_refused_and_the_first_goes_on(self):
        with Robot() as robot:
            client = documented.Client(robot.port)
            client.connect()
            told = run(PROBE, f"zenoh://127.0.0.1:{robot.port}", "--count", "1", "--timeout", "2")
            self.assertNotEqual(told.returncode, 0)
            self.assertIn("Another client controls this robot", told.stderr)
            self.assertEqual(client.ask("obs_request")[0]["type"], "obs_response")
            client.close()
            # Gone with its subscription, long before it would have been silent for too long.
            told = run(PROBE, f"zenoh://127.0.0.1:{robot.port}", "--count", "1")
            self.assertEqual(told.returncode, 0, told.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
