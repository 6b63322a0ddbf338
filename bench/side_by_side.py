#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""This project beside what others made for the same, in one run: peers/ has the two ends of each, as programs.

    side_by_side.py --build build/bench [--quick | --tiny] [--only handover|sensor|asked_for] --json FILE

handover   an image goes from one process to another of the same machine. "next": from right before it is published until the other
           process, which sleeps, has it in hand. "newest": what it costs to get at the newest one, at a time of one's own.
sensor     how long an image update of a sensor thread takes, without readers and with five of the same machine, which are as many
           as a robot lends to: processes that follow it and read all. Both in each repetition, one right after the other.
asked_for  an observation is asked for over loopback, and is there in whole arrays.

Ways take turns in each repetition; both processes of a way are started anew for each, the giver on the first core, the taker on the
others, and all have the same priority: SCHED_FIFO where that is allowed. What bench/setup has not installed is left out, with a line that says so. Part of bench/run.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from dataclasses import dataclass

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
RIVALS = ROOT / "build" / "rivals"
PYTHON = RIVALS / "python" / "bin" / "python"
PRIORITY = 10
ORDINARY = "CHIRAL_BENCH_ORDINARY"  # set: no priority, beside other tests
WAIT = 60  # seconds that a peer may take, beyond what it was asked for

VGA, LARGE = 640 * 480 * 3, 17_280_000
RGBD = 640 * 480 * 7


@dataclass(frozen=True)
class Way:
    name: str
    giver: list
    taker: list
    where: str = "-"  # what the giver is told: {socket} is a path of its own, {service} a name
    ours: bool = False
    polls: bool = False  # who waits for the next looks for it over and over instead of sleeping: ours when it is due, others always


def ways(build):
    """All that are known, by experiment."""
    def python(name):
        return [PYTHON, "-B", HERE / "peers" / f"{name}_peer.py"]
    chiral, bare, grpc = (build / "bench" / name for name in ("chiral-peer", "chiral-bare-peer", "chiral-grpc-peer"))
    iceoryx2 = RIVALS / "iceoryx2" / "release" / "iceoryx2_peer"
    handover = [
        Way("chiral", [chiral], [chiral], "{socket}", True),
        Way("chiral_polling", [chiral], [chiral], "{socket}", True, True),
        Way("bare_futex", [bare], [bare]),
        Way("iceoryx2_rust", [iceoryx2], [iceoryx2], "{service}"),
        Way("chiral_python", [chiral], python("chiral"), "{socket}", True),
        Way("chiral_polling_python", [chiral], python("chiral"), "{socket}", True, True),
        Way("iceoryx2_polling_rust", [iceoryx2], [iceoryx2], "{service}", polls=True),
        Way("iceoryx2_polling_python", python("iceoryx2"), python("iceoryx2"), "{service}", polls=True),
        Way("iceoryx2_python", python("iceoryx2"), python("iceoryx2"), "{service}"),
        Way("zenoh_python", python("zenoh"), python("zenoh")),
        Way("chiral_websocket", [chiral], [chiral], "ws", True),
        Way("chiral_websocket_python", [chiral], python("chiral"), "ws", True),
    ]
    asked = [
        Way("chiral", [chiral], [chiral], "ws", True),
        Way("grpc", [grpc], [grpc]),
        Way("chiral_python", [chiral], python("chiral"), "ws", True),
        Way("grpc_python", python("grpc"), python("grpc")),
        Way("zenoh_python", python("zenoh"), python("zenoh")),
        Way("websockets_python", python("websockets"), python("websockets")),
    ]
    return {"handover": handover, "asked_for": asked}


@dataclass(frozen=True)
class Case:
    experiment: str
    bytes: int
    asks_for: str
    hz: float
    count: int  # of each repetition

    def serves(self, way):
        # WebSocket answers when asked: the newest is a round trip, which asked_for has. Zenoh receives on threads of its own, which the
        # taker that computes beside them on one core, at one priority, keeps from what is new. The bare one keeps nothing for whoever looks.
        return self.asks_for != "newest" or not any(name in way.name for name in ("websocket", "zenoh", "polling", "bare"))


