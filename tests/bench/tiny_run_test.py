# SPDX-License-Identifier: Apache-2.0
"""bench/run on so little that its numbers mean nothing: every figure is there, and of the kind that it should be."""
import json
import math
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

COMPARATORS = {"bare_memcpy", "bare_memcpy_one", "engine", "engine_in_place", "mutex", "mutex_priority_inheritance",
               "shared_mutex", "shared_ptr_swap", "triple_buffer", "seqlock", "boost_lockfree_queue", "moodycamel_queue"}


class ATinyRun(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        file = pathlib.Path(cls.folder.name) / "result.json"
        cls.run_ = subprocess.run(
            ["bash", os.environ["CHIRAL_BENCH"], "--tiny", "--programs", os.environ["CHIRAL_BENCH_PROGRAMS"], "--json", file],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=240)
        cls.result = json.loads(file.read_text()) if file.exists() else {}

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def assertFigure(self, value):
        self.assertIsInstance(value, (int, float))
        self.assertTrue(math.isfinite(value) and value >= 0, value)

    def test_succeeds_and_prints_a_sentence_for_each_row(self):
        self.assertEqual(self.run_.returncode, 0, self.run_.stdout)
        for row in self.result["table"]:
            self.assertIn(row["what"], self.run_.stdout)
            self.assertIn(row["sentence"], self.run_.stdout)

    def test_a_part_alone_prints_a_line_for_each_row(self):
        program = os.path.join(os.environ["CHIRAL_BENCH_PROGRAMS"], "chiral-bench")
        alone = subprocess.run([program, "--tiny", "--only", "hold_up"], capture_output=True, text=True, timeout=240)
        self.assertEqual(alone.returncode, 0, alone.stderr)
        for comparator in COMPARATORS:
            self.assertRegex(alone.stdout, rf"(?m)^hold_up, {comparator}, [0-9]+ bytes, readers: 1; longest update p50 ")

    def writer(self, comparator, readers):
        about = {"experiment": "contention", "role": "writer", "comparator": comparator, "readers": readers,
                 "bytes": 640 * 480 * 3, "pace": "flat_out"}
        return next(row for row in self.result["rows"] if all(row.get(key) == value for key, value in about.items()))

    def test_summary_has_every_key(self):
        summary = self.result["summary"]
        for key in ("update_over_memcpy_p50", "commit_pin_8cam_ns", "allocs_per_obs"):
            with self.subTest(key):
                self.assertFigure(summary[key])
        for key in ("rtt_over_floor_p50", "rtt_over_floor_p99", "rtt_plain_over_floor_p50", "server_cpu_us_per_obs",
                    "server_user_cpu_us_per_obs", "server_cpu_by_ticks_us_per_obs"):
            for cameras in ("1", "4", "8"):
                with self.subTest(key, cameras=cameras):
                    self.assertFigure(summary[key][cameras])
        # Of a loop that does next to nothing outside of its calls: a small difference of two measurements, which a few samples on a
        # busy machine may turn round.
        for cameras in ("1", "4", "8"):
            self.assertTrue(math.isfinite(summary["bare_tcp_cpu_us_per_obs"][cameras]), cameras)
        self.assertEqual(set(summary["update_over_memcpy_p50_by_bytes"]), {"64", str(640 * 480 * 3)})
        for size, value in summary["update_over_memcpy_p50_by_bytes"].items():
            with self.subTest(size):
                self.assertFigure(value)
        for load in ("idle", "observations", "busy"):
            with self.subTest(load):
                self.assertFigure(summary["action_latency_us"][load]["p50"])

    def test_a_p999_is_compared_only_with_one_of_enough_samples(self):
        summary = self.result["summary"]
        for key in ("writer_p999_ratio_8_readers_by_comparator", "writer_p999_8_readers_ns_by_comparator",
                    "starved_repetitions_8_readers_by_comparator", "writer_held_up_by_stopped_reader_p50_ns",
                    "writer_held_up_by_stopped_reader_max_ns"):
            self.assertEqual(set(summary[key]), COMPARATORS, key)
        for comparator, value in summary["writer_p999_ratio_8_readers_by_comparator"].items():
            with self.subTest(comparator):
                few, many = self.writer(comparator, 0), self.writer(comparator, 8)
                for row in (few, many):
                    self.assertEqual(row["p999_ns"] is None, row["samples"] < 1000)
                if few["p999_ns"] is None:
                    self.assertIsNone(value)
                else:
                    self.assertAlmostEqual(value * few["p999_ns"], many["p999_ns"] or many["max_ns"], delta=1)
        self.assertEqual(summary["writer_p999_ratio_8_readers"], summary["writer_p999_ratio_8_readers_by_comparator"]["engine"])

    def test_8_readers_and_none_are_paired_in_every_repetition(self):
        few, many = ([self.writer("engine", readers)[key] for key in ("p50_of_repetitions_ns", "p999_of_repetitions_ns")]
                     for readers in (0, 8))
        self.assertEqual([len(values) for values in few + many], [2, 2, 2, 2])
        ratios = [a / b for a, b in zip(many[1], few[1]) if a and b]
        self.assertEqual(self.result["summary"]["writer_p999_ratio_8_readers_of_repetitions"], ratios)
        self.assertEqual(self.result["summary"]["writer_p999_ratio_8_readers_paired"],
                         sorted(ratios)[len(ratios) // 2] if ratios else None)

    def test_says_where_and_with_what_it_was_made(self):
        for key in ("cpu", "cores", "kernel", "compiler", "build", "commit"):
            self.assertIn(key, self.result["machine"])

    def test_an_observation_allocates_nothing(self):
        self.assertEqual(self.result["summary"]["allocs_per_obs"], 0)

    def test_a_stopped_reader_holds_a_mutex_up_and_not_the_engine(self):
        held_up = {row["comparator"]: row for row in self.result["rows"] if row["experiment"] == "hold_up"}
        stopped = held_up["mutex"]["reader_stopped_ns"]
        self.assertGreater(held_up["mutex"]["longest_update_p50_ns"], 0.5 * stopped)
        self.assertGreaterEqual(held_up["mutex"]["longest_update_max_ns"], held_up["mutex"]["longest_update_p50_ns"])
        self.assertGreater(held_up["engine"]["updates"], 100 * held_up["mutex"]["updates"])

    def test_disturbed_samples_are_counted(self):
        for row in self.result["rows"]:
            if row["experiment"] != "contention":
                continue
            if row["calls"] <= 3000:  # of more, some are thinned out
                self.assertEqual(row["calls"], row["preempted"]["calls"] + row["samples"], row)
            self.assertLessEqual(row["slept_and_preempted"], row["slept"])
            self.assertGreaterEqual(row["preempted_batches"], 0)
            if row["p99_ns"] is not None:  # of single calls as the longest is; p50 may be of batches, which others disturbed
                self.assertGreaterEqual(row["max_ns"], row["p99_ns"])

    def test_every_comparator_was_measured_as_often_as_the_others(self):
        def about(row):
            return tuple(row.get(key) for key in ("bytes", "readers", "pace", "load", "role"))

        for experiment in ("contention", "hold_up", "reader_age"):
            rows = [row for row in self.result["rows"] if row["experiment"] == experiment]
            expected = COMPARATORS - {"bare_memcpy", "bare_memcpy_one"} if experiment == "reader_age" else COMPARATORS
            for case in {about(row) for row in rows}:
                found = [row for row in rows if about(row) == case]
                self.assertEqual(sorted(row["comparator"] for row in found), sorted(expected), (experiment, case))
                self.assertEqual({row.get("repetitions", row.get("stops")) for row in found}, {2}, (experiment, case))

    def test_every_way_to_fetch_was_measured_as_often_as_the_others(self):
        rows = [row for row in self.result["rows"] if row["experiment"] == "round_trip"]
        for observation in {row["observation"] for row in rows}:
            found = {row["way"]: row["samples"] for row in rows if row["observation"] == observation}
            self.assertEqual(found, {"bare_tcp": 6, "policy_client": 6, "local": 6, "plain_websocket": 6})


class SideBySide(unittest.TestCase):
    """Of the rivals are there whatever is installed; ours are always."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.programs = pathlib.Path(os.environ["CHIRAL_BENCH_PROGRAMS"])
        cls.program = pathlib.Path(os.environ["CHIRAL_BENCH"]).with_name("side_by_side.py")
        file = pathlib.Path(cls.folder.name) / "rows.json"
        cls.run_ = cls.run_of(cls.programs.parent, file)
        cls.rows = json.loads(file.read_text()) if file.exists() else []

    @classmethod
    def run_of(cls, build, file):
        return subprocess.run([sys.executable, "-B", cls.program, "--tiny", "--build", build, "--json", file], capture_output=True, text=True, timeout=240,
                              env={**os.environ, "CHIRAL_BENCH_ORDINARY": "1"})

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def test_measures_ours_whatever_else_is_installed(self):
        self.assertEqual(self.run_.returncode, 0, self.run_.stderr)
        ours = {(row["experiment"], row["asks_for"], row["way"]) for row in self.rows}
        for expected in (("handover", "next", "chiral"), ("handover", "newest", "chiral"), ("handover", "next", "chiral_websocket"),
                         ("asked_for", "asked", "chiral"), ("sensor", "update", "chiral")):
            self.assertIn(expected, ours, self.run_.stderr)
        self.assertEqual({row["readers"] for row in self.rows if row["experiment"] == "sensor"}, {0, 5})

    def test_says_with_what_priority_and_of_how_many(self):
        for row in self.rows:
            self.assertEqual(row["priority"], "normal")
            self.assertGreater(row["samples"], 0)
            self.assertGreater(row["p50_ns"], 0)
            self.assertEqual(len(row["p50_of_repetitions_ns"]), row["repetitions"])
            self.assertIsNone(row["p99_ns"])

    def test_does_not_go_on_without_ours(self):
        file = pathlib.Path(self.folder.name) / "none.json"
        done = self.run_of(pathlib.Path(self.folder.name), file)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("chiral-peer", done.stderr)
        self.assertFalse(file.exists())


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], "-v"])
