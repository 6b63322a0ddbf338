# SPDX-License-Identifier: Apache-2.0
"""Lets misbehaving clients loose on chiral-stress and judges what becomes of it. See tools/soak."""
import argparse
import asyncio
import collections
import json
import os
import random
import signal
import sys
import tempfile
import time

import bystander
import misbehaviour
from messages import Incoherent, ask, frame_numbers
from misbehaviour import Wrong
from peer import Ended, Peer, TooLate
from robot import Robot

MOST_ATTEMPTS = 80          # of a well-behaved client, one every 250 ms, until it is served
STORMERS = 8                # who reconnect all the time
RECONNECTS_PER_SECOND = 80  # of all of them, at most
LEAST_RECONNECTS = 10_000   # in 600 s
PATIENCE, LATE = 2.0, 0.5   # seconds for which the server hears nothing before it drops a client, and of those that this program may be late
DECK_SECONDS = 100          # in which every kind of misbehaviour happens
# Allocators keep some of what each kind of misbehaviour needs once, and the kernel counts pages in batches.
MEMORY_MARGIN, MARGIN_FOR_KINDS_TO_COME = 4 << 20, 12 << 20


def warm_up(seconds):
    """For how long memory is taken that stays, and how much more of it there may be in the end. Every kind has had its turn by then,
    unless the whole is too short for that."""
    if seconds < 2 * DECK_SECONDS:
        return seconds / 10, MEMORY_MARGIN + MARGIN_FOR_KINDS_TO_COME
    return max(DECK_SECONDS, seconds / 10), MEMORY_MARGIN


class Door:
    """What clients compete for. One misbehaving client at a time may stay in it, and the next only when the well-behaved one
    has been served since: so that how often that one has to try says how long the server takes to drop the other."""

    def __init__(self):
        self._occupied = False
        self._served_since = True

    async def occupy(self, stopping):
        """False, and the door is free, if it is time to stop."""
        while self._occupied or not self._served_since:
            if stopping.is_set():
                return False
            await asyncio.sleep(0.05)
        self._occupied = True
        self._served_since = False
        return True

    def leave(self):
        self._occupied = False

    def served(self):
        if not self._occupied:
            self._served_since = True


class Census:
    """What all clients share: where the server is, chance, and what has been counted."""

    def __init__(self, robot, seed, serve, certificate):
        self.robot, self.port, self.rng = robot, robot.port, random.Random(seed)
        self.serve, self.certificate = serve, certificate  # of robots beside it
        self.max_connections = 64  # ServerOptions::max_connections
        self.connections = self.reconnects = self.refused = self.dropped = 0
        self.half_open_made = self.half_open_found = 0
        self.observations = 0
        self.happened = collections.Counter()
        self.own_lateness = OwnLateness()
        self.findings = []

    def find(self, text):
        self.findings.append(text)


class OwnLateness:
    """Whether this program kept its word itself: on a busy machine it may not get to answer a ping in time."""

    def __init__(self):
        self._last, self.times = float("-inf"), 0

    async def watch(self, stopping):
        loop, period = asyncio.get_running_loop(), 0.05
        while not stopping.is_set():
            before = loop.time()
            await asyncio.sleep(period)
            if loop.time() - before - period > LATE:
                self._last = loop.time()
                self.times += 1

    async def just_now(self):
        """For as long as a server waits, before now. Who was late learns of it only when it has had its turn."""
        now = asyncio.get_running_loop().time()
        await asyncio.sleep(0.1)
        return self._last >= now - PATIENCE


