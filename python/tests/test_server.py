# SPDX-License-Identifier: Apache-2.0
"""A Python robot serves: hooks of every kind, values of every type, pixels without copies, errors that surface."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import linecache
import logging
import re
import sys
import threading
import time
import traceback
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import chiral
import numpy as np
import pytest

from conftest import DEADLINE, SmallRobot, client_of, eventually


def test_actions_reach_the_hook_in_the_shape_they_were_sent(robot: SmallRobot) -> None:
    with client_of(robot) as env:
        env.apply_action(np.arange(7))
        env.apply_action(np.arange(14, dtype=np.float64).reshape(2, 7))
        eventually(lambda: len(robot.actions) == 2)
    assert robot.actions[0].shape == (7,) and robot.actions[0].dtype == np.float32
    assert robot.actions[1].shape == (2, 7) and robot.actions[1].tolist() == np.arange(14).reshape(2, 7).tolist()
    robot.actions[0][0] = 5  # it is the hook's own


VALUES = {
    "text": "ä",
    "int": -3,
    "big": 2**63 + 1,
    "float": 0.5,
    "whole": 2.0,
    "none": None,
    "flag": True,
    "bytes": b"\x00\xff",
    "list": [1, [2.5, "x"], {"deep": None}],
    "map": {"a": {"b": [1]}},
}


def test_metadata_info_and_extra_hold_any_value_of_messagepack() -> None:
    class Robot(SmallRobot):
        async def get_metadata(self) -> dict[str, Any]:
            return dict(VALUES, numpy=np.float32(0.25), array=np.arange(3))

        async def reset(self) -> tuple[chiral.Observation, dict[str, Any]]:
            obs = self._make_obs(timestamp=1.5)
            obs.extra = dict(VALUES)
            return obs, dict(VALUES, **{"info": 1})

    with Robot() as server, client_of(server) as env:
        assert env.get_metadata() == dict(VALUES, numpy=0.25, array=[0, 1, 2])
        obs, info = env.reset()
        assert info == dict(VALUES, info=1)
        assert obs.extra == VALUES and isinstance(obs.extra["whole"], float) and obs.timestamp == 1.5


def test_what_the_gate_adds_stands_beside_the_robots_own_extra() -> None:
    class Robot(SmallRobot):
        async def get_obs(self) -> chiral.Observation:
            obs = self._make_obs()
            obs.extra["mine"] = [1, 2]
            return obs

    with Robot(gate={"dimension": 7}) as server, client_of(server) as env:
        env.reset()
        env.apply_action(np.zeros(3))
        extra = eventually(lambda: (e := env.get_obs().extra) and "chiral.actions_rejected" in e and e)
        assert extra["mine"] == [1, 2] and extra["chiral.actions_rejected"] == 1
        assert "7" in extra["chiral.action_reason"]
    assert not server.actions


def test_hooks_may_be_plain_functions() -> None:
    class Robot(SmallRobot):
        def reset(self) -> Any:
            return self._make_obs(), {"plain": True}

        def get_obs(self) -> Any:
            return self._make_obs(3.0)

        def get_metadata(self) -> Any:
            return {"plain": True}

        def apply_action(self, action: np.ndarray) -> Any:
            self.actions.append(action)

    with Robot() as server, client_of(server) as env:
        assert env.get_metadata() == {"plain": True} == env.reset()[1]
        assert env.get_obs().timestamp == 3.0
        env.apply_action([1, 2])
        eventually(lambda: server.actions)


def test_hooks_that_wait_run_on_the_loop_and_the_others_see_it() -> None:
    class Robot(SmallRobot):
        loops: set[asyncio.AbstractEventLoop] = set()

        async def get_obs(self) -> chiral.Observation:  # awaits: it runs on the loop's thread
            self.loops.add(asyncio.get_running_loop())
            await asyncio.wait_for(asyncio.sleep(0.001), 30)
            value = await asyncio.get_running_loop().run_in_executor(None, lambda: 2.5)
            return self._make_obs(value)

        async def apply_action(self, action: np.ndarray) -> None:  # does not: it is driven in place
            loop = asyncio.get_running_loop()
            self.loops.add(loop)
            loop.call_soon(self.actions.append, action)
            loop.call_later(0.001, self.actions.append, action)

    with Robot() as server, client_of(server) as env:
        env.apply_action([1])
        eventually(lambda: len(server.actions) == 2, "what the hook has left on the loop")
        assert env.get_obs().timestamp == 2.5
        assert len(Robot.loops) == 1


def test_hooks_run_one_at_a_time() -> None:
    class Robot(SmallRobot):
        inside = 0
        most = 0

        async def _count(self) -> None:
            self.inside += 1
            self.most = max(self.most, self.inside)
            await asyncio.sleep(0.002)
            self.inside -= 1

        async def get_obs(self) -> chiral.Observation:
            await self._count()
            return self._make_obs()

        async def apply_action(self, action: np.ndarray) -> None:
            await self._count()
            self.actions.append(action)

    with Robot() as server, client_of(server) as env:
        for _ in range(10):
            env.apply_action([1])
            env.get_obs()
        eventually(lambda: len(server.actions) == 10)
        assert server.most == 1


class BusyObserving(SmallRobot):
    """Its get_obs() begins, and ends when it is told to."""

    def __init__(self, **options: Any) -> None:
        self.observing, self.go_on = threading.Event(), threading.Event()
        self.events: list[str] = []
        super().__init__(**options)

    def get_obs(self) -> chiral.Observation:  # type: ignore[override]
        self.observing.set()
        assert self.go_on.wait(DEADLINE)
        return self._make_obs()

    def on_action_timeout(self) -> None:
        self.events.append("timeout")

    @contextlib.contextmanager
    def held(self, env: chiral.PolicyClient) -> Iterator[None]:
        """A client waits for the observation that get_obs() does not return."""

        def ask() -> None:
            with contextlib.suppress(chiral.ConnectionError):
                env.get_obs()

        asking = threading.Thread(target=ask)
        asking.start()
        try:
            assert self.observing.wait(DEADLINE)
            yield
        finally:
            self.go_on.set()
            asking.join()


def test_an_action_that_waits_for_get_obs_is_not_applied_once_the_server_stops() -> None:
    with BusyObserving(max_action_delay=DEADLINE) as server, client_of(server) as env:
        with server.held(env):
            env.apply_action([1])
            eventually(lambda: server.stats()["actions_received"] == 1)
            server.stop()
        server.wait()
        assert server.actions == []


def test_an_action_that_has_waited_too_long_for_get_obs_is_not_applied() -> None:
    with BusyObserving(max_action_delay=0.05) as server, client_of(server) as env:
        with server.held(env):
            env.apply_action([1])
            eventually(lambda: server.stats()["actions_late"] == 1, "the action to be too old")
        env.apply_action([2])
        eventually(lambda: server.actions)
        assert [action.tolist() for action in server.actions] == [[2]]


def test_on_action_timeout_is_called_while_an_action_waits_for_get_obs() -> None:
    with BusyObserving(max_action_delay=DEADLINE, action_timeout=0.05) as server, client_of(server) as env:
        env.apply_action([1])
        eventually(lambda: server.stats()["actions_applied"] == 1)
        with server.held(env):
            env.apply_action([2])
            eventually(lambda: server.events == ["timeout"])
        eventually(lambda: len(server.actions) == 2)


def test_a_hook_that_was_set_on_the_object_is_called() -> None:
    with BusyObserving(action_timeout=0.05) as server:
        told: list[str] = []
        server.on_connect = lambda peer: told.append("connect")  # type: ignore[method-assign]
        server.on_action_timeout = lambda: told.append("timeout")  # type: ignore[method-assign]
        server.on_disconnect = lambda reason: told.append("disconnect")  # type: ignore[method-assign]
        with client_of(server) as env:
            env.apply_action([1])
            eventually(lambda: told == ["connect", "timeout"])
        eventually(lambda: told == ["connect", "timeout", "disconnect"])


class WaitingOnTheLoop(SmallRobot):
    """Its hooks that move the robot wait, and so run on the event loop."""

    async def reset(self) -> tuple[chiral.Observation, dict[str, Any]]:
        await asyncio.sleep(0)
        return await super().reset()

    async def apply_action(self, action: np.ndarray) -> None:
        await asyncio.sleep(0)
        await super().apply_action(action)


@contextlib.contextmanager
def the_loop_kept(server: chiral.PolicyServer) -> Iterator[None]:
    """Another task blocks in the server's event loop until the end of the block."""
    kept, go_on = threading.Event(), threading.Event()

    async def keep() -> None:
        kept.set()
        assert go_on.wait(2 * DEADLINE)  # longer than anybody waits for what is to come meanwhile

    loop = server._chiral_hooks._loop
    assert loop is not None
    asyncio.run_coroutine_threadsafe(keep(), loop)
    assert kept.wait(DEADLINE)
    try:
        yield
    finally:
        go_on.set()


