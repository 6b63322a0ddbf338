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
               "shared_mutex", "shared_ptr_swap", "seqlock", "boost_lockfree_queue", "moodycamel_queue"}


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

    def test_summary_has_every_key(self):
        summary = self.result["summary"]
        for key in ("update_over_memcpy_p50", "commit_pin_8cam_ns", "writer_p999_ratio_8_readers", "allocs_per_obs"):
            with self.subTest(key):
                self.assertFigure(summary[key])
        for key in ("rtt_over_floor_p50", "rtt_over_floor_p99", "server_cpu_us_per_obs"):
            for cameras in ("1", "4", "8"):
                with self.subTest(key, cameras=cameras):
                    self.assertFigure(summary[key][cameras])
        self.assertEqual(set(summary["writer_p999_ratio_8_readers_by_comparator"]), COMPARATORS)
        for comparator, value in summary["writer_p999_ratio_8_readers_by_comparator"].items():
            with self.subTest(comparator):
                self.assertFigure(value)
        for load in ("idle", "observations", "busy"):
            with self.subTest(load):
                self.assertFigure(summary["action_latency_us"][load]["p50"])

    def test_says_where_and_with_what_it_was_made(self):
        for key in ("cpu", "cores", "kernel", "compiler", "build", "commit"):
            self.assertIn(key, self.result["machine"])

    def test_an_observation_allocates_nothing(self):
        self.assertEqual(self.result["summary"]["allocs_per_obs"], 0)

    def test_a_stopped_reader_holds_a_mutex_up_and_not_the_engine(self):
        held_up = {row["comparator"]: row for row in self.result["rows"] if row["experiment"] == "hold_up"}
        stopped = held_up["mutex"]["reader_stopped_ns"]
        self.assertGreater(held_up["mutex"]["longest_update_p50_ns"], 0.9 * stopped)
        self.assertGreater(held_up["engine"]["updates"], 100 * held_up["mutex"]["updates"])

    def test_every_comparator_was_measured_as_often_as_the_others(self):
        rows = [row for row in self.result["rows"] if row["experiment"] == "contention" and row["role"] == "writer"]
        cases = {(row["bytes"], row["readers"], row["pace"], row["load"]) for row in rows}
        for case in cases:
            found = [row for row in rows if (row["bytes"], row["readers"], row["pace"], row["load"]) == case]
            self.assertEqual({row["comparator"] for row in found}, COMPARATORS)
            self.assertEqual({row["repetitions"] for row in found}, {2})


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], "-v"])
