# SPDX-License-Identifier: Apache-2.0
"""Calls a server's hooks, for the native server, which knows only this object.

Hooks may be plain functions or coroutines. Coroutines belong to one event loop, that of serve(), and run one at a time, but for
on_connect() and what stops the robot, which wait for no other hook. One that contains no `await` cannot be suspended, so it is
driven on the calling thread, at a hundredth of the cost of a round trip through the loop; asyncio.get_running_loop() gives the
loop there, too. It goes through the loop all the same while other tasks are there, so that it never runs beside them: a
_handle() that begins, or goes on behind its base, waits for what is driven.
"""

from __future__ import annotations

import asyncio
import contextlib
import dis
import functools
import inspect
import threading
import time
import types
import weakref
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from . import _native, _wire
from ._log import log
from ._on_loop import Executor, Kept, NotCalled, OnLoop, Stopping

if TYPE_CHECKING:
    from .server import PolicyServer

# Hooks that stop the robot: they are waited for, however long they take, and begin whatever becomes of the loop.
_STOPPING_HOOKS = {"on_disconnect", "on_action_timeout"}
# For how long what comes after super()._handle() may go on once the server stops, in seconds; and what was cancelled, before it is
# cancelled again: a hook may have taken that for something else.
PATIENCE = 10.0
# How often a _handle() that is to begin or to go on looks whether a hook is still driven, in seconds.
_LOOK_FOR_DRIVEN = 0.005

# What `await`, `async for` and `async with` compile to, from Python 3.10 on.
_SUSPENDING = {"GET_AWAITABLE", "GET_ANEXT", "GET_AITER", "SEND", "YIELD_FROM", "BEFORE_ASYNC_WITH", "YIELD_VALUE"}
_cannot_suspend: dict[types.CodeType, bool] = {}


def cannot_suspend(function: Any) -> bool:
    """Whether a call of this coroutine function runs from its beginning to its end at once."""
    code = getattr(function, "__code__", None)
    if not isinstance(code, types.CodeType) or not inspect.iscoroutinefunction(function):
        return False
    known = _cannot_suspend.get(code)
    if known is None:
        known = not any(instruction.opname in _SUSPENDING for instruction in dis.get_instructions(code))
        _cannot_suspend[code] = known
    return known


def _in_a_line(error: Exception) -> str:
    try:
        text = f"{type(error).__name__}: {error}"
    except Exception:  # of its own __str__()
        text = type(error).__name__
    return text.partition("\n")[0].encode(errors="replace").decode()


class Connection:
    """The client in control, as PolicyServer._handle(ws) gets it: remote_address, and wait_closed()."""

    def __init__(self, peer: str, loop: asyncio.AbstractEventLoop,
                 rest_until: Callable[[asyncio.Future[None]], Coroutine[Any, Any, None]]) -> None:
        host, _, port = peer.rpartition(":")
        self.remote_address: tuple[str, int] = (host.strip("[]"), int(port) if port.isdigit() else 0)
        self.entered = threading.Event()  # the base's _handle() has been reached, or never will be
        self.reached = False  # it has
        self.closed_at: float | None = None  # time.monotonic()
        self._closed: asyncio.Future[None] = loop.create_future()
        self._loop = loop
        self._rest_until = rest_until

    async def wait_closed(self) -> None:
        self.reached = True
        self.entered.set()
        await self._rest_until(self._closed)

    def _close(self) -> None:
        self.closed_at = time.monotonic()

        def close() -> None:
            if not self._closed.done():
                self._closed.set_result(None)

        self._loop.call_soon_threadsafe(close)