@pytest.mark.parametrize("request_of", ["apply_action", "reset"])
def test_a_hook_that_waits_for_the_loop_does_not_begin_once_the_server_stops(request_of: str) -> None:
    stopped = threading.Event()

    class Robot(WaitingOnTheLoop):
        def on_disconnect(self, reason: str) -> None:
            stopped.set()

    with Robot() as server, client_of(server) as env:

        def ask() -> None:
            with contextlib.suppress(chiral.ConnectionError):
                env.apply_action([1]) if request_of == "apply_action" else env.reset()

        with the_loop_kept(server):
            asking = threading.Thread(target=ask)
            asking.start()
            eventually(lambda: server._chiral_hooks._running, "the hook to wait for the loop")
            server.stop()
            assert stopped.wait(DEADLINE), "and whatever keeps the loop, the robot is stopped"
        asking.join()
        server.wait()
        assert server.actions == [] and server.resets == 0
        stats = server.stats()
        assert stats["hook_errors"] == 0 == stats["actions_applied"]
        assert stats["actions_dropped"] == (1 if request_of == "apply_action" else 0)


def test_an_action_that_has_waited_too_long_for_the_loop_is_not_applied() -> None:
    delay = 0.2
    with WaitingOnTheLoop(max_action_delay=delay) as server, client_of(server) as env:
        with the_loop_kept(server):
            env.apply_action([1])
            eventually(lambda: server._chiral_hooks._running or server.stats()["actions_late"])
            time.sleep(delay)
        eventually(lambda: server.stats()["actions_late"] == 1)
        extra = env.get_obs().extra  # it goes on, and the client is told
        assert extra["chiral.actions_late"] == 1
        assert server.actions == [] and server.stats()["hook_errors"] == 0 == server.stats()["actions_applied"]


class MovingAtOnce(SmallRobot):
    """Its first action needs no loop. That it is held is told of."""

    def __init__(self, **options: Any) -> None:
        self.expected = 1  # actions that have been sent when the first one returns
        self.held = threading.Event()
        super().__init__(**options)

    def apply_action(self, action: np.ndarray) -> Any:
        if self.actions:
            return self.on_the_loop(action)
        eventually(lambda: self.stats()["actions_received"] == self.expected)
        self.actions.append(action)

    async def on_the_loop(self, action: np.ndarray) -> None:
        await asyncio.sleep(0)
        self.actions.append(action)

    def on_action_timeout(self) -> None:
        self.held.set()


