# SPDX-License-Identifier: Apache-2.0
"""Processes that end, fork or are interrupted at any moment, and references that are dropped anywhere."""

from __future__ import annotations

import gc
import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys
import textwrap
import threading
import weakref
from collections.abc import Callable
from typing import Any

import chiral
import pytest

from conftest import DEADLINE, SmallRobot, client_of, eventually

PREAMBLE = """
import asyncio, os, signal, sys, threading, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where these tests run in the background of a shell
import numpy as np
import chiral

class Robot(chiral.PolicyServer):
    def __init__(self, **options):
        # An action counts however late a busy machine comes to it.
        super().__init__(host="127.0.0.1", port=0, max_action_delay=0, departed_action_time=60, **options)
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

def take_control(server):  # as soon as it serves
    def take():
        while server.port == 0:
            time.sleep(0.001)
        take_control.env = client(server).connect()  # for good
        take_control.env.reset()
        print("ready", flush=True)
    threading.Thread(target=take).start()
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


def test_a_signal_that_does_not_wake_the_loop_is_noticed_all_the_same() -> None:
    """It may come as the loop goes to sleep, or to another thread: then nothing ends the system call in which the loop waits."""
    out = run("""
        server = Robot()
        def tell():
            sleeps = 0
            while sleeps < 20:  # looks in a row
                time.sleep(0.005)
                in_loop = sys._current_frames()[threading.main_thread().ident].f_code.co_name == "select"
                sleeps = sleeps + 1 if in_loop else 0
            signal.pthread_kill(threading.get_ident(), signal.SIGINT)
        threading.Thread(target=tell).start()
        try:
            server.run()
        except KeyboardInterrupt:
            print("interrupted", flush=True)
    """)
    assert out == "interrupted\n"


def test_ctrl_c_lets_what_stops_the_robot_come_to_its_end() -> None:
    child = process("""
        class Arm(Robot):
            async def on_disconnect(self, reason):
                for _ in range(3):
                    await asyncio.sleep(0.1)  # as an arm that is slowed down
                print("on_disconnect ended", flush=True)
            async def _handle(self, ws):
                try:
                    await super()._handle(ws)
                    await asyncio.sleep(0.3)
                    print("_handle ended", flush=True)
                finally:
                    await asyncio.sleep(0)
                    print("and its finally", flush=True)
        server = Arm()
        take_control(server)
        try:
            server.run()
        except KeyboardInterrupt:
            print("interrupted", flush=True)
    """)
    out, err = interrupt(child)
    assert child.returncode == 0 and out == "on_disconnect ended\n_handle ended\nand its finally\ninterrupted\n", out + err


def test_a_program_that_ends_by_an_exception_stops_its_robot() -> None:
    child = process("""
        class Arm(Robot):
            async def on_disconnect(self, reason):
                await asyncio.sleep(0.1)
                print("stopped", flush=True)
        server = Arm().start()
        env = client(server).connect()
        env.reset()
        raise ValueError("a bug")
    """)
    out, err = child.communicate(timeout=DEADLINE)
    assert child.returncode == 1 and out == "stopped\n" and "a bug" in err and "Fatal" not in err, out + err


def test_what_a_last_hook_raises_is_told_before_the_program_ends() -> None:
    child = process(f"""
        chiral._log._LAST_WORDS = {DEADLINE}  # however busy the machine is
        class Arm(Robot):
            def on_disconnect(self, reason):
                raise ValueError("the brake is gone\\x1b[2J")
        server = Arm().start()
        env = client(server).connect()
        env.reset()
    """)
    _, err = child.communicate(timeout=DEADLINE)
    assert child.returncode == 0 and "on_disconnect() of Arm failed\nTraceback" in err and "the brake is gone?[2J\n" in err, err


@pytest.mark.parametrize("error", ["KeyboardInterrupt", "SystemExit(0)"])
@pytest.mark.parametrize("when", ["before on_disconnect() begins", "while it waits"])
def test_an_exception_that_leaves_the_loop_cancels_nothing_that_stops_the_robot(when: str, error: str) -> None:
    """As Ctrl-C is one with Python 3.10, and sys.exit() in a task with all: asyncio.run() then cancels every task that there is."""
    child = process(f"""
        class Arm(Robot):
            async def on_disconnect(self, reason):
                if {when == "while it waits"}:
                    asyncio.get_running_loop().call_soon(leave)
                for _ in range(3):
                    await asyncio.sleep(0.01)
                print("on_disconnect ended", flush=True)
            async def _handle(self, ws):
                await super()._handle(ws)
                await asyncio.sleep(0.01)
                print("_handle ended", flush=True)
        server = Arm()
        def leave():
            raise {error}
        def leave_behind_its_task():
            use.env.close()
            while not server._chiral_hooks._running:
                time.sleep(0.001)
            asyncio.get_running_loop().call_soon(leave)
        def use():
            while server.port == 0:
                time.sleep(0.001)
            use.env = client(server).connect()
            use.env.reset()
            if {when == "while it waits"}:
                use.env.close()
            else:
                server._chiral_hooks._loop.call_soon_threadsafe(leave_behind_its_task)
        threading.Thread(target=use).start()
        try:
            server.run()
        except {error.partition("(")[0]}:
            print("left", flush=True)
    """)
    out, err = child.communicate(timeout=DEADLINE)
    assert child.returncode == 0 and out == "on_disconnect ended\n_handle ended\nleft\n", out + err


def expect_stopped_when_the_loop_is_left(body: str, closed: bool) -> None:
    """`body` makes `server`, and prints "ready" when Ctrl-C may leave the loop, and "stopped" when the robot has been."""
    child = process(textwrap.dedent(body) + textwrap.dedent(f"""
        loop = asyncio.new_event_loop()
        try:
            loop.run_until_complete(server.serve())
        except KeyboardInterrupt:  # and serve() is neither cancelled nor waited for
            server.stop()
            if {closed}:
                loop.close()
            server.wait()
            print("ended", flush=True)
    """))
    out, err = interrupt(child)
    assert child.returncode == 0 and out == "stopped\nended\n", out + err


@pytest.mark.parametrize("closed", [True, False])
def test_what_stops_the_robot_has_a_loop_of_its_own_where_the_servers_runs_no_more(closed: bool) -> None:
    expect_stopped_when_the_loop_is_left("""
        chiral._on_loop.WAIT_FOR_LOOP = 0.1
        class Arm(Robot):
            async def on_disconnect(self, reason):
                await asyncio.sleep(0.01)
                print("stopped", flush=True)
        server = Arm()
        take_control(server)
    """, closed)


@pytest.mark.parametrize("closed", [True, False])
@pytest.mark.parametrize("hook", ["async def", "def"])
def test_what_stops_the_robot_begins_anew_where_the_servers_loop_does_not_go_on(hook: str, closed: bool) -> None:
    expect_stopped_when_the_loop_is_left(f"""
        # However long the server's loop takes to begin it on a busy machine: a loop of its own would go on.
        chiral._on_loop.WAIT_FOR_LOOP, chiral._on_loop._LOOKS = {DEADLINE}, 1000
        begun = threading.Event()
        class Arm(Robot):
            async def halt(self):
                first = not begun.is_set()
                chiral._on_loop.WAIT_FOR_LOOP, chiral._on_loop._LOOKS = 0.1, 10
                begun.set()
                await asyncio.sleep(3600 if first else 0.01)
                print("stopped", flush=True)
            {hook} on_disconnect(self, reason):
                return {"await " if hook == "async def" else ""}self.halt()
        server = Arm()
        def use():
            while server.port == 0:
                time.sleep(0.001)
            env = client(server).connect()
            env.reset()
            env.close()
            begun.wait()
            print("ready", flush=True)
        threading.Thread(target=use).start()
    """, closed)


@pytest.mark.parametrize("begun", [True, False])
def test_what_stops_the_robot_may_use_a_thread_though_the_interpreter_ends(begun: bool) -> None:
    child = process(f"""
        import concurrent.futures.thread
        begun = threading.Event()
        class Arm(Robot):
            async def on_disconnect(self, reason):
                begun.set()
                if {begun}:
                    await asyncio.to_thread(int)
                    while not concurrent.futures.thread._shutdown:
                        await asyncio.sleep(0.001)
                await asyncio.to_thread(time.sleep, 0.01)
                await asyncio.get_running_loop().run_in_executor(None, print, "stopped")
                sys.stdout.flush()
        server = Arm().start()
        env = client(server).connect()
        env.reset()
        if {begun}:
            env.close()
            assert begun.wait(60)
    """)
    out, err = child.communicate(timeout=DEADLINE)
    assert child.returncode == 0 and out == "stopped\n", out + err


@pytest.mark.parametrize("configured", [True, False])
def test_a_hook_that_raises_stops_the_robot_though_nobody_reads_what_the_program_says(configured: bool) -> None:
    """Nobody reads its stderr, which is full: by Python's own means to write there, and by those of a program that configures them."""
    child = process(f"""
        import logging
        if {configured}:
            logging.basicConfig()
        os.set_blocking(2, False)
        try:
            while True:
                os.write(2, b"x" * 4096)
        except BlockingIOError:
            os.set_blocking(2, True)
        class Arm(Robot):
            def apply_action(self, action):
                raise ValueError("the gripper is gone")
            def on_disconnect(self, reason):
                os.write(1, b"stopped\\n")
        with Arm() as server, client(server) as env:
            env.apply_action([1])
            try:
                while True:
                    env.get_obs()
            except chiral.ConnectionError as error:
                os.write(1, f"{{error}}\\n".encode())
        os.write(1, b"ended\\n")
    """)
    in_vain = threading.Timer(DEADLINE, child.kill)
    in_vain.start()
    try:
        assert child.stdout is not None and child.stderr is not None
        told = [child.stdout.readline() for _ in range(3)]
        assert "stopped\n" in told and any("the gripper is gone" in line for line in told) and told[2] == "ended\n", told
        if configured:  # it is for the program to say what becomes of its handlers at the end
            child.stderr.read()
        assert child.wait(DEADLINE) == 0
    finally:
        in_vain.cancel()
        child.kill()
        child.communicate()


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
            print("interrupted,", "connected" if stuck.connected else "closed", flush=True)
    """)
    out, err = interrupt(child)
    assert child.returncode == 0 and out == f"interrupted, {'closed' if 'stuck' in waiting else 'connected'}\n", err


def test_a_signal_that_raises_nothing_is_handled_while_a_call_waits_and_the_call_goes_on() -> None:
    out = run("""
        handled = threading.Event()
        signal.signal(signal.SIGUSR1, lambda *_: handled.set())
        class Asking(Robot):
            def get_obs(self):
                os.kill(os.getpid(), signal.SIGUSR1)
                assert handled.wait(60), "the handler runs on the main thread, which waits for this answer"
                return self._make_obs()
        with Asking() as server, client(server) as env:
            print(env.get_obs()["cam"].image.shape)
    """)
    assert out == "(720, 1280, 3)\n"


def _look(env: chiral.PolicyClient) -> None:
    with env.observe("wrist"):  # which this server does not lend, and so is asked for
        pass


@pytest.mark.parametrize("ask", [chiral.PolicyClient.get_obs, _look])
def test_a_request_makes_no_thread(ask: Callable[[chiral.PolicyClient], object]) -> None:
    class Robot(SmallRobot):
        threads: set[str] = set()

        def get_obs(self) -> chiral.Observation:
            self.threads = set(os.listdir("/proc/self/task"))
            return self._make_obs()

    with Robot() as server, client_of(server) as env:
        env.get_obs()
        before = set(os.listdir("/proc/self/task"))
        ask(env)
        assert server.threads <= before


def test_a_signals_handler_may_send_actions_but_not_ask_what_its_thread_waits_for() -> None:
    out = run("""
        told = threading.Event()
        def handle(*_):
            for ask in (env.get_obs, env.reset, lambda: env.get_obs({})):
                try:
                    ask()
                except RuntimeError as error:
                    print("this thread waits" in str(error))
            env.apply_action([1])
            told.set()
        signal.signal(signal.SIGUSR1, handle)
        class Asking(Robot):
            def get_obs(self):
                os.kill(os.getpid(), signal.SIGUSR1)
                assert told.wait(60)
                return self._make_obs()
        with Asking() as server, client(server) as env:
            print(env.get_obs()["cam"].image.shape)
    """)
    assert out == "True\nTrue\nTrue\n(720, 1280, 3)\n"


def test_the_last_reference_may_be_dropped_anywhere() -> None:
    out = run("""
        import gc, weakref
        held = {}
        class Dropping(Robot):
            dropped = threading.Event()
            where = None
            def here(self, place):
                if place == self.where:
                    held.clear()
                    gc.set_threshold(1)  # what is in cycles goes here, too
                    self.dropped.set()
        returned = {"get_metadata": lambda robot: {}, "reset": lambda robot: (robot._make_obs(), {}), "get_obs": Robot._make_obs}
        for hook in ("get_metadata", "reset", "get_obs", "apply_action", "on_connect", "on_disconnect", "on_action_timeout"):
            def drops(self, *arguments, hook=hook):
                self.here(hook)
                return returned.get(hook, lambda robot: None)(self)
            setattr(Dropping, hook, drops)

        def ask(port):
            try:
                with chiral.PolicyClient(f"ws://127.0.0.1:{port}", connect_timeout=60) as env:
                    env.get_metadata(), env.reset(), env.get_obs(), env.apply_action([1])
                    if Dropping.where != "on_disconnect":
                        Dropping.dropped.wait(60)
            except chiral.ConnectionError:
                pass  # the server went with its last reference

        for Dropping.where in ("get_metadata", "reset", "get_obs", "apply_action", "on_connect", "on_disconnect", "on_action_timeout",
                               "log", "a sensor thread"):
            Dropping.dropped = threading.Event()
            server = held["server"] = Dropping(action_timeout=0.05, log=lambda line: held and held["server"].here("log"))
            server._chiral_native.serve("127.0.0.1", 0)  # without a loop, whose thread would hold it
            gone, native, port = weakref.ref(server), weakref.ref(server._chiral_native), server._chiral_native.port
            del server
            if Dropping.where == "a sensor thread":
                def update():
                    held["server"].update_image("cam", 0)
                    held["server"].here("a sensor thread")
                threading.Thread(target=update).start()
            else:
                ask(port)
            assert Dropping.dropped.wait(60), Dropping.where
            deadline = time.monotonic() + 60
            while gone() is not None or native() is not None:
                assert time.monotonic() < deadline, Dropping.where
                time.sleep(0.01)
                gc.collect()  # where no other thread came to it
            gc.set_threshold(700, 10, 10)
            print(Dropping.where, flush=True)
    """)
    assert len(out.splitlines()) == 9, out


def test_the_last_reference_to_a_client_may_be_dropped_while_it_streams() -> None:
    out = run("""
        with Robot() as server:
            for _ in range(10):
                env = client(server).connect()
                env.start_obs_stream(hz=1000)
                observation = env.wait_obs(60)
                threading.Thread(target=lambda held: held.clear(), args=([env],)).start()
                del env
                deadline = time.monotonic() + 60
                while True:  # the next one is served when this one has gone
                    try:
                        with client(server) as again:
                            again.get_obs()
                        break
                    except chiral.ConnectionError:
                        assert time.monotonic() < deadline
                assert observation["cam"].image.shape == (720, 1280, 3)
        print("served")
    """)
    assert out == "served\n"


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
        for _ in range(50):  # observations that were sent wait to be dropped: not by the child
            env.get_obs()
        observation, image = server._make_obs(), server.images["cam"]
        frame = server.frame("cam").__enter__()
        frame.image
        child = os.fork()
        if child == 0:
            told = []
            for use in (lambda: server.update_image("cam", 0), server.stats, env.get_obs, lambda: observation["cam"].image[0]):
                try:
                    use()
                except RuntimeError as error:
                    told.append("forked from" in str(error) or "child of fork" in str(error))
            mine = Robot()
            mine.update_image("cam", 3)
            with mine:
                with client(mine) as again:
                    told.append(int(again.get_obs()["cam"].image[0, 0, 0]) == 3)
            del server, env, observation, image, frame
            sys.exit(0 if told == [True] * 5 else 1)
        _, status = os.waitpid(child, 0)
        assert status == 0, status
        env.get_obs()
        print("parent goes on")
    """)
    assert out == "parent goes on\n"


