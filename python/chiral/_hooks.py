# SPDX-License-Identifier: Apache-2.0
"""Calls a server's hooks, for the native server, which knows only this object.

Hooks may be plain functions or coroutines. Coroutines belong to one event loop, that of serve(), and run one at a time. One that
contains no `await` cannot be suspended, so it is driven on the calling thread, at a hundredth of the cost of a round trip through
the loop; asyncio.get_running_loop() gives the loop there, too. It goes through the loop all the same while other tasks are there,
so that it never runs beside them.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import dis
import inspect
import logging
import threading
import types
import weakref
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from . import _wire

if TYPE_CHECKING:
    from .server import PolicyServer

log = logging.getLogger("chiral")

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


class Connection:
    """The client in control, as PolicyServer._handle(ws) gets it: remote_address, and wait_closed()."""

    def __init__(self, peer: str, loop: asyncio.AbstractEventLoop) -> None:
        host, _, port = peer.rpartition(":")
        self.remote_address: tuple[str, int] = (host.strip("[]"), int(port) if port.isdigit() else 0)
        self.entered = threading.Event()  # the base's _handle() has been reached, or never will be
        self._closed: asyncio.Future[None] = loop.create_future()
        self._loop = loop

    async def wait_closed(self) -> None:
        self.entered.set()
        await asyncio.shield(self._closed)

    def _close(self) -> None:
        def close() -> None:
            if not self._closed.done():
                self._closed.set_result(None)

        self._loop.call_soon_threadsafe(close)


class Hooks:
    """What the native server calls; every method runs on one of its threads."""

    def __init__(self, server: PolicyServer) -> None:
        self._server = weakref.ref(server)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._resting_tasks = 0  # of ours, that only wait: serve() and _handle()
        self._running: set[concurrent.futures.Future[Any]] = set()
        self._handling: tuple[Connection, concurrent.futures.Future[Any]] | None = None

    # ---- the loop ----

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._resting_tasks = 1
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
        """Ends the hooks that wait on the loop."""
        for future in list(self._running):
            future.cancel()
        if self._handling is not None:
            self._handling[1].cancel()

    def detach(self) -> None:
        self.cancel()
        self._loop = None

    def _on_loop(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        loop = self._loop
        if loop is None:
            coroutine.close()
            raise RuntimeError("the server's event loop has ended")
        future = asyncio.run_coroutine_threadsafe(coroutine, loop)
        self._running.add(future)
        try:
            if self._loop is None:
                future.cancel()
            return future.result()
        except concurrent.futures.CancelledError:
            raise RuntimeError("cancelled, because the server stops") from None
        finally:
            self._running.discard(future)

    def _drive(self, hook: Callable[..., Any], *arguments: Any) -> Any:
        loop = self._loop
        function = getattr(hook, "__func__", hook)
        if inspect.iscoroutinefunction(function) and not (loop is not None and self._may_drive(function, loop)):
            return self._on_loop(hook(*arguments))
        asyncio._set_running_loop(loop)
        try:
            result = hook(*arguments)
            if not inspect.iscoroutine(result):
                return result
            if not cannot_suspend(function):  # a plain function that returned a coroutine
                return self._on_loop(result)
            try:
                result.send(None)
            except StopIteration as returned:
                return returned.value
            raise RuntimeError(f"{function.__qualname__} was suspended without an await")
        finally:
            asyncio._set_running_loop(None)
            if loop is not None and (getattr(loop, "_ready", True) or getattr(loop, "_scheduled", True)):
                self._wake(loop)  # for what the hook has left there

    @staticmethod
    def _wake(loop: asyncio.AbstractEventLoop) -> None:
        try:
            loop.call_soon_threadsafe(lambda: None)
        except RuntimeError:  # it is closed: what was left there is lost with it
            log.debug("the event loop was closed while a hook ran")

    def _may_drive(self, function: Any, loop: asyncio.AbstractEventLoop) -> bool:
        return cannot_suspend(function) and not loop.get_debug() and len(asyncio.all_tasks(loop)) <= self._resting_tasks

    def _call(self, name: str, *arguments: Any) -> Any:
        """One hook; an exception goes to the log with its traceback, and to the native server, which closes the connection."""
        server = self._server()
        if server is None:
            raise RuntimeError("the PolicyServer object is gone")
        try:
            return self._drive(getattr(server, name), *arguments)
        except BaseException:  # also of sys.exit(): this thread is the server's
            log.exception("%s() of %s failed", name, type(server).__name__)
            raise

    def _overridden(self, name: str) -> bool:
        from .server import PolicyServer

        server = self._server()
        return server is not None and getattr(type(server), name) is not getattr(PolicyServer, name)

    # ---- hooks ----

    # The native server calls these one at a time. Not a lock here: what waited for it would have been let through already, though
    # the client has lost control meanwhile.

    def get_metadata(self) -> bytes:
        return _wire.pack_map(self._call("get_metadata"), "metadata")

    def reset(self) -> tuple[tuple[Any, ...], bytes]:
        result = self._call("reset")
        if not isinstance(result, tuple) or len(result) != 2:
            raise TypeError(f"reset() returned {type(result).__name__}, expected a tuple of Observation and dict")
        return _wire.observation_values(result[0]), _wire.pack_map(result[1], "info")

    def get_obs(self) -> tuple[Any, ...]:
        return _wire.observation_values(self._call("get_obs"))

    def apply_action(self, action: Any) -> None:
        self._call("apply_action", action)

    # These come in their place among the actions. They wait for no other hook: a get_obs() that blocks is no reason not to stop.

    def on_connect(self, peer: str) -> None:
        if self._overridden("_handle") and self._loop is not None:
            self._begin_handling(peer, self._loop)
        if self._overridden("on_connect"):
            self._call("on_connect", peer)

    def on_disconnect(self, reason: str) -> None:
        try:
            if self._overridden("on_disconnect"):
                self._call("on_disconnect", reason)
            else:  # what the default does, under its own name: one without `await` needs no loop, and the log names it
                self.on_action_timeout()
        finally:
            self._end_handling()

    def on_action_timeout(self) -> None:
        if self._overridden("on_action_timeout"):
            self._call("on_action_timeout")

    # ---- _handle(): a coroutine that lasts as long as the connection ----

    def _begin_handling(self, peer: str, loop: asyncio.AbstractEventLoop) -> None:
        server = self._server()
        connection = Connection(peer, loop)

        async def handle() -> None:
            try:
                await server._handle(connection)  # type: ignore[union-attr]
            except asyncio.CancelledError:
                raise
            except Exception:
                log.exception("_handle() of %s failed", type(server).__name__)
            finally:
                connection.entered.set()

        future = asyncio.run_coroutine_threadsafe(handle(), loop)
        self._handling = (connection, future)
        self._resting_tasks += 1
        while not connection.entered.wait(0.1):  # what comes before super()._handle() comes before the first action
            if self._loop is None:
                return

    def _end_handling(self) -> None:
        if self._handling is None:
            return
        connection, future = self._handling
        try:
            connection._close()
            future.result()  # what comes after super()._handle() comes before the next client
        except (concurrent.futures.CancelledError, RuntimeError):
            log.debug("the event loop ended before _handle() did")
        finally:
            self._handling = None
            self._resting_tasks -= 1
