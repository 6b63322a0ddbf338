# SPDX-License-Identifier: Apache-2.0
"""What all command lines here have in common: --help, --version, exit codes, and how a mistake is told.

Programs are given in CHIRAL_PROGRAMS, separated by colons; scripts are tried on a copy of their folders in which setup and build
only say that they were called.
"""
import os
import pathlib
import re
import shutil
import stat
import subprocess
import tempfile
import unittest

PROGRAMS = os.environ["CHIRAL_PROGRAMS"].split(":")
ROOT = pathlib.Path(os.environ["CHIRAL_ROOT"])
SCRIPTS = ("tools/run", "tools/test", "tools/verify", "tools/fuzz", "tools/soak", "bench/run")
DEADLINE = 60.0


def run(*command, cwd=None):
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=DEADLINE, cwd=cwd,
                          check=False)


class EveryProgram(unittest.TestCase):
    def each(self):
        for program in PROGRAMS:
            with self.subTest(os.path.basename(program)):
                yield program, os.path.basename(program)

    def test_tells_its_version(self):
        for program, name in self.each():
            result = run(program, "--version")
            self.assertEqual((result.returncode, result.stderr), (0, ""))
            self.assertRegex(result.stdout, rf"^{name} [0-9]+\.[0-9]+\.[0-9]+\n$")

    def test_has_help_on_standard_output_with_the_same_exit_codes(self):
        for program, _ in self.each():
            result = run(program, "--help")
            self.assertEqual((result.returncode, result.stderr), (0, ""))
            self.assertIn("Exit code: 0 good, 1 failed, 2 wrong usage, 130 interrupted", result.stdout)
            self.assertIn("--version", result.stdout)

    def test_names_the_option_that_may_have_been_meant_and_ends_with_2(self):
        for program, name in self.each():
            for wrong in ("--hlep", "--versoin=3"):
                result = run(program, wrong, "ws://x" if name == "chiral-probe" else "")
                self.assertEqual((result.returncode, result.stdout), (2, ""))
                meant = "--help" if wrong == "--hlep" else "--version"
                self.assertIn(f"{name}: '{wrong.split('=')[0]}' is not known; did you mean '{meant}'?\n", result.stderr)

    def test_says_nothing_of_what_was_meant_where_nothing_is_near(self):
        for program, name in self.each():
            result = run(program, "--zzzzzzzzzz", "ws://x" if name == "chiral-probe" else "")
            self.assertEqual(result.returncode, 2)
            self.assertNotIn("did you mean", result.stderr)
            self.assertIn(f"{name} --help", result.stderr)


class Names(unittest.TestCase):
    def test_of_engines_and_faults_that_may_have_been_meant_are_told(self):
        stress = next(program for program in PROGRAMS if program.endswith("chiral-stress"))
        for arguments, wanted in ((("--engine", "mutx"), "no engine 'mutx'; did you mean 'mutex'?"),
                                  (("--fault", "dead_writr"), "no fault 'dead_writr'; did you mean 'dead_writer'?")):
            result = run(stress, *arguments)
            self.assertEqual(result.returncode, 2)
            self.assertIn(wanted, result.stderr)