def test_a_forked_process_logs_by_itself() -> None:
    out = run("""
        import logging
        from chiral._log import log
        chiral._log._LAST_WORDS = 60.0  # however busy the machine is
        logging.basicConfig(stream=sys.stdout, format="%(message)s")
        held = threading.Event()
        class Handler(logging.Handler):
            def emit(self, record):
                held.set()
                time.sleep(3600)
        blocking = Handler()
        logging.getLogger("chiral").addHandler(blocking)
        log.warning("of the parent")
        assert held.wait(60)
        child = os.fork()
        if child == 0:
            logging.getLogger("chiral").removeHandler(blocking)
            log.warning("of the child")
            sys.exit(0)
        assert os.waitpid(child, 0)[1] == 0
        os._exit(0)
    """)
    assert out == "of the child\n"


def test_without_a_standard_error_nothing_is_written_to_what_was_opened_in_its_place(tmp_path: pathlib.Path) -> None:
    opened = tmp_path / "opened"
    code = f"""
        import os, sys
        assert sys.__stderr__ is None and os.open({str(opened)!r}, os.O_RDWR | os.O_CREAT) == 2
        import chiral
        chiral._log.log.warning("what nobody hears")
        assert chiral._log.log.flush({DEADLINE})
        class Robot(chiral.PolicyServer):
            def camera_configs(self):
                return [chiral.CameraConfig("cam", 4, 4)]
            async def reset(self):
                return self._make_obs(), {{}}
            async def apply_action(self, action):
                pass
        with Robot("127.0.0.1", 0) as server, chiral.PolicyClient(f"ws://127.0.0.1:{{server.port}}", connect_timeout={DEADLINE}) as env:
            env.get_obs()
    """
    command = f"exec {shlex.quote(sys.executable)} -c {shlex.quote(textwrap.dedent(code))} 2>&-"
    subprocess.run(["sh", "-c", command], timeout=DEADLINE, check=True)
    assert opened.read_bytes() == b""