def test_an_action_that_waits_for_the_loop_keeps_nobody_from_stopping_the_robot() -> None:
    with MovingAtOnce(action_timeout=0.2, max_action_delay=0) as server, client_of(server) as env:
        server.expected = 2
        with the_loop_kept(server):
            env.apply_action([1])
            env.apply_action([2])
            assert server.held.wait(DEADLINE)
            assert len(server.actions) == 1
        eventually(lambda: server.stats()["actions_applied"] == 2)  # without a limit it may wait on
        assert [int(action[0]) for action in server.actions] == [1, 2] and server.stats()["hook_errors"] == 0


def test_a_reset_that_waits_for_the_loop_keeps_nobody_from_stopping_the_robot() -> None:
    class Arm(MovingAtOnce):
        async def reset(self) -> tuple[chiral.Observation, dict[str, Any]]:
            await asyncio.sleep(0)
            return await super().reset()

    with Arm(action_timeout=0.5) as server, client_of(server) as env, ThreadPoolExecutor(1) as pool:
        with the_loop_kept(server):
            env.apply_action([1])
            asked = pool.submit(env.reset)
            assert server.held.wait(DEADLINE)
        asked.result(DEADLINE)
        assert server.resets == 1 and server.stats()["hook_errors"] == 0


@pytest.mark.parametrize("waits", [True, False])
def test_what_stops_the_robot_does_not_wait_for_a_loop_in_which_something_blocks(waits: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chiral._on_loop, "WAIT_FOR_LOOP", 0.1)

    class Arm(MovingAtOnce):
        told: list[str] = []

    async def timeout(self: Arm) -> None:
        self.told.append("timeout")

    async def waits_first(self: Arm) -> None:
        await asyncio.sleep(0)
        await timeout(self)

    async def disconnect(self: Arm, reason: str) -> None:
        self.told.append("disconnect")

    Arm.on_action_timeout = waits_first if waits else timeout  # type: ignore[assignment,method-assign]
    Arm.on_disconnect = disconnect  # type: ignore[method-assign]
    with BlockingHandler() as handler, Arm(action_timeout=0.05) as server, client_of(server) as env:
        with the_loop_kept(server):
            env.apply_action([1])
            eventually(lambda: server.told == ["timeout"])
            env.close()
            eventually(lambda: server.told == ["timeout", "disconnect"])
        assert handler.reached.wait(DEADLINE), "nor for the log, which is told"
    assert server.told == ["timeout", "disconnect"], "once, though the loop went on"


def test_a_handle_does_not_begin_beside_a_hook_that_is_driven() -> None:
    driven, go_on = threading.Event(), threading.Event()
    order: list[str] = []

    class Robot(SmallRobot):
        async def get_metadata(self) -> dict[str, Any]:
            driven.set()
            assert go_on.wait(2 * DEADLINE)
            order.append("get_metadata")
            return {}

        async def _handle(self, ws: Any) -> None:
            order.append("_handle")
            await super()._handle(ws)

    with Robot() as server, ThreadPoolExecutor(1) as pool:
        hooks = server._chiral_hooks
        on_connect, loop = hooks.on_connect, hooks._loop
        assert loop is not None
        hooks.on_connect = lambda *arguments: driven.wait(DEADLINE) and on_connect(*arguments)  # type: ignore[method-assign]
        with client_of(server) as env:
            asked = pool.submit(env.get_metadata)
            try:
                eventually(lambda: hooks._handling is not None and hooks._handling[1]._task is not None)
                asyncio.run_coroutine_threadsafe(asyncio.sleep(0.05), loop).result(DEADLINE)  # that long it could have begun
                assert order == []
            finally:
                go_on.set()
            asked.result(DEADLINE)
            eventually(lambda: order == ["get_metadata", "_handle"])


class DrivenBesideAHandle(SmallRobot):
    """Whose get_metadata() is driven for as long as the test likes, while its _handle() rests."""

    def __init__(self) -> None:
        self.driven, self.go_on = threading.Event(), threading.Event()
        self.order: list[str] = []
        super().__init__()

    async def get_metadata(self) -> dict[str, Any]:
        self.driven.set()
        assert self.go_on.wait(2 * DEADLINE)
        self.order.append("get_metadata")
        return {}

    async def _handle(self, ws: Any) -> None:
        try:
            await super()._handle(ws)
        finally:
            self.order.append("_handle")

    @contextlib.contextmanager
    def both(self) -> Iterator[tuple[chiral.PolicyClient, asyncio.Task[Any]]]:
        """Who has control, and the task of its _handle(). When this is left get_metadata() has returned."""
        hooks = self._chiral_hooks
        observer = chiral.PolicyClient(f"ws://127.0.0.1:{self.port}/observe", connect_timeout=DEADLINE, request_timeout=2 * DEADLINE)
        with client_of(self) as env, observer, ThreadPoolExecutor(1) as pool:
            eventually(lambda: hooks._handling is not None and hooks._handling[1].rests(hooks._resting) and not hooks._handling_begins)
            asked = pool.submit(observer.get_metadata)
            try:
                assert self.driven.wait(DEADLINE) and hooks._driven == 1 and hooks._handling is not None
                task = hooks._handling[1]._task
                assert task is not None
                yield env, task
            finally:
                self.go_on.set()
            asked.result(DEADLINE)

    def give_the_loop_time(self) -> None:
        assert self._chiral_hooks._loop is not None
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0.05), self._chiral_hooks._loop).result(DEADLINE)


