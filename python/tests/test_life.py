# SPDX-License-Identifier: Apache-2.0
"""Processes that end, fork or are interrupted at any moment, and references that are dropped anywhere."""

from __future__ import annotations

import gc
import os
import resource
import signal
import subprocess
import sys
import textwrap
import weakref
from typing import Any

import chiral
import numpy as np
import pytest

from conftest import DEADLINE, SmallRobot, client_of, eventually

PREAMBLE = """
import asyncio, os, sys, threading, time
import numpy as np
import chiral

class Robot(chiral.PolicyServer):
    def __init__(self, **options):
        super().__init__(host="127.0.0.1", port=0, **options)
    def camera_configs(self):
        return [chiral.CameraConfig("cam", 720, 1280)]
    def proprio_configs(self):
        return [chiral.ProprioConfig("q", 7)]
    async def reset(self):
        return self._make_obs(), {}
    async def apply_action(self, action):
        pass
    def feed(self):
        image = np.zeros((720, 1280, 3), np.uint8)
        while True:
            self.update_image("cam", image)
            self.update_image("cam", image.astype(np.uint16))
            self.update_proprio("q", 0.0)

def client(server):
    return chiral.PolicyClient(f"ws://127.0.0.1:{server.port}", connect_timeout=60)
"""


def process(body: str, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-X", "faulthandler", "-c", PREAMBLE + textwrap.dedent(body)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def run(body: str) -> str:
    child = process(body)
    out, err = child.communicate(timeout=DEADLINE)
    assert child.returncode == 0, f"exit code {child.returncode}: {err}"
    assert "Fatal" not in err and "terminate" not in err, err
    return out


@pytest.mark.parametrize("time", range(3))
def test_the_process_ends_while_daemon_threads_update_and_hooks_run(time: int) -> None:
    run("""
        class Busy(Robot):
            async def get_obs(self):
                total = sum(range(1000))  # Python code, for the end to come in the midst of
                return self._make_obs(total)

        server = Busy().start()
        for _ in range(3):
            threading.Thread(target=server.feed, daemon=True).start()
        env = client(server).connect()
        env.reset()
        env.start_obs_stream(hz=1000)
        env.wait_obs(60)

        def ask():
            while True:
                env.get_obs()
        threading.Thread(target=ask, daemon=True).start()
        time.sleep(0.05)
    """)


def test_the_process_ends_while_a_hook_waits_on_the_loop() -> None:
    run("""
        entered = threading.Event()
        class Stuck(Robot):
            async def get_obs(self):
                entered.set()
                await asyncio.sleep(3600)
        server = Stuck().start()
        env = client(server).connect()
        threading.Thread(target=env.get_obs, daemon=True).start()
        entered.wait(60)
    """)


def test_the_process_ends_while_a_hook_computes_for_ever() -> None:
    run("""
        entered = threading.Event()
        class Stuck(Robot):
            def get_obs(self):
                entered.set()
                while True:
                    pass
        server = Stuck().start()
        env = client(server).connect()
        threading.Thread(target=env.get_obs, daemon=True).start()
        entered.wait(60)
    """)


def interrupt(child: subprocess.Popen[str]) -> tuple[str, str]:
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    child.send_signal(signal.SIGINT)
    return child.communicate(timeout=DEADLINE)


@pytest.mark.parametrize(
    "serving",
    [
        "server.run()",
        "asyncio.run(server.serve())",
    ],
)
def test_ctrl_c_leaves_a_server_that_serves(serving: str) -> None:
    child = process(f"""
        class Told(Robot):
            async def get_metadata(self):
                await asyncio.sleep(3600)
        server = Told()
        def tell():
            while server.port == 0:
                time.sleep(0.001)
            env = client(server).connect()
            print("ready", flush=True)
            try:
                env.get_metadata()
            except chiral.ConnectionError:
                pass
        threading.Thread(target=tell).start()
        try:
            {serving}
        except KeyboardInterrupt:
            print("interrupted", flush=True)
    """)
    out, err = interrupt(child)
    assert child.returncode == 0 and out == "interrupted\n", err


@pytest.mark.parametrize(
    "waiting",
    [
        "chiral.PolicyClient('ws://127.0.0.1:1').connect()",
        "stuck.get_obs()",
        "Robot().wait_frames({'cam': 0}, 3600)",
    ],
)
def test_ctrl_c_ends_a_call_that_waits(waiting: str) -> None:
    child = process(f"""
        class Stuck(Robot):
            async def get_obs(self):
                print("ready", flush=True)
                await asyncio.sleep(3600)
        server = Stuck().start()
        stuck = client(server).connect()
        if "stuck" not in {waiting!r}:
            threading.Timer(0.1, lambda: print("ready", flush=True)).start()
        try:
            {waiting}
        except KeyboardInterrupt:
            print("interrupted", flush=True)
    """)
    out, err = interrupt(child)
    assert child.returncode == 0 and out == "interrupted\n", err


def test_the_last_reference_may_be_dropped_in_a_hook() -> None:
    out = run("""
        import gc, weakref
        held = {}
        class Dropping(Robot):
            async def apply_action(self, action):
                held.clear()
        held["server"] = Dropping().start()
        gone = weakref.ref(held["server"])
        env = client(held["server"]).connect()
        env.apply_action([1])
        held_by_thread = held.get("server")
        del held_by_thread
        try:
            while True:
                env.get_obs()
                if not held:
                    break
        except chiral.ConnectionError:
            pass
        print("alive")
    """)
    assert out == "alive\n"


def test_a_server_that_nobody_refers_to_is_gone() -> None:
    def serve_and_drop() -> tuple[weakref.ref[Any], weakref.ref[Any]]:
        server = SmallRobot()
        with server, client_of(server) as env:
            env.reset()
            env.get_obs()
        return weakref.ref(server), weakref.ref(server._chiral_native)

    python, native = serve_and_drop()
    eventually(lambda: gc.collect() is not None and python() is None and native() is None)


def test_a_server_that_serves_without_a_loop_of_its_own_may_be_dropped() -> None:
    server = SmallRobot()
    server._chiral_native.serve("127.0.0.1", 0)
    gone = weakref.ref(server)
    del server
    gc.collect()
    assert gone() is None


def test_arrays_outlive_their_server() -> None:
    server = SmallRobot()
    server.update_image("wrist", 7)
    image, observation = server.images["wrist"], server._make_obs()
    del server
    gc.collect()
    assert (image == 7).all() and (observation["wrist"].image == 7).all()


def test_a_forked_process_is_told_what_it_cannot_use() -> None:
    out = run("""
        server = Robot().start()
        env = client(server).connect()
        env.start_obs_stream(hz=100)
        env.wait_obs(60)
        child = os.fork()
        if child == 0:
            told = []
            for use in (lambda: server.update_image("cam", 0), server.stats, env.get_obs):
                try:
                    use()
                except RuntimeError as error:
                    told.append("forked from" in str(error))
            mine = Robot()
            mine.update_image("cam", 3)
            with mine:
                with client(mine) as again:
                    told.append(int(again.get_obs()["cam"].image[0, 0, 0]) == 3)
            del server, env
            sys.exit(0 if told == [True] * 4 else 1)
        _, status = os.waitpid(child, 0)
        assert status == 0, status
        env.get_obs()
        print("parent goes on")
    """)
    assert out == "parent goes on\n"


def test_a_subinterpreter_is_refused_clearly() -> None:
    interpreters = pytest.importorskip("_xxsubinterpreters") if sys.version_info < (3, 13) else pytest.importorskip("_interpreters")
    child = subprocess.run(
        [sys.executable, "-c", f"import {interpreters.__name__} as i; i.run_string(i.create(), 'import chiral')"],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert child.returncode == 1 and "ImportError" in child.stderr and "interpreter" in child.stderr, child.stderr


def test_reconnecting_keeps_memory_flat(robot: SmallRobot) -> None:
    def reconnect(times: int) -> None:
        for _ in range(times):
            with client_of(robot) as env:
                env.reset()
                env.apply_action(np.zeros(7))
        eventually(lambda: len(robot.actions) == times)
        robot.actions.clear()

    reconnect(100)
    gc.collect()
    objects, before = len(gc.get_objects()), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    reconnect(500)
    gc.collect()
    assert len(gc.get_objects()) < objects + 250, "half an object for each"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + 8 * 1024, "kB"