class WellBehaved:
    """Comes, is let in sooner or later, gets a few observations, and goes."""

    def __init__(self, census, name, path, door):
        self.census, self.name, self.path, self.door = census, name, path, door
        self.visits = self.most_attempts = self.attempts = self.late = 0
        self._floor = {}

    async def live(self, stopping):
        while not stopping.is_set():
            self.attempts += 1
            self.most_attempts = max(self.most_attempts, self.attempts)
            served = False
            try:
                served = await self._visit()
            except (Incoherent, TooLate) as problem:
                self.census.find(f"the well-behaved {self.name}: {problem}")
            except Ended as problem:
                if "says nothing" in str(problem) and await self.census.own_lateness.just_now():
                    self.late += 1
                else:
                    self.census.find(f"the well-behaved {self.name}: {problem}")
            if served:
                self.visits += 1
                self.attempts = 0
                self.door.served()
            await asyncio.sleep(0.25)

    async def _visit(self):
        # What was published before it asks, it must be shown, or something newer.
        metrics = await self.census.robot.metrics(self.census)
        for name in [] if metrics is None else self._floor or self._cameras(metrics):
            self._floor[name] = int(metrics[self._key(name)])
        try:
            peer = await Peer.open(self.census)
        except Ended:
            return False
        with peer:
            try:
                if await peer.handshake(self.path) != 101:
                    return False
            except Ended:
                return False  # too many connections
            for _ in range(4):
                await peer.send(ask("obs_request"))
                for name, number in frame_numbers(await peer.message(), self.census.rng).items():
                    if number < self._floor.get(name, 0):
                        raise Incoherent(f"camera '{name}' shows frame {number} after {self._floor[name]} was published")
                    self._floor[name] = number
                self.census.observations += 1
                await asyncio.sleep(0.05)
            await peer.leave()
        return True

    @staticmethod
    def _key(camera):
        return f'chiral_source_samples_total{{kind="camera",source="{camera}"}}'

    def _cameras(self, metrics):
        prefix, suffix = self._key("\n").split("\n")
        return [name[len(prefix) : -len(suffix)] for name in metrics if name.startswith(prefix)]


class Soak:
    def __init__(self, options, robot, certificate):
        self.options, self.robot = options, robot
        self.census = Census(robot, options.seed, options.serve, certificate)
        self.control, self.seats = Door(), Door()
        self.stopping = asyncio.Event()
        self.clients = [WellBehaved(self.census, "client in control", "/", self.control),
                        WellBehaved(self.census, "observer", "/observe", self.seats)]
        self.interrupted = False
        self.samples = []

    async def run(self):
        seconds = self.options.seconds
        self.began = time.monotonic()
        self.end = self.began + seconds
        warm = self.began + warm_up(seconds)[0]
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, self._interrupt)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._interrupt)
        progress = asyncio.create_task(self._progress())
        before = self.robot.figures()
        # A crowd, until memory is taken that stays; nobody there; the rest of the crowd; nobody there.
        await self._crowd(warm)
        self.first = await self._quiet(before[2])
        if not self.interrupted:
            await self._crowd(self.end)
        self.last = await self._quiet(self.first[2])
        self.metrics = self.robot.running() and await self.robot.metrics(self.census)
        self.seconds = time.monotonic() - self.began
        progress.cancel()

    def _interrupt(self):
        self.interrupted = True
        self.stopping.set()

    async def _crowd(self, until):
        """All at once, until the time has come or the robot has died; returns when the last one has gone."""
        lanes = [client.live(self.stopping) for client in self.clients]
        lanes += [self._lane(misbehaviour.CONTROL, self.control), self._lane(misbehaviour.OBSERVERS, self.seats),
                  self._lane(misbehaviour.FRONT_DOOR, None), self._lane(bystander.KINDS, None), self.census.own_lateness.watch(self.stopping), *(self._storm() for _ in range(STORMERS))]
        tasks = [asyncio.create_task(lane) for lane in lanes]
        while time.monotonic() < until and not self.stopping.is_set() and self.robot.running():
            for task in tasks:
                if task.done():
                    task.result()  # it never returns before: this raises
            await asyncio.sleep(0.1)
        self.stopping.set()
        await asyncio.gather(*tasks)
        if not self.interrupted:
            self.stopping.clear()

    async def _lane(self, kinds, door):
        """One kind after the other: all of them, in another order each time."""
        deck = []
        while not self.stopping.is_set():
            deck = deck or self.census.rng.sample(kinds, len(kinds))
            kind = deck.pop()
            if door and not await door.occupy(self.stopping):
                return
            try:
                await kind(self.census)
                self.census.happened[kind.__name__] += 1
            except Ended:
                self.census.happened[kind.__name__] += 1
            except (Wrong, TooLate) as problem:
                self.census.find(f"{kind.__name__}: {problem}")
            finally:
                if door:
                    door.leave()
            await asyncio.sleep(0.1)

    async def _storm(self):
        while not self.stopping.is_set():
            began = time.monotonic()
            try:
                await misbehaviour.reconnect(self.census)
            except Ended:
                pass  # not even a connection
            except TooLate as problem:
                self.census.find(f"reconnect: {problem}")
            await asyncio.sleep(max(0.0, began + STORMERS / RECONNECTS_PER_SECOND - time.monotonic()))

    async def _quiet(self, descriptors):
        """The figures of the robot when all that came have gone. Descriptors of the last ones need a moment."""
        for _ in range(100):
            if not self.robot.running() or self.robot.figures()[2] <= descriptors:
                break
            await asyncio.sleep(0.1)
        return self.robot.figures() if self.robot.running() else (0, 0, 0)

    async def _progress(self):
        while self.robot.running():
            await asyncio.sleep(min(5.0, self.options.seconds / 10))
            if not self.robot.running():
                return
            resident, threads, descriptors = self.robot.figures()
            census = self.census
            print(f"{max(0.0, self.end - time.monotonic()):5.0f} s left  {census.connections} connections, "
                  f"{census.refused} refused, {census.dropped} dropped, {census.observations} observations, "
                  f"{resident / 1e6:.1f} MB, {descriptors} descriptors, {threads} threads, {len(census.findings)} findings",
                  flush=True)
            self.samples.append({"seconds": time.monotonic() - self.began, "resident_bytes": resident,
                                 "descriptors": descriptors, "threads": threads, "connections": census.connections})