def test_a_handle_does_not_go_on_behind_its_base_beside_a_hook_that_is_driven() -> None:
    with DrivenBesideAHandle() as server:
        hooks = server._chiral_hooks
        with server.both() as (env, task):
            assert hooks._handling is not None and hooks._loop is not None
            closed, loop = hooks._handling[0]._closed, hooks._loop
            env.close()
            eventually(closed.done)
            server.give_the_loop_time()  # that long it could have gone on
            assert server.order == []
            assert not hooks._begin_driving(DrivenBesideAHandle.get_metadata, loop), "or it might wait for ever"
        eventually(lambda: server.order == ["get_metadata", "_handle"])


def test_behind_an_on_disconnect_that_fails_the_robot_is_stopped_before_anything_waits_for_a_hook_that_is_driven() -> None:
    class Robot(DrivenBesideAHandle):
        async def on_disconnect(self, reason: str) -> None:
            raise ValueError("the arm is gone")

        async def on_action_timeout(self) -> None:
            self.order.append("on_action_timeout")

    with Robot() as server:
        with server.both() as (env, _):
            env.close()
            eventually(lambda: server.order == ["on_action_timeout"])
        eventually(lambda: server.order == ["on_action_timeout", "get_metadata", "_handle"])
        eventually(lambda: not server._chiral_hooks.has_client)


def test_a_handle_that_is_cancelled_waits_for_a_hook_that_is_driven_until_it_is_cancelled_again() -> None:
    with DrivenBesideAHandle() as server:
        with server.both() as (_, task):
            loop = task.get_loop()
            loop.call_soon_threadsafe(task.cancel)
            server.give_the_loop_time()
            assert server.order == []
            loop.call_soon_threadsafe(task.cancel)
            eventually(lambda: server.order == ["_handle"])
        assert server.order == ["_handle", "get_metadata"]
        eventually(task.cancelled)


def test_who_comes_finds_nothing_left_of_a_client_at_whose_end_there_was_no_memory() -> None:
    """To reach the hooks with: the native server has called on_action_timeout() then, and nobody has ended the client."""
    order: list[str] = []

    class Robot(SmallRobot):
        async def _handle(self, ws: Any) -> None:
            await super()._handle(ws)
            order.append("ended")

    with Robot() as server:
        hooks = server._chiral_hooks
        eventually(lambda: hooks._loop is not None)
        hooks.on_connect("127.0.0.1:1", lambda why: None)
        hooks._left_moving = True
        hooks.on_connect("127.0.0.1:2", lambda why: None)
        assert order == ["ended"] and not hooks._left_moving and hooks.has_client
        hooks.on_disconnect("gone")
        assert order == ["ended", "ended"] and not hooks.has_client


def test_an_action_that_waits_for_the_interpreter_is_not_applied_once_the_server_stops() -> None:
    with SmallRobot() as server, client_of(server) as env:
        env.start_action_dispatch(hz=1000)
        interval = sys.getswitchinterval()
        sys.setswitchinterval(DEADLINE)  # this thread keeps the interpreter until it waits for something
        try:
            env.put_action([1])
            deadline = time.monotonic() + DEADLINE
            while server.stats()["actions_received"] == 0:
                assert time.monotonic() < deadline
            admitted = time.monotonic() + 0.1  # it is, but for a machine on which this shows nothing
            while time.monotonic() < admitted:
                pass
            server.stop()
            applied = len(server.actions)
        finally:
            sys.setswitchinterval(interval)
        server.wait()
        assert len(server.actions) == applied == server.stats()["actions_applied"]
        assert server.stats()["hook_errors"] == 0


def test_only_a_coroutine_without_await_is_driven_in_place() -> None:
    from chiral._hooks import cannot_suspend

    async def plain() -> int:
        return 1

    async def awaits() -> None:
        await plain()

    async def with_block() -> None:
        async with asyncio.Lock():
            pass

    async def loop() -> None:
        async for _ in asyncio.StreamReader():
            pass

    assert cannot_suspend(plain)
    assert not any(cannot_suspend(function) for function in (awaits, with_block, loop, len))


@pytest.mark.parametrize("hook", ["get_metadata", "reset", "get_obs", "apply_action"])
def test_an_exception_is_logged_with_its_traceback_and_told_in_one_line(hook: str, caplog: pytest.LogCaptureFixture) -> None:
    class Robot(SmallRobot):
        pass

    async def fails(self: Any, *arguments: Any) -> Any:
        raise ValueError("the gripper is gone\nand more lines")

    setattr(Robot, hook, fails)
    with Robot() as server, caplog.at_level(logging.ERROR, "chiral"):
        with client_of(server) as env:
            with pytest.raises(ConnectionError, match="ValueError: the gripper is gone") as told:
                if hook == "apply_action":
                    env.apply_action([1])
                    eventually(lambda: not env.connected)
                    env.get_obs()
                else:
                    getattr(env, hook)()
        assert isinstance(told.value, chiral.ConnectionError) and "and more lines" not in str(told.value)
        eventually(lambda: "Traceback" in caplog.text and f"{hook}() of Robot failed" in caplog.text)
        setattr(Robot, hook, getattr(SmallRobot, hook))
        with client_of(server) as next_one:  # and the service goes on
            next_one.reset()