class EveryScript(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        for name in (*SCRIPTS, "bench/setup", "tools/arguments.sh", "CMakePresets.json", "CMakeLists.txt"):
            (self.folder / name).parent.mkdir(exist_ok=True)
            shutil.copy(ROOT / name, self.folder / name)
        for name in ("setup", "build"):
            script = self.folder / "tools" / name
            script.write_text(f"#!/bin/sh\necho called {name} \"$@\" >&2\nexit 7\n", encoding="utf-8")
            script.chmod(script.stat().st_mode | stat.S_IXUSR)

    def test_looks_at_its_arguments_before_it_builds(self):
        for script, *arguments in (
                ("tools/run", "--seconds", "x"), ("tools/run", "--seconds", "0"), ("tools/run", "--seconds"),
                ("tools/run", "--secnds", "3"), ("tools/run", "--json", "/no/such/folder/file"), ("tools/run", "--size", "64"),
                ("tools/run", "--depth=3"), ("tools/run", "--fault", "nope"), ("tools/run", "--engine=nope"),
                ("tools/run", "--transport", "zenoh"), ("tools/run", "--writes", "frame|fields"), ("tools/soak", "--seconds=-1"), ("tools/soak", "--size", "x"),
                ("tools/test", "--preset", "no-such"), ("tools/test", "--quik"), ("tools/verify", "--lng"),
                ("tools/fuzz", "--seconds", "1.5"), ("tools/fuzz", "no_target"), ("bench/run", "--quick", "--save-results"),
                ("bench/run", "--jsn", "x")):
            with self.subTest(script=script, arguments=arguments):
                result = run("bash", str(self.folder / script), *arguments)
                self.assertEqual(result.returncode, 2, result.stderr)
                self.assertNotIn("called", result.stderr)
                self.assertIn(f"{script}: ", result.stderr)
                self.assertIn(f"{script} --help", result.stderr)

    def test_goes_on_to_build_when_they_are_right(self):
        for script, *arguments in (("tools/run", "--seconds", "1.5", "--engine=mutex", "--no-depth", "--fault", "all"), ("tools/soak", "--seed", "3"),
                                   ("tools/test", "--preset=asan", "--quick"), ("tools/verify", "--long"),
                                   ("tools/fuzz", "--seconds", "2", "uri"), ("bench/run", "--quick", "--json", "x")):
            with self.subTest(script=script):
                result = run("bash", str(self.folder / script), *arguments)
                self.assertEqual(result.returncode, 7, result.stderr)
                self.assertIn("called setup", result.stderr)

    def test_has_help_and_a_version(self):
        for script in SCRIPTS:
            with self.subTest(script=script):
                result = run("bash", str(self.folder / script), "--help")
                self.assertEqual(result.returncode, 0)
                self.assertIn(script, result.stdout)
                result = run("bash", str(self.folder / script), "--version")
                self.assertEqual(result.returncode, 0)
                self.assertRegex(result.stdout, rf"^{script} [0-9]+\.[0-9]+\.[0-9]+\n$")

    def test_run_knows_every_option_of_the_program_that_it_runs(self):
        stress = next(program for program in PROGRAMS if program.endswith("chiral-stress"))
        options = set(re.findall(r"^  (?:-h,)?(--[a-z-]+)", run(stress, "--help").stdout, re.MULTILINE)) - {"--help", "--version"}
        self.assertGreater(len(options), 10)
        checked = (ROOT / "tools/run").read_text(encoding="utf-8")
        self.assertEqual({option for option in options if f"{option}=" not in checked and f"{option} " not in checked
                          and f'{option}"' not in checked}, set())

    def test_run_knows_every_name_of_the_program_that_it_runs(self):
        stress = next(program for program in PROGRAMS if program.endswith("chiral-stress"))
        words = dict(re.findall(r"(--[a-z-]+)=([a-z_]+(?:\|[a-z_]+)+)", (ROOT / "tools/run").read_text(encoding="utf-8")))
        for option, more in (("--engine", {"list"}), ("--fault", {"list", "all"})):
            known = run(stress, option, "list").stdout.split()
            self.assertGreater(len(known), 3)
            self.assertEqual(set(words[option].split("|")), {*known, *more})
        for option in ("--transport", "--writes"):
            wrong = run(stress, option, "nope").stderr
            self.assertEqual(sorted(words[option].split("|")), re.search(r"nope not in \{(.*)\}", wrong)[1].split(","))

    def test_the_tests_of_the_extension_are_chosen_by_names_that_there_are(self):
        result = run("bash", str(ROOT / "tools/test_extension"), "no_such")
        self.assertEqual((result.returncode, result.stderr), (2, "tools/test_extension: there is no python/tests/test_no_such.py\n"))

    def test_wheels_says_what_is_no_python(self):
        result = run("bash", str(ROOT / "tools/wheels"), "no-such-python")
        self.assertEqual((result.returncode, result.stdout), (2, ""))
        self.assertEqual(result.stderr, "tools/wheels: 'no-such-python' is no Python of 3.10 or newer\n")


if __name__ == "__main__":
    unittest.main(verbosity=2)
