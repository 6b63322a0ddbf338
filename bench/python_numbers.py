#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the Python package costs, beside the C++ programs and plain Python, in one run.

    PYTHONPATH=build/release/python build/python/bin/python bench/python_numbers.py --build build/release [--json FILE]

Part of bench/run.

Round trips: one robot (chiral-serve), asked in turn by chiral-probe, by chiral.PolicyClient and by websockets + msgpack.
CPU per observation: chiral-probe asks chiral-serve, a Python robot, and one of websockets + msgpack; the robot's process is
weighed. Updates: update_image() beside memmove of the same bytes. Rows are compared within a run; the machine is as it is.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

import chiral

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "python" / "tests"))

from pure_peer import PureClient, PureServer  # noqa: E402
from report import put_between_markers  # noqa: E402

CAMERAS = (1, 4, 8)
HEIGHT, WIDTH = 480, 640


class Robot(chiral.PolicyServer):
    """As many RGB-D cameras as asked for, and nothing that moves: what is weighed is the serving."""

    def __init__(self, cameras: int) -> None:
        self._declared = [chiral.CameraConfig(f"cam_{i}", HEIGHT, WIDTH, has_depth=True) for i in range(cameras)]
        super().__init__("127.0.0.1", 0)

    def camera_configs(self) -> list[chiral.CameraConfig]:
        return self._declared

    async def reset(self) -> tuple[chiral.Observation, dict[str, Any]]:
        return self._make_obs(), {}

    async def apply_action(self, action: Any) -> None:
        pass


def pure_robot(cameras: int) -> PureServer:
    image, depth = np.full((HEIGHT, WIDTH, 3), 7, np.uint8), np.full((HEIGHT, WIDTH), 0.5, np.float32)
    fields = {"timestamp": 1.0, "intrinsics": np.eye(3), "extrinsics": np.eye(4), "image": image, "depth": depth}
    return PureServer({"timestamp": 0.0, "extra": {}, "proprios": {}, "cameras": [{"name": f"cam_{i}", **fields} for i in range(cameras)]})


def serve_for_ever(kind: str, cameras: int) -> None:
    with (Robot(cameras) if kind == "python" else pure_robot(cameras)) as robot:
        print(f"port {robot.port}", flush=True)
        sys.stdin.read()