@pytest.mark.parametrize(
    ("hook", "error"),
    [("on_connect", ValueError), ("on_disconnect", ValueError), ("on_action_timeout", ValueError), ("_handle", ValueError),
     ("on_connect", SystemExit)],
)
def test_an_exception_of_what_only_listens_is_logged_and_the_next_client_is_served(
    hook: str, error: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    class Robot(SmallRobot):
        failed = threading.Event()

    async def fails(self: Any, *arguments: Any) -> None:
        self.failed.set()
        raise error("the gripper is gone")

    setattr(Robot, hook, fails)
    with Robot(action_timeout=0.05) as server, caplog.at_level(logging.ERROR, "chiral"):
        with contextlib.suppress(ConnectionError), client_of(server) as env:
            env.apply_action([1])
            if hook != "on_disconnect":
                assert server.failed.wait(DEADLINE)
        assert server.failed.wait(DEADLINE)
        eventually(lambda: f"{hook}() of Robot failed" in caplog.text and "the gripper is gone" in caplog.text)
        delattr(Robot, hook)

        def served() -> bool:  # as soon as the one before has left
            try:
                with client_of(server) as next_one:
                    next_one.reset()
            except ConnectionError:
                return False
            return True

        eventually(served)


def test_a_log_tells_a_traceback_with_its_causes_and_lines(caplog: pytest.LogCaptureFixture) -> None:
    class Robot(SmallRobot):
        def get_obs(self) -> chiral.Observation:
            try:
                raise OSError("the bus is down")
            except OSError as error:
                raise ValueError("no picture") from error

    with Robot() as server, caplog.at_level(logging.ERROR, "chiral"):
        with contextlib.suppress(chiral.ConnectionError), client_of(server) as env:
            env.get_obs()
        eventually(lambda: "no picture" in caplog.text)
    for part in ('raise OSError("the bus is down")\nOSError: the bus is down', "the direct cause of the following", __file__,
                 'raise ValueError("no picture") from error\nValueError: no picture'):
        assert part in caplog.text, part


def test_what_is_said_of_an_exception_is_gathered_without_its_source_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which may lie on a disk that hangs: not even by name are they asked for on the thread of a hook."""

    def touches_a_disk(*arguments: Any, **named: Any) -> Any:
        raise AssertionError("a source file is looked at")

    def fails(depth: int) -> None:
        if depth > 0:
            fails(depth - 1)
        try:
            raise OSError("the bus is down")
        except OSError:
            raise ValueError("no picture")

    try:
        fails(100)
    except ValueError as error:
        "".join(traceback.format_exception(type(error), error, error.__traceback__))  # its files are known from now on
        for name in ("checkcache", "getline", "getlines", "updatecache"):
            monkeypatch.setattr(linecache, name, touches_a_disk)
        told = chiral._log._without_io(error, 16384)
        monkeypatch.undo()
    assert not isinstance(told, str)
    text = "".join(told.format())
    assert text.count('raise ValueError("no picture")') == 1 and text.count('raise OSError("the bus is down")') == 1, text
    assert len(told.stack) == 50 and "During handling of the above" in text, "the last frames of each"


class BlockingHandler(logging.Handler):
    """Blocks whoever calls it, and with the handler's lock whoever says something, until the end of the block."""

    def __init__(self) -> None:
        super().__init__()
        self.reached, self.go_on, self.told = threading.Event(), threading.Event(), list[str]()

    def emit(self, record: logging.LogRecord) -> None:
        self.reached.set()
        assert self.go_on.wait(2 * DEADLINE)
        self.told.append(record.getMessage())

    def __enter__(self) -> BlockingHandler:
        logging.getLogger("chiral").addHandler(self)
        return self

    def __exit__(self, *error: object) -> None:
        self.go_on.set()
        assert chiral._log.log.flush(DEADLINE)
        logging.getLogger("chiral").removeHandler(self)


@pytest.mark.parametrize("hook", ["apply_action", "reset", "on_connect", "_handle"])
def test_a_hook_that_raises_stops_the_robot_whatever_becomes_of_the_log(hook: str) -> None:
    stopped = threading.Event()

    async def fails(self: Any, *arguments: Any) -> None:
        raise ValueError("the gripper is gone")

    class Robot(SmallRobot):
        def on_disconnect(self, reason: str) -> None:
            stopped.set()

    setattr(Robot, hook, fails)
    with BlockingHandler() as handler:
        with Robot() as server:
            with pytest.raises(ConnectionError, match="the gripper is gone"), client_of(server) as env:
                if hook == "apply_action":
                    env.apply_action([1])
                    assert stopped.wait(DEADLINE)
                env.reset()
            assert stopped.wait(DEADLINE)
            assert handler.reached.wait(DEADLINE)
        server.wait()
    assert any(f"{hook}() of Robot failed" in line for line in handler.told)


def test_a_log_that_nobody_reads_is_bounded_and_tells_what_it_left_out() -> None:
    log = chiral._log.log
    with BlockingHandler() as handler:
        log.warning("first")
        assert handler.reached.wait(DEADLINE)
        for _ in range(log.MOST + 5):
            log.exception("long" * log.LONGEST, ValueError("words" * log.LONGEST))
    assert len(handler.told) == log.MOST + 2 and max(map(len, handler.told)) <= log.LONGEST
    assert [line for line in handler.told if "left out 5 records" in line]


def test_a_server_ends_though_its_logger_blocks() -> None:
    with BlockingHandler() as handler:
        with SmallRobot(log=logging.getLogger("chiral"), log_level=logging.ERROR) as server, client_of(server):
            assert handler.reached.wait(DEADLINE)
        native = weakref.ref(server._chiral_native)
        del server
        eventually(lambda: gc.collect() is not None and native() is None)


class SaysNothing(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")


@pytest.mark.parametrize("raises", [True, False])
def test_a_client_whose_handle_ends_before_its_base_does_not_get_control(raises: bool) -> None:
    class Robot(SmallRobot):
        async def _handle(self, ws: Any) -> None:
            await asyncio.sleep(0)
            if raises:
                raise ValueError("the arm is not enabled")

    with Robot() as server:
        told = "ValueError: the arm is not enabled" if raises else "_handle.. returned without"
        with pytest.raises(ConnectionError, match=told), client_of(server) as env:
            env.reset()
        assert server.resets == 0


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (None, "_handle() has ended, and with it the connection"),
        (ValueError("the arm is gone\nand more lines"), "_handle() failed: ValueError: the arm is gone"),
        (OSError("no /dev/\udcff"), "_handle() failed: OSError: no /dev/?"),
        (SaysNothing(), "_handle() failed: SaysNothing"),
    ],
)
def test_a_handle_that_ends_ends_its_connection_at_once(error: Exception | None, told: str) -> None:
    class Robot(SmallRobot):
        connected = threading.Event()
        told: list[str] = []

        async def _handle(self, ws: Any) -> None:
            base = asyncio.ensure_future(super()._handle(ws))
            await asyncio.to_thread(self.connected.wait, DEADLINE)
            base.cancel()
            if error is not None:
                raise error

        def on_disconnect(self, reason: str) -> None:
            self.told.append(reason)

    with Robot() as server, client_of(server) as env:
        server.connected.set()
        eventually(lambda: server.told)  # though the client says nothing
        assert server.told == [told]
        with pytest.raises(ConnectionError, match=re.escape(f"code 1011: {told}")):
            env.reset()
        assert server.resets == 0


