# SPDX-License-Identifier: Apache-2.0
"""What the report says of results that nobody hopes for: no sentence lies, whatever was measured."""
import copy
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(os.environ["CHIRAL_ROOT"])
sys.path.insert(0, str(ROOT / "bench"))

import findings  # noqa: E402
import report  # noqa: E402
from measured import Results  # noqa: E402

STORED = json.loads((ROOT / "bench" / "results" / "result.json").read_text())
# What a machine without the rivals cannot store: rows of a short run, their tails filled in.
BESIDE_OTHERS = json.loads((ROOT / "tests" / "bench" / "rows_beside_others.json").read_text())
OURS = ("engine", "engine_in_place", "policy_client", "local", "plain_websocket", "chiral", "chiral_python", "chiral_polling", "chiral_polling_python")
OUR_CALLS = ("commit", "pin", "update")
LONGEST_SENTENCE = 200


def results(change=None):
    """The stored run, each row as `change` makes it."""
    measured = copy.deepcopy({key: STORED[key] for key in ("machine", "rows", "effort")})
    measured["rows"] += copy.deepcopy([row for row in BESIDE_OTHERS["rows"] if row["experiment"] not in
                                       {stored["experiment"] for stored in STORED["rows"]}])
    if change:
        for row in measured["rows"]:
            change(row)
    known = {row["run_name"] for row in STORED["single_calls"]}
    costs = {"benchmarks": [dict(row, run_type="aggregate") for row in
                            STORED["single_calls"] + [row for row in BESIDE_OTHERS["single_calls"] if row["run_name"] not in known]]}
    for row in costs["benchmarks"]:
        if change and row["run_name"].startswith(OUR_CALLS):
            as_row = {"way": "chiral", "real_time_ns": row["real_time"]}
            change(as_row)
            row["real_time"] = as_row["real_time_ns"]
    return Results(measured, costs)


def found(change=None):
    of = results(change)
    return findings.find(of, report.summarise(of))


def is_ours(row):
    return row.get("server") == "chiral" or row.get("comparator") in OURS or row.get("way") in OURS


def scaled(factor):
    """Our times by `factor`, the rivals' as they are."""
    def change(row):
        if not is_ours(row):
            return
        if row.get("experiment") == "shaped_link":
            row["age_ms"] = {key: value * factor for key, value in row["age_ms"].items()}
        for key, value in row.items():
            if key.endswith("_ns") and key != "reader_stopped_ns":
                row[key] = [v and v * factor for v in value] if isinstance(value, list) else value and value * factor
    return change


def without_tails(row):
    for key in ("p99_ns", "p999_ns"):
        if key in row:
            row[key] = None
    for key in ("p999_of_repetitions_ns",):
        if key in row:
            row[key] = [None] * len(row[key])


EXTREMES = {"as stored": None, "a thousand times slower": scaled(1000), "a thousand times faster": scaled(1e-3),
            "too few samples for any tail": without_tails}