def judge(soak, code, result):
    """[(promise, measured, kept)]"""
    census = soak.census
    rows = []

    def add(promise, measured, kept):
        rows.append((promise, measured, bool(kept)))

    mb = [figures[0] / 1e6 for figures in (soak.first, soak.last)]
    warm, margin = warm_up(soak.options.seconds)
    add("memory stays flat", f"{mb[0]:.1f} MB after {warm:.0f} s, {mb[1]:.1f} MB at the end; {margin / 1e6:.1f} more are allowed",
        soak.last[0] and soak.last[0] <= soak.first[0] + margin)
    add("descriptors come back", f"{soak.first[2]} after {warm:.0f} s, {soak.last[2]} at the end",
        0 < soak.last[2] <= soak.first[2])
    add("threads stay the same", f"{soak.first[1]} and {soak.last[1]}", soak.last[1] == soak.first[1] > 0)
    add("the robot does not crash", "it ended when told to" if code in (0, 1, 130) else f"exit code {code}", code in (0, 1, 130))
    if result is None:
        add("writers are not affected, and nothing is torn", "chiral-stress left no results", False)
    else:
        failures = result["failures"]
        lateness = result["lateness_us"]["camera"]
        add("writers are not affected, and nothing is torn",
            failures[0] if failures else
            f"chiral-stress: pass; cameras wake late by p99 {lateness['p99']:.0f} us, canary {lateness['canary']['p99']:.0f} us; "
            f"{result['ws']['observations']} observations checked in full", result["verdict"] == "pass")
        server = result["server"]
        add("every dead link is found in time",
            f"{census.half_open_made} made, {server['half_open']} found, after {server['longest_half_open_ms']:.0f} ms at the "
            "longest", server["half_open"] == census.half_open_made)
        add("no hook and no update failed", f"{server['hook_errors']} hook errors, {server['update_errors']} update errors",
            server["hook_errors"] == server["update_errors"] == 0)
    for client in soak.clients:
        add(f"the well-behaved {client.name} is served",
            f"{client.visits} visits, at most {client.most_attempts} attempts for one; {MOST_ATTEMPTS} are allowed"
            + (f"; {client.late} ended because this program itself was late" if client.late else ""),
            client.visits > 0 and client.most_attempts <= MOST_ATTEMPTS)
    least = int(LEAST_RECONNECTS * soak.seconds / 600)
    add("clients reconnect all the time", f"{census.reconnects} times without a goodbye, {least} are asked for; "
        f"{census.connections} connections in all", census.reconnects >= least)
    kinds = misbehaviour.FRONT_DOOR + misbehaviour.CONTROL + misbehaviour.OBSERVERS + bystander.KINDS
    missing = [kind.__name__ for kind in kinds if not census.happened[kind.__name__]]
    add("every kind of misbehaviour happens", f"{sum(census.happened.values())} times, {len(kinds) - len(missing)} of "
        f"{len(kinds)} kinds" + (f"; not in this time: {', '.join(missing)}" if missing else ""),
        not missing or soak.interrupted or soak.seconds < DECK_SECONDS)
    add("the server does what it must to each", f"{len(census.findings)} times it did not"
        + (f": {census.findings[0]}" if census.findings else ""), not census.findings)
    return rows