@contextmanager
def robot_process(build: pathlib.Path, kind: str, cameras: int) -> Iterator[tuple[int, int]]:
    """A robot in a process of its own: its pid and port."""
    if kind == "c++":
        command = [str(build / "tools" / "chiral-serve"), "--port", "0", "--depth", "--cameras", str(cameras), "--proprios", "0",
                   "--camera-hz", "0.01", "--size", f"{WIDTH}x{HEIGHT}"]
    else:
        command = [sys.executable, __file__, "--serve", kind, "--cameras", str(cameras)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    try:
        for line in process.stdout:
            found = re.search(r"(?:port |:)(\d{4,5})\b", line)
            if found:
                yield process.pid, int(found[1])
                return
        raise RuntimeError(f"{command[0]} told no port")
    finally:
        process.kill()
        process.wait()


def cpu_seconds(pid: int) -> float:
    """Of all threads that are there, to the nanosecond: those that serve stay."""
    return sum(int(task.read_text(encoding="ascii").split()[0]) for task in pathlib.Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9


def probe(build: pathlib.Path, port: int, count: int) -> float:
    """p50 of the C++ client's round trips, in ms."""
    with tempfile.NamedTemporaryFile(suffix=".json") as numbers:
        subprocess.run([str(build / "tools" / "chiral-probe"), f"ws://127.0.0.1:{port}", "--count", str(count), "--json", numbers.name],
                       check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        told = json.loads(pathlib.Path(numbers.name).read_text(encoding="utf-8"))
    return float(told["round_trip_ms"]["p50"])


def timed(call: Callable[[], Any], count: int) -> float:
    """p50 in ms."""
    for _ in range(5):
        call()
    times = []
    for _ in range(count):
        began = time.perf_counter()
        kept = call()  # as a program keeps an observation until it has the next
        times.append(time.perf_counter() - began)
    return float(np.median(times)) * 1e3


def round_trips(build: pathlib.Path, cameras: int, count: int, rounds: int) -> dict[str, float]:
    """Of so many rounds the quietest counts: a p50 holds what else the machine did meanwhile."""
    kinds: dict[str, list[float]] = {"c++": [], "python": [], "pure": []}
    with robot_process(build, "c++", cameras) as (_, port):
        for _ in range(rounds):  # in turn, so that a machine that changes changes all of them
            kinds["c++"].append(probe(build, port, count))
            with chiral.PolicyClient(f"ws://127.0.0.1:{port}") as env:
                kinds["python"].append(timed(env.get_obs, count))
            pure = PureClient(f"ws://127.0.0.1:{port}")
            kinds["pure"].append(timed(pure.get_obs, max(10, count // 5)))
            pure.close()
    return {kind: min(p50s) for kind, p50s in kinds.items()}


def cpu_per_observation(build: pathlib.Path, kind: str, cameras: int, count: int) -> float:
    with robot_process(build, kind, cameras) as (pid, port):
        probe(build, port, 20)
        before = cpu_seconds(pid)
        probe(build, port, count)
        return (cpu_seconds(pid) - before) / count * 1e3


def updates(count: int) -> dict[str, float]:
    robot = Robot(1)
    image = np.full((HEIGHT, WIDTH, 3), 7, np.uint8)  # zeros that nobody has written are one page, in the nearest cache
    target = np.empty_like(image)
    where, source, size = target.ctypes.data, image.ctypes.data, image.nbytes
    copies, published = [], []
    for _ in range(5):
        copies.append(timed(lambda: ctypes.memmove(where, source, size), count))
        published.append(timed(lambda: robot.update_image("cam_0", image), count))
    return {"memcpy": min(copies) * 1e3, "update_image": min(published) * 1e3}


def measure(build: pathlib.Path, count: int, rounds: int) -> dict[str, Any]:
    numbers: dict[str, Any] = {"round_trip_p50_ms": {}, "server_cpu_ms": {}, "count": count, "rounds": rounds}
    for cameras in CAMERAS:
        say(f"round trips, {cameras} RGB-D cameras")
        numbers["round_trip_p50_ms"][str(cameras)] = round_trips(build, cameras, count, rounds)
    say("CPU of servers")
    for kind in ("c++", "python", "pure"):
        numbers["server_cpu_ms"][kind] = cpu_per_observation(build, kind, 4, 3 * count)
    say("update_image()")
    numbers["update_us"] = updates(10 * count)
    return numbers


def say(what: str) -> None:
    print(f"python_numbers: {what}", file=sys.stderr, flush=True)


@dataclass
class Row:
    """One question: what Python's package needs, beside what somebody else does."""

    what: str
    ours: str
    rival: str
    ratio: float
    most: float | None = None  # what the ratio may be

    @property
    def goal(self) -> str:
        if self.most is None:
            return ""
        return f"<= {self.most:.3g} x {'met' if self.ratio <= self.most else 'MISSED'}"


def rows_of(numbers: dict[str, Any]) -> list[Row]:
    rows = []
    for cameras, p50 in numbers["round_trip_p50_ms"].items():
        what = f"observation of {cameras} RGB-D camera{'s' if cameras != '1' else ''}, client's p50"
        ours = f"{p50['python']:.2f} ms"
        rows.append(Row(what, ours, f"C++ client {p50['c++']:.2f} ms", p50["python"] / p50["c++"], 1.15))
        rows.append(Row(what, ours, f"websockets + msgpack {p50['pure']:.2f} ms", p50["python"] / p50["pure"]))
    cpu = numbers["server_cpu_ms"]
    what, ours = "server's CPU for an observation of 4", f"{cpu['python']:.2f} ms"
    rows.append(Row(what, ours, f"C++ robot {cpu['c++']:.2f} ms", cpu["python"] / cpu["c++"], 1.3))
    rows.append(Row(what, ours, f"websockets + msgpack {cpu['pure']:.2f} ms", cpu["python"] / cpu["pure"]))
    update = numbers["update_us"]
    most = (1.1 * update["memcpy"] + 5.0) / update["memcpy"]
    rows.append(Row("update_image(), 640x480 RGB", f"{update['update_image']:.1f} us", f"memcpy {update['memcpy']:.1f} us",
                    update["update_image"] / update["memcpy"], most))
    return rows


def markdown(rows: list[Row]) -> str:
    text = ["| what | chiral for Python | rival | ratio | goal |", "| --- | --- | --- | --- | --- |"]
    text += [f"| {row.what} | {row.ours} | {row.rival} | {row.ratio:.3g} | {row.goal} |" for row in rows]
    return "\n".join(text) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build" / "release", help="build folder with the C++ programs")
    parser.add_argument("--count", type=int, default=100, help="observations of each measurement [100]")
    parser.add_argument("--rounds", type=int, default=9, help="of the round trips, each of them with every client in turn [9]")
    parser.add_argument("--json", type=pathlib.Path, help="write the numbers to this file")
    parser.add_argument("--tell", type=pathlib.Path, metavar="JSON", help="measure nothing: tell what is in this file")
    parser.add_argument("--save", action="store_true", help="make this the stored result, in bench/results and bench/README.md")
    parser.add_argument("--serve", choices=("python", "pure"), help=argparse.SUPPRESS)
    parser.add_argument("--cameras", type=int, default=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve_for_ever(arguments.serve, arguments.cameras)
        return

    numbers = json.loads(arguments.tell.read_text()) if arguments.tell else measure(arguments.build, arguments.count, arguments.rounds)
    if arguments.json:
        arguments.json.write_text(json.dumps(numbers, indent=2) + "\n", encoding="utf-8")
    rows = rows_of(numbers)
    for row in rows:
        print(f"  {row.what:<46} {row.ours:<12} {row.rival:<30} {row.ratio:5.2f} x  {row.goal}".rstrip())
    if arguments.save:
        put_between_markers(ROOT / "bench" / "README.md", markdown(rows), "python")
        (ROOT / "bench" / "results" / "python.json").write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