class TheReport(unittest.TestCase):
    def test_compares_as_the_numbers_do(self):
        for name, change in EXTREMES.items():
            for finding in found(change):
                with self.subTest(name, what=finding.what):
                    first = re.search(r"takes ([\d.e+]+) times as long|is (?:at least )?([\d.e+]+) times as fast|takes as long as|not compared",
                                      finding.sentence)
                    if finding.ratio is None or not first:
                        continue
                    if first[1]:
                        self.assertGreater(finding.ratio, 1)
                        self.assertAlmostEqual(float(first[1]), finding.ratio, delta=0.01 * finding.ratio)
                    elif first[2]:
                        self.assertLess(finding.ratio, 1)
                        self.assertAlmostEqual(float(first[2]), 1 / finding.ratio, delta=0.01 / finding.ratio)
                    elif first[0].startswith("takes as long"):
                        self.assertLess(abs(finding.ratio - 1), 0.06)

    def test_claims_no_advantage_where_we_are_a_million_times_slower(self):
        for finding in found(scaled(1e6)):
            both_ours = finding.rival.startswith("WebSocket")  # of another transport of ours, a million times slower as well
            if finding.rival and not both_ours and finding.ratio is not None and finding.what not in ("server's user-space CPU",):
                with self.subTest(finding.what):
                    self.assertNotIn("times as fast", finding.sentence)
                    self.assertTrue(finding.lost)

    def test_says_first_which_targets_are_missed_and_where_rivals_are_quicker(self):
        for name, change in EXTREMES.items():
            with self.subTest(name):
                rows = found(change)
                page = report.markdown(rows, STORED["machine"])
                above = page[:page.index("| what |")]
                for finding in rows:
                    if finding.met is False:
                        self.assertIn(finding.what + ": " + finding.ours, above)
                    if finding.lost:
                        self.assertIn(f"{finding.what} ({finding.ours}, {finding.rival})", above)
                met, missed = map(int, re.search(r"Targets: (\d+) met, (\d+) missed", above).groups())
                self.assertEqual((met, missed), tuple(sum(f.met is value for f in rows) for value in (True, False)))

    def test_says_that_a_floor_which_is_beaten_is_none(self):
        for change in EXTREMES.values():
            for finding in found(change):
                if finding.rival.startswith("bare TCP") and finding.what.endswith("p50") and finding.ratio:
                    with self.subTest(finding.what):
                        self.assertEqual(finding.ratio < 1 / 1.05, "no floor" in finding.sentence)

    def test_judges_a_target_only_by_what_was_measured(self):
        by_name = {finding.what: finding for finding in found(without_tails)}
        self.assertIsNone(by_name["p99.9 beside 8 readers / none"].met)
        self.assertIn("not judged", findings.targets_text(by_name.values()))

    def test_has_one_idea_for_each_row(self):
        for finding in found():
            self.assertLess(len(finding.sentence), LONGEST_SENTENCE, finding.what)

    def test_has_the_headlines_of_the_first_page(self):
        for change in EXTREMES.values():
            self.assertEqual(report.headlines(found(change), STORED["machine"]).count("| `"), 6)

    def test_says_where_no_figures_of_python_are_stored_and_leaves_those_that_are(self):
        with tempfile.TemporaryDirectory() as folder:
            page = pathlib.Path(folder) / "page.md"
            for before, after in (("", "None stored yet.\n"), ("| figures |\n", "| figures |\n")):
                page.write_text(f"a\n<!-- python -->\n{before}<!-- /python -->\nb\n")
                report.say_where_none_is_stored(page)
                self.assertEqual(page.read_text(), f"a\n<!-- python -->\n{after}<!-- /python -->\nb\n")

    def test_does_not_store_a_run_that_had_company(self):
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            of = results()
            (folder / "measured.json").write_text(json.dumps(of.measured))
            (folder / "costs.json").write_text(json.dumps(of.costs))
            done = subprocess.run([sys.executable, "-B", ROOT / "bench" / "report.py", folder / "measured.json", folder / "costs.json", "--json",
                                   folder / "out.json", "--out", folder, "--company", "0.4", "--save"], capture_output=True, text=True)
            self.assertEqual(done.returncode, 1)
            self.assertIn("other programs used 40 % of the machine", done.stdout)
            self.assertIn("not stored", done.stderr)


class Compare(unittest.TestCase):
    def compare(self, change, *options):
        with tempfile.TemporaryDirectory() as folder:
            files = []
            for name, how in (("old", None), ("new", change)):
                file = pathlib.Path(folder) / f"{name}.json"
                of = results(how)
                file.write_text(json.dumps({**of.measured, "single_calls": STORED["single_calls"]}))
                files.append(file)
            return subprocess.run([sys.executable, "-B", ROOT / "bench" / "compare_results", *files, *options], capture_output=True, text=True)

    def test_finds_nothing_in_a_run_beside_itself(self):
        done = self.compare(None)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("0 slower, 0 faster", done.stdout)

    def test_finds_what_became_slower(self):
        done = self.compare(scaled(1.3))
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        self.assertIn("1.3", done.stdout)
        self.assertNotIn("0 slower", done.stdout)

    def test_finds_what_became_faster(self):
        done = self.compare(scaled(0.7))
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertNotIn(" 0 faster", done.stdout)

    def test_does_not_take_noise_for_a_change(self):
        def noisy(row):
            for key in ("p50_of_repetitions_ns",):
                if key in row:
                    row[key] = [v and v * (1.3 if i % 2 else 0.75) for i, v in enumerate(row[key])]
        done = self.compare(noisy)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_names_a_file_that_is_none(self):
        done = subprocess.run([sys.executable, "-B", ROOT / "bench" / "compare_results", "/dev/null", "/dev/null"], capture_output=True, text=True)
        self.assertEqual(done.returncode, 2)
        self.assertIn("/dev/null", done.stderr)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], "-v"])