def test_hooks_do_not_run_beside_a_handle_that_has_not_reached_its_base() -> None:
    class Robot(SmallRobot):
        threads: list[str] = []

        async def _handle(self, ws: Any) -> None:
            self.asked = asyncio.Event()
            self.handling.set()
            await self.asked.wait()
            await super()._handle(ws)

        async def get_metadata(self) -> dict[str, Any]:
            self.threads.append(threading.current_thread().name)
            asyncio.get_running_loop().call_soon_threadsafe(self.asked.set)
            return {}

        handling = threading.Event()

    with Robot() as server, client_of(server) as env:
        assert server.handling.wait(DEADLINE)
        env.get_metadata()
        assert server.threads == ["chiral-hooks"]


def test_a_handle_that_does_not_end_is_cancelled_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chiral._hooks, "PATIENCE", 1.0)

    class Robot(SmallRobot):
        told: list[str] = []

        async def _handle(self, ws: Any) -> None:
            await super()._handle(ws)
            try:
                await asyncio.sleep(3600)
            finally:
                await asyncio.sleep(0.01)
                self.told.append("wound down")

    with Robot() as server, client_of(server) as env:
        env.reset()
        server.stop()
        server.wait()
        assert server.told == ["wound down"]


def test_a_hook_that_takes_its_cancellation_for_something_else_is_cancelled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chiral._hooks, "PATIENCE", 0.05)
    begun = threading.Event()

    class Robot(SmallRobot):
        cancelled = 0

        async def get_obs(self) -> chiral.Observation:
            while True:
                try:
                    begun.set()
                    await asyncio.sleep(3600)
                except asyncio.CancelledError:
                    self.cancelled += 1
                    if self.cancelled == 3:
                        raise

    with Robot() as server, ThreadPoolExecutor(1) as pool:
        asked = pool.submit(client_of(server).connect().get_obs)
        assert begun.wait(DEADLINE)
        server.stop()
        server.wait()
        assert server.cancelled == 3
        with pytest.raises(chiral.ConnectionError):
            asked.result(DEADLINE)


def test_a_second_serving_is_refused_and_takes_nothing_from_the_first() -> None:
    class Robot(SmallRobot):
        async def reset(self) -> tuple[chiral.Observation, dict[str, Any]]:
            await asyncio.sleep(0)
            return self._make_obs(), {}

    with Robot() as server, client_of(server) as env:
        with pytest.raises(RuntimeError, match="served already"):
            server.run()
        env.reset()  # on the first one's loop


@pytest.mark.parametrize(
    ("returned", "told"),
    [
        (None, "a hook returned NoneType, expected chiral.Observation"),
        (chiral.Observation([chiral.CameraInfo("c", np.eye(4), np.eye(4), np.zeros((1, 1, 3), np.uint8))]), "intrinsics has shape"),
        (chiral.Observation([], extra={"x": object()}), "a value of type object cannot be sent"),
    ],
)
def test_what_a_hook_must_not_return_is_named(returned: Any, told: str) -> None:
    class Robot(SmallRobot):
        async def get_obs(self) -> Any:
            return returned

    with Robot() as server, client_of(server) as env, pytest.raises(ConnectionError, match=told):
        env.get_obs()


def test_pixels_go_out_from_the_slots_they_were_published_in(robot: SmallRobot) -> None:
    robot.update_image("wrist", 7)
    first, second = robot._make_obs(), robot._make_obs()
    assert first["wrist"].image.ctypes.data == second["wrist"].image.ctypes.data  # the same slot twice, not two copies
    assert not first["wrist"].image.flags.writeable
    del first, second
    with client_of(robot) as env:
        for value in range(200):
            robot.update_image("wrist", value)
            assert (env.get_obs()["wrist"].image == value).all()
    assert robot.stats()["copied_observations"] == 0


