# SPDX-License-Identifier: Apache-2.0
"""chiral-probe against chiral-serve, and against nobody."""
import json
import os
import signal
import tempfile
import time
import unittest

import numpy

import png
import programs
from programs import PROBE

SMALL = ("--size", "64x48", "--depth", "--camera-hz", "20", "--proprio-hz", "100", "--proprios", "4", "--joints", "5")


class ProbeTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="chiral-probe-")
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def probe(self, uri, *arguments):
        """Runs the probe and returns its output and its JSON."""
        file = os.path.join(self.folder, "probe.json")
        result = programs.run(PROBE, uri, "--json", file, *arguments)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        with open(file, encoding="utf-8") as text:
            return result.stdout, json.load(text)

    def check_numbers(self, numbers, count):
        self.assertIsNone(numbers["error"])
        self.assertEqual(numbers["observations"], count)
        self.assertGreater(numbers["observations_per_s"], 0.0)
        self.assertGreater(numbers["bytes"], count * 2 * 64 * 48 * 7)
        trips = numbers["round_trip_ms"]
        order = [trips[key] for key in ("min", "p50", "p90", "p99", "max")]
        self.assertEqual(order, sorted(order))
        self.assertGreater(trips["min"], 0.0)
        self.assertEqual([camera["name"] for camera in numbers["cameras"]], ["cam_0", "cam_1"])
        for camera in numbers["cameras"]:
            self.assertEqual(camera["image_shape"], [48, 64, 3])
            self.assertEqual(camera["depth_shape"], [48, 64])
            self.assertEqual(sum(camera["observations_by_status"].values()), count)
        self.assertEqual([stream["name"] for stream in numbers["proprios"]],
                         ["joint_pos", "joint_vel", "joint_effort", "proprio_3"])
        self.assertEqual([stream["size"] for stream in numbers["proprios"]], [5] * 4)

    def test_asks_for_what_is_wanted_and_says_what_that_brings(self):
        with programs.serve(*SMALL) as (_, uri):
            text, numbers = self.probe(uri, "--count", "5", "--want", "32x24,crop,jpeg:80,depth:millimetres")
            self.assertEqual([camera["image_shape"] for camera in numbers["cameras"]], [[24, 32, 3]] * 2)
            self.assertEqual([camera["depth_shape"] for camera in numbers["cameras"]], [[24, 32]] * 2)
            self.assertLess(numbers["bytes"] / 5, numbers["want"]["documented_bytes"] / 3)
            for words in ("as documented", "as wanted", "Mbit/s", "round trip"):
                self.assertIn(words, text)
            plain, numbers = self.probe(uri, "--count", "2")
            self.assertIsNone(numbers["want"])
            self.assertNotIn("as wanted", plain)
            for words in ("32", "0x24", "jpeg:0x", "webp", "jpeg:101"):
                result = programs.run(PROBE, uri, "--count", "2", "--want", words)
                self.assertNotEqual(result.returncode, 0, words)
                self.assertIn("want", result.stderr)

    def test_measures_a_server_in_both_dialects_and_of_both_kinds(self):
        for serve_options in ([], ["--legacy"]):
            with programs.serve(*SMALL, *serve_options) as (_, uri):
                for probe_options, dialect, actions in (([], "decoupled", 0), (["--legacy"], "legacy", 11)):
                    with self.subTest(serve=serve_options, probe=probe_options):
                        text, numbers = self.probe(uri, "--count", "12", "--hz", "30", *probe_options)
                        self.check_numbers(numbers, 12)
                        self.assertEqual(numbers["dialect"], dialect)
                        self.assertEqual(numbers["actions"], actions)
                        self.assertEqual(numbers["metadata"]["action_D"], "5")
                        meaning = json.loads(numbers["metadata"]["chiral.sources"])["proprios"]
                        self.assertEqual(meaning["joint_vel"],
                                         {"elements": [f"joint_{i}" for i in range(1, 6)], "unit": "rad/s"})
                        self.assertNotIn("proprio_3", meaning)
                        self.assertIn("5 float32, N m: joint_1, joint_2, joint_3, joint_4, joint_5\n", text)
                        self.assertRegex(text, r"cam_0 +image 48x64x3 uint8, depth 48x64 float32")
                        self.assertRegex(text, r"observations +12 in ")
                        self.assertRegex(text, r"round trip +min [0-9.]+ +p50 [0-9.]+ +p90 [0-9.]+ +p99 [0-9.]+ +max [0-9.]+ ms")
                        self.assertRegex(text, r"joint_vel +[0-9]+\.\.[0-9]+ ")

    def test_tells_the_rates_of_the_sources(self):
        with programs.serve(*SMALL) as (_, uri):
            _, numbers = self.probe(uri, "--seconds", "1.5", "--hz", "40")
        for camera in numbers["cameras"]:
            # Not above what was asked for; below it only where the machine is too slow.
            self.assertLess(camera["rate_hz"], 22.0)
            self.assertGreater(camera["rate_hz"], 2.0)
            self.assertGreater(camera["age_ms"]["min"], 0.0)
            self.assertGreaterEqual(camera["seen"] + camera["missed"],
                                    camera["sequence_last"] - camera["sequence_first"] + 1)
        self.assertLess(numbers["proprios"][0]["rate_hz"], 110.0)
        self.assertGreaterEqual(numbers["seconds"], 1.5)

    def test_saves_the_pictures_of_the_last_observation(self):
        look = os.path.join(self.folder, "deep", "look")
        with programs.serve(*SMALL) as (_, uri):
            # Some frames must have come: initial buffers are black.
            self.probe(uri, "--count", "10", "--hz", "10", "--save", look)
        self.assertEqual(sorted(os.listdir(look)),
                         sorted(f"cam_{i}{what}.png" for i in (0, 1) for what in ("", "_depth", "_depth_preview"))
                         + ["observation.json"])
        with open(os.path.join(look, "observation.json"), encoding="utf-8") as text:
            observation = json.load(text)
        images = []
        for camera in observation["cameras"]:
            image = png.read(os.path.join(look, camera["image"]))
            self.assertEqual((image.shape, image.dtype), ((48, 64, 3), numpy.uint8))
            self.assertGreater(len(numpy.unique(image.reshape(-1, 3), axis=0)), 100)
            images.append(image)
            millimetres = png.read(os.path.join(look, camera["depth"]))
            self.assertEqual((millimetres.shape, millimetres.dtype), ((48, 64, 1), numpy.uint16))
            self.check_preview(png.read(os.path.join(look, camera["depth_preview"])), millimetres[..., 0])
            self.check_geometry(millimetres[..., 0], numpy.array(camera["intrinsics"]), numpy.array(camera["extrinsics"]))
        self.assertFalse(numpy.array_equal(*images))

    def test_shows_and_saves_slots(self):
        look = os.path.join(self.folder, "look")
        with programs.serve("--size", "64x48", "--proprio-hz", "100", "--touch") as (_, uri):
            deadline = time.monotonic() + programs.DEADLINE
            slot = {"sequence_last": 0, "sequence_first": 0}
            while slot["sequence_last"] == slot["sequence_first"] and time.monotonic() < deadline:
                text, numbers = self.probe(uri, "--count", "10", "--hz", "20", "--save", look)
                slot = numbers["slots"][0]
            plain, legacy = self.probe(uri, "--count", "2", "--legacy")
        for slots in (numbers["slots"], legacy["slots"]):
            self.assertEqual([(slot["name"], slot["shape"], slot["dtype"]) for slot in slots], [("touch", [2, 4, 4], "float32")])
        self.assertGreater(slot["sequence_last"], slot["sequence_first"])
        self.assertGreaterEqual(slot["seen"] + slot["missed"], slot["sequence_last"] - slot["sequence_first"] + 1)
        self.assertGreater(slot["age_ms"]["max"], 0.0)
        self.assertLess(slot["rate_hz"], 110.0)
        self.assertEqual(sum(slot["observations_by_status"].values()), 10)
        self.assertRegex(text, r"touch +slot 2x4x4 float32\n")
        self.assertRegex(text, r"touch +[0-9]+\.\.[0-9]+ ")
        self.assertRegex(plain, r"touch +slot 2x4x4 float32\n")
        with open(os.path.join(look, "observation.json"), encoding="utf-8") as file:
            (saved,) = json.load(file)["slots"]
        self.assertEqual((saved["name"], saved["dtype"], saved["shape"]), ("touch", "float32", [2, 4, 4]))
        self.assertEqual((saved["sequence"], saved["status"]), (slot["sequence_last"], slot["status"]))
        self.assertGreater(saved["timestamp"], 0.0)
        pressures = numpy.array(saved["values"])
        self.assertEqual(pressures.shape, (2, 4, 4))
        self.assertTrue((pressures[0] == pressures[1]).all())
        self.assertTrue(10.0 < pressures.max() <= 20.0, pressures)

    def check_preview(self, preview, millimetres):
        """Black where there is no depth, and from red to blue the farther it is."""
        self.assertEqual((preview.shape, preview.dtype), ((48, 64, 3), numpy.uint8))
        there = millimetres > 0
        self.assertFalse(preview[~there].any())
        self.assertTrue((preview[there].max(axis=1) == 255).all(), "each has a colour at its brightest")
        near, far = (millimetres[there] == edge(millimetres[there]) for edge in (numpy.min, numpy.max))
        self.assertTrue((preview[there][near] == (255, 0, 0)).all())
        self.assertTrue((preview[there][far] == (0, 0, 255)).all())

    def check_geometry(self, millimetres, intrinsics, extrinsics):
        """Most depth values lead to the floor z = 0, the others to things that stand on it."""
        v, u = numpy.nonzero(millimetres)
        depth = millimetres[v, u] / 1000.0
        self.assertGreater(len(depth), 48 * 64 / 3)
        self.assertLessEqual(depth.max(), 10.0)
        rays = numpy.linalg.inv(intrinsics) @ numpy.stack([u, v, numpy.ones(len(u))])
        height = (extrinsics @ numpy.vstack([rays * depth, numpy.ones(len(u))]))[2]
        self.assertGreater(height.min(), -0.001)
        self.assertLess(height.max(), 1.1)
        self.assertGreater(numpy.mean(numpy.abs(height) < 0.001), 0.5)

    def test_zero_actions_move_the_joints_to_zero(self):
        look = os.path.join(self.folder, "look")
        with programs.serve(*SMALL) as (server, uri):
            _, numbers = self.probe(uri, "--act", "--hz", "20", "--seconds", "3", "--save", look)
            self.assertEqual(server.end(), 0)
            self.assertRegex(server.output, r"actions received, [1-9][0-9]* applied")
        self.assertGreater(numbers["actions"], 5)
        with open(os.path.join(look, "observation.json"), encoding="utf-8") as text:
            proprios = json.load(text)["proprios"]
        self.assertEqual(proprios[0]["name"], "joint_pos")
        self.assertLess(numpy.abs(proprios[0]["values"]).max(), 0.02)

    def test_nobody_listening_ends_with_1_and_says_what_to_try(self):
        begin = time.monotonic()
        result = programs.run(PROBE, "ws://127.0.0.1:1", "--timeout", "1")
        self.assertEqual(result.returncode, 1)
        self.assertLess(time.monotonic() - begin, 30.0)
        self.assertIn("ws://127.0.0.1:1", result.stderr)
        self.assertIn("Is the server running", result.stderr)
        self.assertEqual(result.stdout, "")

    def test_waits_for_a_server_that_is_starting(self):
        with programs.serve(*SMALL) as (server, uri):
            server.end()
        port = uri.rsplit(":", 1)[1]
        probe = programs.Program(PROBE, uri, "--count", "2", "--timeout", str(programs.DEADLINE))
        try:
            probe.wait_line("waiting for server")
            server = programs.Program(programs.SERVE, "--port", port, *SMALL)
            try:
                server.wait_line("listening on")
                self.assertEqual(probe.wait(), 0, probe.output)
            finally:
                server.kill()
        finally:
            probe.kill()

    def test_mistakes_in_the_options_are_told_and_end_with_2(self):
        for arguments, wanted in (([], "URI"), (["http://robot"], "expected ws://"), (["foo://x"], "unix:///PATH or zenoh://"),
                                   (["ws://"], "expected ws://"),
                                  (["ws://x", "--hz", "-3"], "--hz"), (["ws://x", "--act", "--legacy"], "--act")):
            result = programs.run(PROBE, *arguments)
            self.assertEqual(result.returncode, 2, arguments)
            self.assertIn(wanted, result.stderr + result.stdout, arguments)

    def test_help_shows_every_option_and_examples(self):
        result = programs.run(PROBE, "--help")
        self.assertEqual(result.returncode, 0)
        for word in ("--count", "--seconds", "--hz", "--legacy", "--act", "--json", "--save", "--timeout", "Examples:"):
            self.assertIn(word, result.stdout)

    def test_ctrl_c_ends_it_with_the_summary_so_far(self):
        file = os.path.join(self.folder, "interrupted.json")
        with programs.serve(*SMALL) as (_, uri):
            probe = programs.Program(PROBE, uri, "--count", "0", "--hz", "50", "--json", file)
            try:
                probe.wait_line("per observation")
                self.assertEqual(probe.end(signal.SIGINT), 0, probe.output)
            finally:
                probe.kill()
        self.assertRegex(probe.output, r"observations +[1-9]")
        with open(file, encoding="utf-8") as text:
            self.assertGreaterEqual(json.load(text)["observations"], 1)

    def test_ctrl_c_before_the_number_that_was_asked_for_ends_with_130(self):
        with programs.serve(*SMALL) as (_, uri):
            probe = programs.Program(PROBE, uri, "--count", "100000", "--hz", "50")
            try:
                probe.wait_line("per observation")
                self.assertEqual(probe.end(signal.SIGINT), 130, probe.output)
            finally:
                probe.kill()
        self.assertRegex(probe.output, r"observations +[1-9]")

    def test_ctrl_c_while_nobody_listens_ends_it_too(self):
        probe = programs.Program(PROBE, "ws://127.0.0.1:1", "--timeout", "1000")
        try:
            probe.wait_line("waiting for server")
            self.assertEqual(probe.end(signal.SIGINT), 130, probe.output)
        finally:
            probe.kill()

    def test_a_server_that_goes_away_is_an_error_with_what_came_before(self):
        file = os.path.join(self.folder, "lost.json")
        with programs.serve(*SMALL) as (server, uri):
            probe = programs.Program(PROBE, uri, "--count", "0", "--hz", "50", "--json", file)
            try:
                probe.wait_line("per observation")
                self.assertEqual(server.end(), 0, server.output)
                self.assertEqual(probe.wait(), 1, probe.output)
            finally:
                probe.kill()
        self.assertRegex(probe.output, r"observations +[1-9]")
        with open(file, encoding="utf-8") as text:
            self.assertTrue(json.load(text)["error"])

    def test_a_file_that_cannot_be_written_is_told(self):
        with programs.serve(*SMALL) as (_, uri):
            result = programs.run(PROBE, uri, "--count", "1", "--json", os.path.join(self.folder, "no", "file.json"))
            self.assertEqual(result.returncode, 1)
            self.assertIn("cannot write", result.stderr)
            result = programs.run(PROBE, uri, "--count", "1", "--save", "/proc/no-such-place")
            self.assertEqual(result.returncode, 1)
            self.assertIn("cannot write /proc/no-such-place", result.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
