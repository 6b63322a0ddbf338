# SPDX-License-Identifier: Apache-2.0
"""The engine's hot calls execute no more instructions than are stored here, whatever the machine's mood: callgrind counts them.

    instructions_test.py [--store]     CHIRAL_HOT_CALLS names the program; --store writes instructions.json anew

Counts depend on compiler and flags, so they are stored with the compiler that they are of, and judged with a margin.
"""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

STORED = pathlib.Path(__file__).with_name("instructions.json")
CALLS = ("update_proprio", "update_extrinsics", "commit_frame", "pin_8_cameras", "latest_proprio")
MARGIN = 1.15
FEW, MANY = 100, 1100


def instructions(call, count):
    """All that measured() executed."""
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "callgrind.out"
        subprocess.run([shutil.which("valgrind"), "--tool=callgrind", f"--callgrind-out-file={out}", "--toggle-collect=*measured*",
                        os.environ["CHIRAL_HOT_CALLS"], call, str(count)], check=True, capture_output=True, timeout=200)
        return int(re.search(r"^(?:summary|totals): (\d+)", out.read_text(), re.MULTILINE)[1])


def for_each(call):
    return (instructions(call, MANY) - instructions(call, FEW)) / (MANY - FEW)


class HotCalls(unittest.TestCase):
    def test_execute_no_more_instructions_than_are_stored(self):
        stored = json.loads(STORED.read_text())["instructions"]
        self.assertEqual(set(stored), set(CALLS))
        for call in CALLS:
            with self.subTest(call):
                now = for_each(call)
                self.assertGreater(now, 10)
                self.assertLess(now, MARGIN * stored[call], f"{call} executes {now:.0f} instructions, {stored[call]} were stored; if more "
                                                            "are worth it, run this with --store and say why in the commit")


if __name__ == "__main__":
    if sys.argv[1:] == ["--store"]:
        compiler = subprocess.run(["c++", "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]
        STORED.write_text(json.dumps({"compiler": compiler, "instructions": {call: round(for_each(call)) for call in CALLS}}, indent=2) + "\n")
    else:
        unittest.main(argv=[sys.argv[0], "-v"])
