# SPDX-License-Identifier: Apache-2.0
"""bench/python_numbers.py on so little that its numbers mean nothing: each is there, and is told beside its goal."""

from __future__ import annotations

import json
import math
import os
import pathlib
import subprocess
import sys

from conftest import DEADLINE

ROOT = pathlib.Path(__file__).resolve().parents[2]


def numbers(*arguments: object) -> str:
    command = [sys.executable, "-B", ROOT / "bench" / "python_numbers.py", *arguments]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=3 * DEADLINE, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_number_is_measured_and_told(tmp_path: pathlib.Path) -> None:
    build = pathlib.Path(os.environ["CHIRAL_PROGRAMS"].split(":")[0]).parents[1]
    told = numbers("--build", build, "--count", 2, "--rounds", 1, "--json", tmp_path / "numbers.json")
    measured = json.loads((tmp_path / "numbers.json").read_text(encoding="utf-8"))
    figures = [*measured["round_trip_p50_ms"].values(), measured["server_cpu_ms"], measured["update_us"]]
    assert [len(figure) for figure in figures] == [3, 3, 3, 3, 2]
    assert all(math.isfinite(value) and value >= 0 for figure in figures for value in figure.values()), measured
    assert measured["round_trip_p50_ms"].keys() == {"1", "4", "8"}


def test_goals_that_are_missed_are_told(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "numbers.json"
    for python, verdict in ((1.14, "met"), (1.16, "MISSED")):
        p50 = {"c++": 1.0, "python": python, "pure": 4.0}
        file.write_text(json.dumps({"round_trip_p50_ms": {"8": p50}, "server_cpu_ms": {"c++": 1.0, "python": python * 1.13, "pure": 9.0},
                                    "update_us": {"memcpy": 30.0, "update_image": 38.0 * python / 1.15}}), encoding="utf-8")
        goals = [line for line in numbers("--tell", file).splitlines() if "<=" in line]
        assert len(goals) == 3 and all(line.endswith(verdict) for line in goals), goals