def test_a_subinterpreter_is_refused_clearly() -> None:
    interpreters = pytest.importorskip("_xxsubinterpreters") if sys.version_info < (3, 13) else pytest.importorskip("_interpreters")
    child = subprocess.run(
        [sys.executable, "-c", f"import sys, {interpreters.__name__} as i\n"
         "refused = i.run_string(i.create(), 'import chiral')\n"  # raises before Python 3.13, and tells from then on
         "sys.exit(refused and refused.errdisplay)"],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert child.returncode == 1 and "ImportError" in child.stderr and "interpreter" in child.stderr, child.stderr


def test_reconnecting_leaves_no_memory_behind() -> None:
    """A few hundred of the connections of reconnects.py, beside its control."""
    program = pathlib.Path(__file__).parent / "reconnects.py"
    done = subprocess.run([sys.executable, str(program), "300"], capture_output=True, text=True, timeout=3 * DEADLINE, check=False)
    assert done.returncode == 0, done.stderr
    told = r"each left (-?[\d.]+) bytes of malloc's, (-?[\d.]+) of Python's blocks and .*; (-?\d+) descriptors"
    (native, python, descriptors), (leaked, objects, _) = re.findall(told, done.stdout)
    assert float(leaked) > 900 and float(objects) > 9, "the control is seen: " + done.stdout
    assert float(native) < float(leaked) / 4 and float(python) < float(objects) / 4 and int(descriptors) <= 0, done.stdout