def plan(effort):
    """Repetitions, and what is measured in each."""
    repetitions, count, asked = {"full": (3, 40, 12), "quick": (1, 10, 0), "tiny": (2, 2, 2)}[effort]
    # At these rates all can follow, and between two looks at the newest, 8 ms, there is always another one.
    sizes = (VGA, LARGE) if effort == "full" else (VGA,)
    cases = [Case("handover", size, asks, 150 if size == VGA or asks == "newest" else 60, count) for size in sizes
             for asks in ("next", "newest")]
    if asked:  # a quick run's minute would be gone while the peers start
        cases += [Case("asked_for", 8 * RGBD, "asked", 0, asked)]
    return repetitions, cases


def set_priority():
    if os.environ.get(ORDINARY):
        return
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
    except PermissionError:
        pass


def may_have_priority():
    return not os.environ.get(ORDINARY) and subprocess.run(["chrt", "-f", str(PRIORITY), "true"], capture_output=True, check=False).returncode == 0


class LeftOut(Exception):
    pass


def said_by(process):
    process.kill()
    words = process.stderr.read().strip().splitlines()
    return words[-1] if words else f"exit code {process.wait()}"


def first_core():
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    set_priority()


def other_cores():
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[1:] or cores)
    set_priority()


def start(command, environment, where=set_priority):
    try:
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
                                preexec_fn=where)
    except OSError as error:
        raise LeftOut(f"{command[0]} cannot be started: {error.strerror}; bench/setup installs it") from error


def address_of(giver):
    words = giver.stdout.readline().split()
    if not words:
        raise LeftOut(said_by(giver))
    return words[-1]


def measure(way, case, environment, folder, number):
    """Figures of one turn, in nanoseconds."""
    where = way.where.format(socket=f"{folder}/{number}.sock", service=f"chiral_bench_{os.getpid()}_{number}")
    size, asks_for = str(case.bytes), case.asks_for + ("_polling" if way.polls else "")
    with start([*way.giver, "give", where, size, str(case.hz)], environment, first_core) as giver:
        try:
            with start([*way.taker, "take", address_of(giver), size, asks_for, str(case.count)], environment, other_cores) as taker:
                try:
                    out, problem = taker.communicate(timeout=WAIT)
                    return json.loads(out)
                except subprocess.TimeoutExpired as error:
                    taker.kill()
                    raise LeftOut(f"no figures in {WAIT} s") from error
                except json.JSONDecodeError as error:
                    raise LeftOut((problem.strip().splitlines() or ["it printed no figures"])[-1]) from error
        finally:
            giver.stdin.close()
            try:
                giver.wait(10)
            except subprocess.TimeoutExpired:
                giver.kill()


def quantile(values, part):
    return values[min(len(values) - 1, int(part * len(values)))]


def row_of(case, way, figures, priority):
    """In the form of chiral-bench's rows: record.cpp."""
    times = sorted(time for repetition in figures for time in repetition)

    def tail(part):
        return quantile(times, part) if (1 - part) * len(times) >= 1 else None
    return {"experiment": case.experiment, "way": way.name, "bytes": case.bytes, "asks_for": case.asks_for, "priority": priority,
            "repetitions": len(figures), "samples": len(times), "p50_ns": quantile(times, 0.5), "p99_ns": tail(0.99), "p999_ns": tail(0.999),
            "max_ns": times[-1], "p50_of_repetitions_ns": [quantile(sorted(repetition), 0.5) for repetition in figures]}


