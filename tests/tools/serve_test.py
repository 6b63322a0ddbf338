# SPDX-License-Identifier: Apache-2.0
"""chiral-serve as a user meets it at the command line."""
import os
import re
import signal
import socket
import subprocess
import tempfile
import time
import unittest

import programs
from programs import PROBE, SERVE

SMALL = ("--size", "64x48", "--camera-hz", "20", "--proprio-hz", "50")


class ServeTest(unittest.TestCase):
    def test_says_where_it_listens_and_ends_cleanly_at_ctrl_c(self):
        for sig in (signal.SIGINT, signal.SIGTERM):
            with programs.serve(*SMALL) as (server, uri):
                self.assertRegex(uri, r"^ws://127\.0\.0\.1:[1-9][0-9]*$")
                self.assertEqual(server.end(sig), 0, server.output)
                self.assertRegex(server.output, r"(?m)^served [0-9.]+ s: 0 clients, 0 observations", server.output)

    def test_the_first_line_is_exactly_the_listening_line(self):
        with programs.serve(*SMALL) as (server, uri):
            self.assertEqual(server.output, f"listening on {uri}\n")

    def test_goes_on_when_nobody_reads_its_output_any_more(self):  # chiral-serve | head -1
        process = subprocess.Popen([SERVE, "--port", "0", *SMALL], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        self.addCleanup(process.kill)
        uri = process.stdout.readline().removeprefix("listening on ").strip()
        process.stdout.close()
        self.assertEqual(programs.run(PROBE, uri, "--count", "1").returncode, 0)
        process.send_signal(signal.SIGINT)
        self.assertIn(process.wait(programs.DEADLINE), (0, 1))  # and was not killed by SIGPIPE at its last words

    def test_ends_by_itself_after_the_given_time(self):
        with programs.serve(*SMALL, "--seconds", "0.3") as (server, _):
            self.assertEqual(server.wait(), 0, server.output)

    def test_a_busy_port_is_a_clear_error_at_once(self):
        with programs.serve(*SMALL) as (_, uri):
            port = uri.rsplit(":", 1)[1]
            begin = time.monotonic()
            second = programs.run(SERVE, "--port", port, *SMALL)
            self.assertEqual(second.returncode, 1)
            self.assertLess(time.monotonic() - begin, 20.0)
            self.assertIn(f"127.0.0.1:{port} is in use", second.stderr)
            self.assertIn("--port", second.stderr)
            self.assertEqual(second.stdout, "")

    def test_a_busy_local_socket_is_named_and_not_the_port(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "robot")
            with programs.serve(*SMALL, "--local-socket", path):
                second = programs.run(SERVE, "--port", "0", "--local-socket", path, *SMALL)
        self.assertEqual((second.returncode, second.stdout), (1, ""))
        self.assertIn(f"{path} is in use by another program; choose another path with --local-socket", second.stderr)

    def test_as_many_local_clients_as_asked_for_may_read_directly(self):
        def offered(path):
            client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self.addCleanup(client.close)
            client.settimeout(programs.DEADLINE)
            client.connect(path)
            client.send(b"Hversion=3\nwants=control\ndirect=1\n" if not clients else b"Hversion=3\nwants=observe\ndirect=1\n")
            clients.append(client)
            welcome, descriptors, _, _ = socket.recv_fds(client, 65536, 4)
            for descriptor in descriptors:
                os.close(descriptor)
            self.assertEqual(welcome[:1], b"W", welcome)
            return b"\ndirect=1\n" in welcome

        for readers, expected in (((), [False, False]), (("--direct-readers", "1"), [True, False])):
            clients = []
            with tempfile.TemporaryDirectory() as folder:
                path = os.path.join(folder, "robot")
                with programs.serve(*SMALL, "--local-socket", path, *readers) as (server, _):
                    self.assertEqual(server.wait_line("unix://"), f"and on unix://{path}")
                    self.assertEqual([offered(path), offered(path)], expected)

    def test_mistakes_in_the_options_are_told_and_end_with_2(self):
        for arguments, wanted in (
                (["--size", "big"], "expected WIDTHxHEIGHT"),
                (["--camera", "clip"], "expected NAME,WIDTHxHEIGHT,cmd:COMMAND"),
                (["--port", "70000"], "--port"),
                (["--joints", "0"], "--joints"),
                (["--cameras", "-1"], "--cameras"),
                (["--frobnicate"], "--frobnicate"),
                (["--direct-readers", "1"], "--direct-readers needs --local-socket"),
                (["--direct-readers", "5", "--local-socket", "/nowhere"], "--direct-readers"),
                (["--zenoh-prefix", "foo"], "--zenoh-prefix needs --zenoh"),
                (["--zenoh-port", "0"], "--zenoh-port needs --zenoh"),
                (["--camera", "twice,4x4,cmd:true", "--camera", "twice,4x4,cmd:true"], "twice")):
            result = programs.run(SERVE, *arguments)
            self.assertEqual(result.returncode, 2, arguments)
            self.assertIn(wanted, result.stderr + result.stdout, arguments)

    def test_help_shows_every_option_and_examples(self):
        result = programs.run(SERVE, "--help")
        self.assertEqual(result.returncode, 0)
        for word in ("--cameras", "--size", "--depth", "--camera-hz", "--camera ", "--proprios", "--proprio-hz", "--joints",
                     "--host", "--port", "--seconds", "--legacy", "Examples:", "ffmpeg"):
            self.assertIn(word, result.stdout)

    def test_a_second_client_is_turned_away_and_told_why(self):
        with programs.serve(*SMALL) as (_, uri):
            first = programs.Program(PROBE, uri, "--seconds", "60", "--hz", "20")
            try:
                first.wait_line("per observation")
                second = programs.run(PROBE, uri, "--count", "1")
                self.assertEqual(second.returncode, 1)
                self.assertIn("one client at a time", second.stderr)
                self.assertEqual(first.end(), 130, first.output)  # before its minute was over
                self.assertIn("round trip", first.output)
            finally:
                first.kill()


class StandardDescriptorsTest(unittest.TestCase):
    def test_no_socket_has_the_number_of_one_that_was_closed(self):
        command = ["sh", "-c", 'exec "$0" --port 0 --seconds 60 <&- >&- 2>&-', programs.SERVE]
        with subprocess.Popen(command) as process:
            try:
                opened = lambda number: os.path.realpath(f"/proc/{process.pid}/fd/{number}")
                itself = os.path.realpath(programs.SERVE)
                self.assertTrue(programs.becomes_true(lambda: os.path.realpath(f"/proc/{process.pid}/exe") == itself))
                self.assertTrue(programs.becomes_true(lambda: [opened(number) for number in range(3)] == ["/dev/null"] * 3))
            finally:
                process.kill()


class CommandCameraTest(unittest.TestCase):
    def test_a_command_that_cannot_be_found_is_told_and_the_rest_is_served(self):
        with programs.serve("--camera", "webcam,8x8,cmd:no-such-camera-program", "--proprio-hz", "50") as (server, uri):
            server.wait_line("camera 'webcam': the command ended (exit status 127) after 0 frames")
            probe = programs.run(PROBE, uri, "--count", "3", "--hz", "20")
            self.assertEqual(probe.returncode, 0, probe.stderr)
            self.assertRegex(probe.stdout, r"webcam .* never")
            self.assertRegex(probe.stdout, r"joint_pos .* fresh")

    def test_the_last_frame_stays_when_the_command_has_ended(self):
        with programs.serve("--camera", "clip,8x8,cmd:head -c 500 /dev/zero; exit 4") as (server, uri):
            line = server.wait_line("camera 'clip': ")
            self.assertIn("(exit status 4) after 2 frames and 116 bytes of an unfinished one", line)
            probe = programs.run(PROBE, uri, "--count", "2")
            self.assertRegex(probe.stdout, r"clip +\d+\.\.\d+ .* (fresh|stale)")

    def test_a_command_that_ended_is_started_again(self):
        with programs.serve("--camera", "clip,8x8,cmd:head -c 192 /dev/zero; sleep 0.1") as (server, uri):
            self.assertIn("it is started again in 0.5 s", server.wait_line("camera 'clip': "))
            newest = lambda: int(re.search(r"clip +\d+\.\.(\d+) ", programs.run(PROBE, uri, "--count", "1").stdout)[1])
            self.assertTrue(programs.becomes_true(lambda: newest() >= 2), server.output)

    def test_commands_and_their_children_are_gone_when_it_ends(self):
        for sig in (signal.SIGINT, signal.SIGTERM):
            # A number that no other process has: it is how the children are found.
            mark = f"86{os.getpid()}{int(sig)}.5"
            self.addCleanup(lambda mark=mark: [os.kill(pid, signal.SIGKILL)
                                               for pid in programs.processes_with(f"sleep\0{mark}")])
            with programs.serve("--camera", f"clip,8x8,cmd:sleep {mark} & exec sleep {mark}") as (server, _):
                self.assertTrue(programs.becomes_true(lambda: len(programs.processes_with(f"sleep\0{mark}")) == 2))
                self.assertEqual(server.end(sig), 0, server.output)
            self.assertTrue(programs.becomes_true(lambda: not programs.processes_with(f"sleep\0{mark}"), 10.0))


if __name__ == "__main__":
    unittest.main(verbosity=2)