def test_observations_may_be_assembled_from_arrays_of_the_programs_own() -> None:
    image = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)

    class Robot(SmallRobot):
        async def get_obs(self) -> chiral.Observation:
            camera = chiral.CameraInfo("own", np.eye(3), np.eye(4), image[:, ::-1], timestamp=3)
            return chiral.Observation([camera], {"q": [1, 2, 3]}, timestamp=2)  # type: ignore[dict-item]

    with Robot() as server, client_of(server) as env:
        obs = env.get_obs()
        assert obs["own"].image.tolist() == image[:, ::-1].tolist() and obs["own"].timestamp == 3
        assert obs.proprios["q"].tolist() == [1, 2, 3] and obs.timestamp == 2


def test_connections_and_missing_actions_are_told_in_order() -> None:
    class Robot(SmallRobot):
        def __init__(self, **options: Any) -> None:
            self.told: list[str] = []
            super().__init__(**options)

        def on_connect(self, peer: str) -> None:
            self.told.append("connect")

        async def on_disconnect(self, reason: str) -> None:
            await asyncio.sleep(0)
            self.told.append("disconnect")

        def on_action_timeout(self) -> None:
            self.told.append("timeout")

    with Robot(action_timeout=0.05) as server:
        with client_of(server) as env:
            env.apply_action([1])
            eventually(lambda: "timeout" in server.told)
        eventually(lambda: "disconnect" in server.told)
    assert server.told == ["connect", "timeout", "disconnect"]


@pytest.mark.parametrize("how", ["left", "failed"])
@pytest.mark.parametrize("kind", ["function", "coroutine", "coroutine that awaits", "called by the robot's own"])
def test_a_robot_that_only_holds_holds_when_its_client_is_gone(kind: str, how: str) -> None:
    class Robot(SmallRobot):
        def __init__(self, **options: Any) -> None:
            self.held = threading.Event()
            super().__init__(**options)

        async def apply_action(self, action: np.ndarray) -> None:
            await super().apply_action(action)
            if how == "failed":
                raise ValueError("motor off")

    def function(self: Any) -> None:
        self.held.set()

    async def coroutine(self: Any) -> None:
        self.held.set()

    async def awaits(self: Any) -> None:
        await asyncio.sleep(0)
        self.held.set()

    async def own(self: Any, reason: str) -> None:
        await chiral.PolicyServer.on_disconnect(self, reason)

    hook: Any = {"function": function, "coroutine": coroutine}.get(kind, awaits)
    Robot.on_action_timeout = hook  # type: ignore[method-assign]
    if kind == "called by the robot's own":
        Robot.on_disconnect = own  # type: ignore[method-assign]
    with Robot(action_timeout=3600.0) as server:
        with contextlib.suppress(ConnectionError), client_of(server) as env:
            env.apply_action([1])
            eventually(lambda: server.actions)
            if how == "failed":
                assert server.held.wait(DEADLINE)
        assert server.held.wait(DEADLINE)


def test_wait_frames_waits_for_every_camera_asked_for(robot: SmallRobot) -> None:
    assert robot.newest_frames() == {"wrist": 0, "head": 0}
    robot.update_image("wrist", 1)
    assert robot.wait_frames({"wrist": 0}, timeout=0)
    assert not robot.wait_frames({"wrist": 0, "head": 0}, timeout=0.01)
    later = threading.Thread(target=robot.update_image, args=("head", 1))
    later.start()
    assert robot.wait_frames({"wrist": 0, "head": 0}, timeout=60)
    later.join()


def test_a_stream_tells_its_value_at_a_time(robot: SmallRobot) -> None:
    robot.update_proprio("joint_pos", 1.0, captured=10.0)
    robot.update_proprio("joint_pos", 3.0, captured=12.0)
    values, at, how = robot.proprio_at("joint_pos", 11.0)
    assert how == "interpolated" and values.tolist() == [2.0] * 7 and at == pytest.approx(11.0)
    assert robot.proprio_at("joint_pos", 99.0)[2] == "after_newest"


def test_bad_options_are_named() -> None:
    with pytest.raises(TypeError, match="unknown option 'action_timout'; there are: .*action_timeout"):
        SmallRobot(action_timout=1.0)
    with pytest.raises(TypeError, match="'bearer_token' does not take a value of type int"):
        SmallRobot(bearer_token=3)
    with pytest.raises(ValueError, match="expected 'accept', 'clamp' or 'reject'"):
        SmallRobot(gate={"stale": "maybe"})
    with pytest.raises(ValueError, match="protocol"):
        SmallRobot(protocol="carrier pigeon")


def test_a_log_gets_a_line_for_every_event() -> None:
    lines: list[str] = []
    with SmallRobot(log=lines.append) as server, client_of(server):
        eventually(lambda: any("connected" in line for line in lines))
    waited: list[str] = []
    with pytest.raises(ConnectionError):
        chiral.PolicyClient("ws://127.0.0.1:1", connect_timeout=0.2, log=waited.append).connect()
    assert len(waited) == 1 and "waiting for server" in waited[0]
    with pytest.raises(TypeError, match="log is of type int, expected a callable that takes a line, or a logging.Logger"):
        SmallRobot(log=3)


def test_a_log_may_be_a_logger(caplog: pytest.LogCaptureFixture) -> None:
    with SmallRobot(log=logging.getLogger("my.robot"), log_level=logging.WARNING) as server, client_of(server):
        eventually(lambda: [r for r in caplog.records if "connected" in r.getMessage()])
    assert {(r.name, r.levelname) for r in caplog.records if "connected" in r.getMessage()} == {("my.robot", "WARNING")}