def run(build, effort, only):
    repetitions, cases = plan(effort)
    known = ways(build)
    priority = "fifo" if may_have_priority() else "normal"
    # An environment of its own has the rivals; ours is found where it was built.
    environment = {**os.environ, "PYTHONPATH": f"{build / 'python'}:{HERE / 'peers'}"}
    rows, gone = [], {}
    with tempfile.TemporaryDirectory() as folder:
        for case in cases:
            if only and case.experiment != only:
                continue
            say(f"{case.experiment}, {case.bytes / 1e6:.2g} MB, {case.asks_for}")
            turns = [way for way in known[case.experiment] if case.serves(way)]
            figures = {way.name: [] for way in turns}
            for repetition in range(repetitions):
                for i in range(len(turns)):
                    way = turns[(i + repetition) % len(turns)]
                    if (case.experiment, way.name) in gone:
                        continue
                    try:
                        figures[way.name].append(measure(way, case, environment, folder, f"{len(rows)}_{repetition}_{i}"))
                    except LeftOut as why:
                        if way.ours and way.taker == way.giver:
                            raise
                        gone[case.experiment, way.name] = str(why)
                        say(f"{way.name} is left out: {why}")
            rows += [row_of(case, way, figures[way.name], priority) for way in turns if (case.experiment, way.name) not in gone]
    return rows + (sensor_rows(build, effort) if only in (None, "sensor") else [])


FOLLOWERS, SENSOR_HZ = 5, 100  # as many as a robot lends to at once: each may hold two observations


def updates(sensor):
    sensor.stdin.write("\n")
    sensor.stdin.flush()
    return json.loads(sensor.stdout.readline())


def updates_beside_followers(sensor, peer, address):
    followers = [subprocess.Popen([peer, "follow", address if i == 0 else address + "?observe=1"], stdout=subprocess.PIPE, preexec_fn=other_cores)
                 for i in range(FOLLOWERS)]
    try:
        for follower in followers:
            if not follower.stdout.readline():
                raise LeftOut(f"a local client was not let in: {address}")
        return updates(sensor)
    finally:
        for follower in followers:
            follower.kill()
            follower.wait()


def sensor_rows(build, effort):
    repetitions, count = {"full": (7, 150), "quick": (1, 20), "tiny": (2, 5)}[effort]
    peer = build / "bench" / "chiral-peer"
    priority = "fifo" if may_have_priority() else "normal"
    say(f"sensor thread beside {FOLLOWERS} local readers")
    figures = {0: [], FOLLOWERS: []}
    with tempfile.TemporaryDirectory() as folder:
        for repetition in range(repetitions):
            command = [peer, "sense", f"{folder}/{repetition}.sock", str(VGA), str(SENSOR_HZ), str(count)]
            # Where the sensor thread pins itself to is for it to choose: it starts with all cores.
            with start(command, None) as sensor:
                address = address_of(sensor)
                for readers in (0, FOLLOWERS) if repetition % 2 else (FOLLOWERS, 0):
                    figures[readers].append(updates_beside_followers(sensor, peer, address) if readers else updates(sensor))
                sensor.stdin.close()
    rows = []
    for readers, found in figures.items():
        row = row_of(Case("sensor", VGA, "update", SENSOR_HZ, count), Way("chiral", [], []), found, priority)
        rows.append({**row, "readers": readers, "p999_of_repetitions_ns": [sorted(f)[int(0.999 * len(f))] for f in found]})
    return rows


def say(what):
    print(f"side by side: {what}", file=sys.stderr, flush=True)


def text_of(row):
    tail = "-" if row["p99_ns"] is None else f"{row['p99_ns'] / 1e3:.1f} us"
    return (f"{row['experiment']}, {row['way']}, {row['asks_for']}, {row['bytes']} bytes; p50 {row['p50_ns'] / 1e3:.1f} us, p99 {tail}, "
            f"{row['samples']} samples")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build" / "bench", help="build folder with the programs [build/bench]")
    effort = parser.add_mutually_exclusive_group()
    effort.add_argument("--quick", dest="effort", action="store_const", const="quick", default="full", help="less than half a minute")
    effort.add_argument("--tiny", dest="effort", action="store_const", const="tiny", help="numbers without meaning")
    parser.add_argument("--only", choices=("handover", "sensor", "asked_for"))
    parser.add_argument("--json", type=pathlib.Path, help="write the rows to this file")
    arguments = parser.parse_args()
    try:
        rows = run(arguments.build.resolve(), arguments.effort, arguments.only)
    except LeftOut as why:
        sys.exit(f"side_by_side.py: {why}")
    for row in rows:
        print(text_of(row))
    if arguments.json:
        arguments.json.write_text(json.dumps(rows) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