class Hooks:
    """What the native server calls; every method runs on one of its threads."""

    def __init__(self, server: PolicyServer) -> None:
        self._server = weakref.ref(server)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._resting: set[asyncio.Task[Any] | None] = set()  # that only wait: serve(), and _handle() in its base
        self._running: set[OnLoop] = set()
        self._handling: tuple[Connection, Kept] | None = None
        self._handling_begins = False  # it may run already, and is not yet there to be asked whether it rests
        self._driven = 0  # coroutines that threads of the server drive
        self._drive_or_handle = threading.Lock()  # held for moments: a drive begins, or what waits for those that have begun
        self._stops_since: float | None = None
        self.has_client = False  # from the beginning of on_connect() until the robot has been stopped and _handle() has ended
        self._left_moving = False  # on_disconnect() has failed, and the native server calls on_action_timeout() at once

    # ---- the loop ----

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._loop is not None:  # whose hooks would be let go of
            raise RuntimeError("the server is being served already")
        self._loop = loop
        Executor.give(loop)
        self._resting = {asyncio.current_task()}
        self._stops_since = None
        self.stopping: asyncio.Future[None] = loop.create_future()

    def stop(self) -> None:
        """Any thread: what waits on the loop is to end."""
        loop = self._loop

        def tell() -> None:
            if not self.stopping.done():
                self.stopping.set_result(None)

        if loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(tell)

    def cancel(self) -> None:
        """On the loop, now and then while the server stops: ends what waits there, but for what stops the robot."""
        now = time.monotonic()
        if self._stops_since is None:
            self._stops_since = now
        for waiting in self._running.copy():
            waiting.cancel(now, PATIENCE)
        held = self._handling
        if held is not None:
            connection, handling = held
            closed_at = connection.closed_at
            patience_over = closed_at is not None and now - max(closed_at, self._stops_since) > PATIENCE
            if not connection.reached or patience_over:
                handling.cancel(now, PATIENCE)

    async def wind_down(self, ended: asyncio.Future[None]) -> None:
        """On the loop, until the server that stops has ended. Who cancels this once more, or again and again as anyio does, waits for
        what stops the robot and for nothing else."""
        cancelled: asyncio.CancelledError | None = None
        while not ended.done() and (cancelled is None or self.has_client):
            self.cancel()
            try:
                await asyncio.wait([ended], timeout=0.1)
            except asyncio.CancelledError as again:
                cancelled = again
        if cancelled is not None:
            raise cancelled

    def detach(self) -> None:
        """The loop ends: nobody is to wait for it any more, but for what stops the robot."""
        self._loop = None
        for waiting in self._running.copy():
            waiting.let_go()
        handling = self._handling
        if handling is not None:
            handling[1].let_go()

    def _on_loop(self, name: str, run: Callable[[], Coroutine[Any, Any, Any]], call: _native.PendingCall | None) -> Any:
        if name in _STOPPING_HOOKS:
            return self._on_any_loop(name, run)
        loop = self._loop
        if loop is None:
            raise RuntimeError("the server's event loop has ended")
        return self._wait_for(OnLoop(loop, run, call))

    def _on_any_loop(self, name: str, run: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """On a loop of its own, if the server's has ended or does not run."""
        loop = self._loop
        if loop is not None:
            try:
                waiting = Stopping(loop, run)
            except RuntimeError:
                pass  # it is closed
            else:
                with contextlib.suppress(NotCalled):
                    return self._wait_for(waiting)
        log.warning(f"{name}() runs on an event loop of its own: that of serve() does not run, or something blocks in it")
        loop = asyncio.new_event_loop()
        try:
            Executor.give(loop)
            return loop.run_until_complete(run())
        finally:
            loop.close()

    def _wait_for(self, waiting: OnLoop) -> Any:
        self._running.add(waiting)
        try:
            if self._loop is None:
                waiting.let_go()
            return waiting.result()
        finally:
            self._running.discard(waiting)

    def _drive(self, name: str, hook: Callable[..., Any], arguments: tuple[Any, ...], call: _native.PendingCall | None) -> Any:
        loop = self._loop
        function = getattr(hook, "__func__", hook)
        coroutine = inspect.iscoroutinefunction(function)
        if coroutine and not (loop is not None and self._begin_driving(function, loop)):
            return self._on_loop(name, functools.partial(hook, *arguments), call)
        asyncio._set_running_loop(loop)
        try:
            if call is not None and not call.counts():  # others may have kept the GIL for any time
                raise NotCalled
            result = hook(*arguments)
            if not inspect.iscoroutine(result):
                return result
            if cannot_suspend(function):
                try:
                    result.send(None)
                except StopIteration as returned:
                    return returned.value
                raise RuntimeError(f"{function.__qualname__} was suspended without an await")
        finally:
            asyncio._set_running_loop(None)
            if coroutine:
                with self._drive_or_handle:
                    self._driven -= 1
            if loop is not None and (getattr(loop, "_ready", True) or getattr(loop, "_scheduled", True)):
                self._wake(loop)  # for what the hook has left there
        left = [result]

        async def again() -> Any:
            coroutine = hook(*arguments)
            return await coroutine if inspect.isawaitable(coroutine) else coroutine

        try:  # a plain function that returned a coroutine, which cannot go on where it did not begin
            return self._on_loop(name, lambda: left.pop() if left else again(), call)
        finally:
            if inspect.getcoroutinestate(result) == inspect.CORO_CREATED:
                result.close()

    @staticmethod
    def _wake(loop: asyncio.AbstractEventLoop) -> None:
        try:
            loop.call_soon_threadsafe(lambda: None)
        except RuntimeError:  # it is closed: what was left there is lost with it
            log.debug("the event loop was closed while a hook ran")

    def _begin_driving(self, function: Any, loop: asyncio.AbstractEventLoop) -> bool:
        """False: it has to go through the loop."""
        if not cannot_suspend(function) or loop.get_debug():
            return False
        with self._drive_or_handle:
            handling = self._handling
            beside = self._running or self._handling_begins or not (handling is None or handling[1].rests(self._resting))
            if beside or not asyncio.all_tasks(loop) <= self._resting:
                return False
            self._driven += 1
            return True

    def _call(self, name: str, *arguments: Any, call: _native.PendingCall | None = None) -> Any:
        """One hook, if `call` still counts when it can begin: else NotCalled; an exception goes to the log with its traceback, and to the
        native server, which closes the connection."""
        server = self._server()
        if server is None:
            raise RuntimeError("the PolicyServer object is gone")
        try:
            return self._drive(name, getattr(server, name), arguments, call)
        except NotCalled:
            raise
        except BaseException as error:  # also of sys.exit(): this thread is the server's
            log.exception(f"{name}() of {type(server).__name__} failed", error)
            raise

    def _overridden(self, name: str) -> bool:
        from .server import PolicyServer

        server = self._server()
        # As _call() finds it: what was set on the object counts, too.
        return server is not None and getattr(getattr(server, name), "__func__", None) is not getattr(PolicyServer, name)

    # ---- hooks ----

    # The native server calls these one at a time. Not a lock here: what waited for it would have been let through already, though
    # the client has lost control meanwhile.

    def get_metadata(self) -> bytes:
        return _wire.pack_map(self._call("get_metadata"), "metadata")

    # These two move the robot. Each tells whether its hook was called: not if the call no longer counted.

    def reset(self, call: _native.PendingCall) -> tuple[tuple[Any, ...], bytes] | None:
        try:
            result = self._call("reset", call=call)
        except NotCalled:
            return None
        if not isinstance(result, tuple) or len(result) != 2:
            raise TypeError(f"reset() returned {type(result).__name__}, expected a tuple of Observation and dict")
        return _wire.observation_values(result[0]), _wire.pack_map(result[1], "info")

    def apply_action(self, action: Any, call: _native.PendingCall) -> bool:
        try:
            self._call("apply_action", action, call=call)
        except NotCalled:
            return False
        return True

    def get_obs(self) -> tuple[Any, ...]:
        return _wire.observation_values(self._call("get_obs"))

    # These come in their place among the actions. Hooks that stop the robot wait for no other: a get_obs() that blocks is no reason not
    # to stop. A _handle() does wait for what is driven, if only an observer's get_metadata(), and the action thread for it: before its
    # client's first action, when nothing is armed, and behind what stops the robot. It stands both times, and nothing moves it.

    def on_connect(self, peer: str, end: Callable[[str], None]) -> None:
        """`end` ends the client's control, on any thread and whenever it is called, and tells it why."""
        self._left_moving = False
        if self._handling is not None:  # of a client before, at whose end there was no memory to reach this object with
            self._end_client()
        self.has_client = True
        if self._overridden("_handle") and self._loop is not None:
            self._begin_handling(peer, self._loop, end)
        if self._overridden("on_connect"):
            self._call("on_connect", peer)

    def on_disconnect(self, reason: str) -> None:
        try:
            if self._overridden("on_disconnect"):
                self._call("on_disconnect", reason)
            else:  # what the default does, under its own name: one without `await` needs no loop, and the log names it
                self.on_action_timeout()
        except BaseException:
            self._left_moving = True
            raise
        self._end_client()

    def on_action_timeout(self) -> None:
        try:
            if self._overridden("on_action_timeout"):
                self._call("on_action_timeout")
        finally:
            if self._left_moving:
                self._left_moving = False
                self._end_client()

    def _end_client(self) -> None:
        try:
            self._end_handling()
        finally:
            self.has_client = False

    # ---- _handle(): a coroutine that lasts as long as the connection ----

    def _begin_handling(self, peer: str, loop: asyncio.AbstractEventLoop, end: Callable[[str], None]) -> None:
        server = self._server()
        connection = Connection(peer, loop, self._rest_until)

        def ended(why: str) -> None:
            try:
                if connection.reached:  # else on_connect() says so
                    end(why)
            finally:
                connection.entered.set()

        async def handle() -> None:
            try:
                await self._nothing_driven()
                await server._handle(connection)  # type: ignore[union-attr]
            except Exception as error:
                ended(f"_handle() failed: {_in_a_line(error)}")
                log.exception(f"_handle() of {type(server).__name__} failed", error)
                raise
            finally:
                ended("_handle() has ended, and with it the connection")  # unless that was said

        with self._drive_or_handle:
            self._handling_begins = True
        try:
            handling = Kept(loop, handle)
            self._handling = (connection, handling)
        finally:
            self._handling_begins = False
        while not connection.entered.wait(0.1):  # what comes before super()._handle() comes before the first action
            if self._loop is None:
                handling.let_go()
            if handling.done:
                break
        if not connection.reached:
            handling.result()  # raises what it has raised
            raise RuntimeError("_handle() returned without `await super()._handle(ws)`, and with it ends the connection")

    async def _rest_until(self, closed: asyncio.Future[None]) -> None:
        """On the loop: hooks may be driven meanwhile, and none is when this returns, nor when it is cancelled; who cancels it once more
        waits for none."""
        task = asyncio.current_task()
        cancelled: asyncio.CancelledError | None = None
        self._resting.add(task)
        try:
            await asyncio.shield(closed)
        except asyncio.CancelledError as error:
            cancelled = error
        finally:
            with self._drive_or_handle:
                self._resting.discard(task)
        await self._nothing_driven()
        if cancelled is not None:
            raise cancelled

    async def _nothing_driven(self) -> None:
        """On the loop, in a task that does not rest: what comes now goes through the loop, so only what has begun before is waited for."""
        while self._driven:
            await asyncio.sleep(_LOOK_FOR_DRIVEN)

    def _end_handling(self) -> None:
        if self._handling is None:
            return
        connection, handling = self._handling
        try:
            connection._close()
            handling.result()  # what comes after super()._handle() comes before the next client
        except Exception as error:  # its own has been logged
            log.debug(f"_handle() ended early: {error}")
        finally:
            self._handling = None