def test_a_log_that_fails_is_told_of_and_no_reason_to_stop(caplog: pytest.LogCaptureFixture) -> None:
    def fails(line: str) -> None:
        raise ValueError("the disk is full")

    with SmallRobot(log=fails) as server, client_of(server) as env:
        eventually(lambda: "the log of SmallRobot failed" in caplog.text and "the disk is full" in caplog.text)
        env.reset()


def test_a_log_that_knows_its_robot_keeps_nothing_alive() -> None:
    class Robot(SmallRobot):
        def __init__(self) -> None:
            self.lines: list[str] = []
            super().__init__(log=lambda line: self.lines.append(line))

    def serve_and_drop() -> tuple[weakref.ref[Any], weakref.ref[Any]]:
        server = Robot()
        with server, client_of(server):
            eventually(lambda: server.lines)
        return weakref.ref(server), weakref.ref(server._chiral_native)

    python, native = serve_and_drop()
    eventually(lambda: gc.collect() is not None and python() is None and native() is None)


def test_a_port_that_is_taken_is_an_os_error(robot: SmallRobot) -> None:
    with pytest.raises(OSError, match=str(robot.port)) as error:
        SmallRobot(port=robot.port).run()
    assert error.value.errno == 98


@pytest.mark.parametrize("missing", ["chiral-end", "chiral-signals"])
def test_a_server_that_cannot_have_its_threads_serves_nobody(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    server, start = SmallRobot(), threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == missing:
            raise RuntimeError("can't start new thread")
        start(thread)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            server.run()
    with pytest.raises(chiral.ConnectionError):
        client_of(server, connect_timeout=0.2).connect()
    server.wait()


def test_a_server_that_is_interrupted_as_it_begins_serves_nobody_and_may_be_served_again() -> None:
    server = SmallRobot()
    native = server._chiral_native

    class Interrupted:
        def __getattr__(self, name: str) -> Any:
            return getattr(native, name)

        def serve(self, host: str, port: int) -> None:
            native.serve(host, port)
            server.port = native.port
            raise KeyboardInterrupt  # as a signal's handler does at any time

    server._chiral_native = Interrupted()  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        server.run()
    with pytest.raises(chiral.ConnectionError):
        client_of(server, connect_timeout=0.2).connect()
    server._chiral_native = native
    with server, client_of(server) as env:
        env.reset()


async def begin_serving(server: SmallRobot) -> asyncio.Task[None]:
    serving = asyncio.create_task(server.serve())
    while server._chiral_native.port == 0:
        await asyncio.sleep(0.001)
    server.port = server._chiral_native.port
    return serving


def test_a_serve_that_is_cancelled_twice_leaves_no_hook_to_wait_for_its_loop() -> None:
    server = BusyObserving()

    async def main() -> None:
        serving = await begin_serving(server)
        env = client_of(server).connect()
        with server.held(env):  # a hook that is waited for
            serving.cancel()
            while server._chiral_hooks._stops_since is None:  # it waits for that hook
                await asyncio.sleep(0.001)
            serving.cancel()
            await asyncio.wait([serving], timeout=DEADLINE)
            assert serving.cancelled()
            assert server._chiral_hooks._loop is None
        env.close()

    asyncio.run(main())
    server.wait()


def test_a_serve_that_is_cancelled_again_and_again_stops_its_robot_first() -> None:
    """As anyio's cancel scopes do until the task has ended."""

    class Arm(SmallRobot):
        stopped: list[str] = []

        async def on_disconnect(self, reason: str) -> None:
            for _ in range(10):
                await asyncio.sleep(0.001)
            self.stopped.append("on_disconnect")

        async def _handle(self, ws: Any) -> None:
            await super()._handle(ws)
            await asyncio.sleep(0.01)
            self.stopped.append("_handle")

    server = Arm()

    async def main() -> None:
        serving = await begin_serving(server)
        env = client_of(server)
        await asyncio.to_thread(env.connect)
        await asyncio.to_thread(env.reset)
        while not serving.done():
            serving.cancel()
            await asyncio.sleep(0)
        assert serving.cancelled() and server.stopped == ["on_disconnect", "_handle"]
        env.close()

    asyncio.run(main())
    server.wait()


@pytest.mark.parametrize("waits", [True, False])
def test_what_a_hook_does_by_default_may_be_awaited(waits: bool, caplog: pytest.LogCaptureFixture) -> None:
    class Arm(SmallRobot):
        told: list[str] = []

        async def on_connect(self, peer: str) -> None:
            await super().on_connect(peer)
            self.told.append("on_connect")

        async def on_disconnect(self, reason: str) -> None:
            await super().on_disconnect(reason)
            self.told.append("on_disconnect")

    if waits:

        async def stop(self: Arm) -> None:
            await super(Arm, self).on_action_timeout()
            self.told.append("stop")

        Arm.on_action_timeout = stop  # type: ignore[method-assign]
    with Arm() as server, client_of(server) as env:
        env.reset()
    assert server.told == ["on_connect", *(["stop"] if waits else []), "on_disconnect"]
    assert "failed" not in caplog.text


def test_start_tells_each_time_that_the_port_is_taken(robot: SmallRobot) -> None:
    for _ in range(20):
        with pytest.raises(OSError, match=str(robot.port)):
            SmallRobot(port=robot.port).start()


def test_the_abstract_hooks_must_be_given() -> None:
    with pytest.raises(TypeError, match="abstract"):
        chiral.PolicyServer()  # type: ignore[abstract]


def test_a_token_is_asked_for() -> None:
    with SmallRobot(bearer_token="secret") as server:
        with pytest.raises(ConnectionError, match="401"):
            client_of(server).connect()
        with client_of(server, bearer_token="secret") as env:
            env.reset()