async def main(options):
    with tempfile.TemporaryDirectory() as folder:
        robot = Robot(options.program, ["--seconds", str(options.seconds + 900), "--size", options.size, "--cameras", "2",
                                        "--proprios", "2", "--reader-hz", "100", "--obs-hz", "15"],
                      os.path.join(folder, "stress.json"))
        await robot.start()
        soak = Soak(options, robot, bystander.make_certificate(folder))
        print(f"{robot.description}\nsoak of {options.seconds:g} s, seed {options.seed}", flush=True)
        try:
            await soak.run()
        finally:
            code, result = await robot.end()
    rows = judge(soak, code, result)
    width = max(len(promise) for promise, _, _ in rows)
    print()
    for promise, measured, kept in rows:
        print(f"{'ok' if kept else 'FAIL':4}  {promise:{width}}  {measured}")
    if result is None or result["verdict"] != "pass":
        print("\nchiral-stress said last:", *robot.last_lines[-30:], sep="\n  ")
    for finding in soak.census.findings[:20]:
        print("  " + finding)
    passed = all(kept for _, _, kept in rows)
    after = f" (interrupted after {soak.seconds:.0f} s of {options.seconds:g} s)" if soak.interrupted else ""
    print(f"\nverdict: {'pass' if passed else 'fail'}{after}")
    if options.json:
        with open(options.json, "w") as file:
            json.dump({"verdict": "pass" if passed else "fail", "seconds": soak.seconds, "seed": options.seed,
                       "interrupted": soak.interrupted,
                       "promises": [dict(zip(("promise", "measured", "kept"), row)) for row in rows],
                       "connections": soak.census.connections, "reconnects": soak.census.reconnects,
                       "refused": soak.census.refused, "dropped": soak.census.dropped,
                       "observations": soak.census.observations, "happened": soak.census.happened,
                       "findings": soak.census.findings, "samples": soak.samples, "stress": result}, file, indent=2)
            file.write("\n")
    return 0 if passed else 1


def parse(arguments):
    parser = argparse.ArgumentParser(prog="tools/soak")
    parser.add_argument("--program", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--serve", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--size", default="640x480")
    parser.add_argument("--json")
    options = parser.parse_args(arguments)
    if not options.seconds > 0:
        parser.error("--seconds: a number above 0")
    if options.json:
        try:
            open(options.json, "a").close()
        except OSError as error:
            parser.error(f"--json: {error}")
    return options


if __name__ == "__main__":
    sys.exit(asyncio.run(main(parse(sys.argv[1:]))))
