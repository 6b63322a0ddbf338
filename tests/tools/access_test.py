# SPDX-License-Identifier: Apache-2.0
"""chiral-serve with TLS and a token, and who gets in: chiral-probe, and a client that is not ours."""
import asyncio
import contextlib
import os
import re
import select
import signal
import ssl
import struct
import subprocess
import tempfile
import unittest
import urllib.request
from unittest import mock

import msgpack
import websockets

import programs
from programs import PROBE, SERVE

SMALL = ("--size", "64x48", "--camera-hz", "20", "--proprio-hz", "50")
TOKEN = "s3cret-Token"


def frame(header):
    packed = msgpack.packb(header)
    return struct.pack("<I", len(packed)) + packed


class AccessTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="chiral-access-")
        self.addCleanup(folder.cleanup)
        self.cert, self.key, self.token = (os.path.join(folder.name, name) for name in ("cert.pem", "key.pem", "token"))
        # As README.md has it.
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                        "-days", "365", "-keyout", self.key, "-out", self.cert, "-subj", "/CN=robot.lan",
                        "-addext", "subjectAltName=DNS:robot.lan,IP:127.0.0.1"],
                       check=True, capture_output=True, timeout=programs.DEADLINE)
        with open(self.token, "w", encoding="ascii") as file:
            file.write(TOKEN + "\n")
        environment = mock.patch.dict(os.environ)
        environment.start()
        self.addCleanup(environment.stop)
        os.environ.pop("CHIRAL_TOKEN", None)

    def serve(self, *more):
        return programs.serve(*SMALL, "--tls-cert", self.cert, "--tls-key", self.key, "--token-file", self.token, *more)

    def probe(self, uri, *arguments, code=0):
        result = programs.run(PROBE, uri, "--count", "3", *arguments)
        self.assertEqual(result.returncode, code, result.stdout + result.stderr)
        self.assertNotIn(TOKEN, result.stdout + result.stderr)
        return result

    def test_the_probe_gets_in_with_certificate_and_token_only(self):
        with self.serve() as (server, uri):
            self.assertRegex(uri, r"^wss://127\.0\.0\.1:[1-9][0-9]*$")
            known = ("--ca", self.cert)
            result = self.probe(uri, *known, "--token-file", self.token)
            self.assertRegex(result.stdout, r"observations +3 in ")
            self.assertNotIn("WARNING", result.stderr)
            self.probe(uri, *known, "--token", TOKEN)
            self.probe(uri + "/observe", *known, "--token", TOKEN)
            self.probe(uri + "/?access_token=" + TOKEN, *known)

            refused = self.probe(uri, *known, code=1).stderr
            self.assertIn("HTTP 401", refused)
            self.assertIn("--token-file", refused)
            self.assertIn("not the server's", self.probe(uri, *known, "--token", "wrong", code=1).stderr)
            refused = self.probe(uri, "--token-file", self.token, code=1).stderr
            self.assertIn("certificate is not trusted", refused)
            self.assertIn("--ca", refused)
            self.assertIn("certificate is for 'robot.lan', '127.0.0.1', not 'localhost'",
                          self.probe(uri.replace("127.0.0.1", "localhost"), *known, "--token", TOKEN, code=1).stderr)
            self.assertIn("wss://", self.probe(uri.replace("wss://", "ws://"), "--token", TOKEN, code=1).stderr)
            os.environ["CHIRAL_TOKEN"] = TOKEN
            self.assertIn("WARNING", self.probe(uri, "--insecure").stderr)
            self.assertEqual(server.end(), 0, server.output)
            self.assertNotIn(TOKEN, server.output)
            self.assertRegex(server.output, r"[1-9][0-9]* clients turned away")

    def test_a_foreign_client_gets_an_observation_over_tls(self):
        async def observe(uri):
            context = ssl.create_default_context(cafile=self.cert)
            headers = {"Authorization": "Bearer " + TOKEN}
            async with websockets.connect(uri, ssl=context, extra_headers=headers, max_size=None) as socket:
                await socket.send(frame({"type": "obs_request"}))
                message = await socket.recv()
                # Of a client that is gone again before on_connect() could be called, no hook is told, though it was answered.
                await asyncio.to_thread(server.wait_line, " is in control")
                return message

        with self.serve() as (server, uri):
            message = asyncio.run(asyncio.wait_for(observe(uri), programs.DEADLINE))
            (length,) = struct.unpack_from("<I", message)
            header = msgpack.unpackb(message[4:4 + length])
            self.assertEqual(header["type"], "obs_response")
            self.assertEqual([camera["image_shape"] for camera in header["cameras"]], [[48, 64, 3]] * 2)
            self.assertGreaterEqual(len(message) - 4 - length, 2 * 48 * 64 * 3)
            server.wait_line("no client is in control")
            self.assertEqual(server.end(), 0, server.output)
            self.assertNotIn("malformed", server.output)

    def test_the_token_may_come_from_the_environment(self):
        os.environ["CHIRAL_TOKEN"] = TOKEN
        with programs.serve(*SMALL) as (_, uri):
            self.probe(uri)
            del os.environ["CHIRAL_TOKEN"]
            self.assertIn("HTTP 401", self.probe(uri, code=1).stderr)

    def test_the_arm_holds_when_its_client_is_late_or_gone_and_says_so(self):
        with programs.serve(*SMALL, "--action-timeout-ms", "50") as (server, uri):
            result = programs.run(PROBE, uri, "--legacy", "--count", "2")
            self.assertEqual(result.returncode, 0, result.stderr)
            server.wait_line("is in control")
            server.wait_line("no client is in control")
            self.assertRegex(server.output, r"(?m)^no client is in control \(.*\); the arm holds its position$")

            async def act_once(uri):
                async with websockets.connect(uri) as socket:
                    header = {"type": "apply_action", "shape": [1, 7], "dtype": "float32"}
                    await socket.send(frame(header) + struct.pack("<7f", *[0.1] * 7))
                    await asyncio.to_thread(server.wait_line, "no action came in time")

            asyncio.run(asyncio.wait_for(act_once(uri), programs.DEADLINE))

    def test_a_terminal_that_is_stopped_keeps_nobody_from_stopping_the_arm_or_the_program(self):
        def fill(pipe):
            os.set_blocking(pipe, False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    os.write(pipe, b"x" * 4096)
            os.set_blocking(pipe, True)

        out, err = os.pipe(), os.pipe()
        for pipe in (*out, *err):
            self.addCleanup(os.close, pipe)
        server = subprocess.Popen([SERVE, "--port", "0", *SMALL, "--action-timeout-ms", "50", "--camera", "clip,8x8,cmd:head -c 192 /dev/zero"],
                                  stdin=subprocess.DEVNULL, stdout=out[1], stderr=err[1])
        self.addCleanup(server.wait)
        self.addCleanup(server.kill)
        fill(err[1])
        told = b""
        while b"end with Ctrl-C" not in told:  # its last line until a client comes
            self.assertTrue(select.select([out[0]], [], [], programs.DEADLINE)[0], f"it says no more than {told!r}")
            told += os.read(out[0], 4096)
        address = re.search(rb"listening on ws://(\S+)", told)[1].decode()
        fill(out[1])

        def counted(metric):
            with urllib.request.urlopen(f"http://{address}/metrics", timeout=programs.DEADLINE) as answer:
                return int(re.search(rf"(?m)^{re.escape(metric)} (\d+)$", answer.read().decode())[1])

        async def act_until_it_is_late(timeouts):
            async with websockets.connect(f"ws://{address}") as socket:
                header = {"type": "apply_action", "shape": [1, 7], "dtype": "float32"}
                await socket.send(frame(header) + struct.pack("<7f", *[0.1] * 7))
                late = lambda: counted("chiral_action_timeouts_total") >= timeouts
                self.assertTrue(await asyncio.to_thread(programs.becomes_true, late), f"{timeouts}. client: no time-out came")

        for client in (1, 2):  # the second comes when on_disconnect() of the first has returned
            asyncio.run(asyncio.wait_for(act_until_it_is_late(client), 2 * programs.DEADLINE))
        frames = lambda: counted('chiral_source_samples_total{kind="camera",source="clip"}')
        self.assertTrue(programs.becomes_true(lambda: frames() >= 3), "the camera's command is started again")
        server.send_signal(signal.SIGINT)
        self.assertEqual(server.wait(programs.DEADLINE), 0)

    def test_the_gate_stops_what_the_arm_cannot_do(self):
        async def act(uri, value, observations):
            async with websockets.connect(uri, max_size=None) as socket:
                header = {"type": "apply_action", "shape": [1, 7], "dtype": "float32"}
                await socket.send(frame(header) + struct.pack("<7f", *[value] * 7))
                # The gate is asked on the action thread: what it says may come some observations later.
                for _ in range(observations):
                    await socket.send(frame({"type": "obs_request"}))
                    message = await socket.recv()
                    (length,) = struct.unpack_from("<I", message)
                    extra = msgpack.unpackb(message[4:4 + length]).get("extra", {})
                    if "chiral.action_reason" in extra:
                        return extra
                return {}

        for mode, rejected, clamped in (("reject", 1, 0), ("clamp", 0, 1), ("off", 0, 0)):
            with self.subTest(mode), programs.serve(*SMALL, "--gate", mode) as (_, uri):
                observations = 3 if mode == "off" else 1000
                extra = asyncio.run(asyncio.wait_for(act(uri, 4.0, observations), programs.DEADLINE))
                self.assertEqual(extra.get("chiral.actions_rejected", 0), rejected, extra)
                self.assertEqual(extra.get("chiral.actions_clamped", 0), clamped, extra)

    def test_an_observer_that_acts_is_told_that_it_may_not(self):
        with programs.serve(*SMALL) as (_, uri):
            self.probe(uri + "/observe")
            self.assertIn("Observers may only look", self.probe(uri + "/observe", "--legacy", code=1).stderr)
        with programs.serve(*SMALL, "--observers", "0") as (_, uri):
            self.assertIn("seats for observers", self.probe(uri + "/observe", code=1).stderr)

    def test_mistakes_are_told_and_end_with_1(self):
        missing = self.token + ".missing"
        for program, arguments, wanted in (
                (SERVE, ["--tls-cert", self.cert], "expected both"),
                (SERVE, ["--tls-key", self.key], "expected both"),
                (SERVE, ["--tls-cert", missing, "--tls-key", self.key], f"TLS certificate file '{missing}'"),
                (SERVE, ["--tls-cert", self.cert, "--tls-key", self.cert], f"TLS private key file '{self.cert}'"),
                (SERVE, ["--token-file", missing], "No such file"),
                (SERVE, ["--token-file", os.devnull], "expected the token"),
                (SERVE, ["--token", "a", "--token-file", self.token], "one of them only"),
                (SERVE, ["--gate", "maybe"], "--gate"),
                (SERVE, ["--observers", "99"], "--observers"),
                (PROBE, ["wss://x", "--token-file", missing], "No such file"),
                (PROBE, ["wss://x", "--ca", missing], "tls_ca_file"),
                (PROBE, ["wss://x", "--ca", self.cert, "--insecure"], "--insecure")):
            with self.subTest(arguments):
                result = programs.run(program, *arguments)
                self.assertIn(result.returncode, (1, 2), result.stdout + result.stderr)
                self.assertIn(wanted, result.stderr + result.stdout)

    def test_the_robot_that_everybody_may_move_is_called_so_once(self):
        with programs.serve(*SMALL, "--host", "0.0.0.0") as (server, _):
            server.wait_line("WARNING")
            self.assertEqual(server.end(), 0)
            self.assertEqual(server.output.count("WARNING"), 1, server.output)

    def test_help_shows_every_option(self):
        for program, words in ((SERVE, ("--token", "--token-file", "CHIRAL_TOKEN", "--tls-cert", "--tls-key", "--origin",
                                        "--takeover", "--action-timeout-ms", "--action-delay-ms", "--heartbeat-ms", "--deaf-ms",
                                        "--idle-ms", "--control-hz", "--observers", "--gate",
                                        "Other users", "Robot:", "Control:", "Access:", "openssl")),
                               (PROBE, ("--token", "--token-file", "CHIRAL_TOKEN", "--ca", "--insecure", "Other users",
                                        "wss://"))):
            text = programs.run(program, "--help").stdout
            for word in words:
                self.assertIn(word, text)


if __name__ == "__main__":
    unittest.main(verbosity=2)
