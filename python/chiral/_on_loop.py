# SPDX-License-Identifier: Apache-2.0
"""Coroutines on an event loop, and the threads that wait for them: who may cancel one, and what becomes of it if the loop ends."""

from __future__ import annotations

import asyncio
import concurrent.futures.thread
import contextlib
import math
import threading
import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import _native

# For how long what stops the robot waits, in seconds, for a loop that does not begin it, or has begun it and runs no more. Counted in
# looks, so that a machine that stands still for a while has not waited.
WAIT_FOR_LOOP = 1.0
_LOOKS = 10
# How often an action that waits for the loop asks whether it still counts, in seconds.
_ASK = 0.05


class NotCalled(Exception):
    """The client has lost control, or the action has waited too long, before the hook could begin."""


class Executor(concurrent.futures.ThreadPoolExecutor):
    """Behind asyncio.to_thread(), also while the interpreter ends. That ends executors before anything else, and then starts no
    thread any more: what stops the robot holds up its loop instead."""

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> concurrent.futures.Future[Any]:
        if not self._interpreter_ends():
            try:
                return super().submit(function, *arguments, **named)
            except RuntimeError:
                if not self._interpreter_ends():
                    raise
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        try:
            future.set_result(function(*arguments, **named))
        except Exception as error:
            future.set_exception(error)
        return future

    @staticmethod
    def _interpreter_ends() -> bool:
        return getattr(concurrent.futures.thread, "_shutdown", False)

    @classmethod
    def give(cls, loop: asyncio.AbstractEventLoop) -> None:
        """To a loop that has none yet, or one that takes nothing any more."""
        if cls._interpreter_ends() or getattr(loop, "_default_executor", loop) is None:
            loop.set_default_executor(cls(thread_name_prefix="asyncio"))

    @classmethod
    def withdraw(cls, loop: asyncio.AbstractEventLoop) -> None:
        """Where the interpreter ends, or may soon: asyncio.run() starts a thread to end an executor, and one that begins beside the last steps of
        the interpreter crashes. There is nothing to end: the interpreter has joined the executor's own threads, or it never had any."""
        executor = getattr(loop, "_default_executor", None)
        if isinstance(executor, cls) and (cls._interpreter_ends() or not executor._threads):
            loop._default_executor = None  # type: ignore[attr-defined]


class OnLoop:
    """A coroutine on the event loop, which a thread of the native server waits for."""

    def __init__(self, loop: asyncio.AbstractEventLoop, run: Callable[[], Coroutine[Any, Any, Any]],
                 call: _native.PendingCall | None = None) -> None:
        self._loop = loop
        self._call = call
        self._task: asyncio.Task[Any] | None = None  # from its first step on
        self._first = threading.Lock()  # held by who has decided: the loop to begin, or who waits that it shall not
        self._cancelled_at = -math.inf  # time.monotonic()
        self._schedule(run)

    def _schedule(self, run: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        self._future = asyncio.run_coroutine_threadsafe(self._begin(run), self._loop)

    async def _begin(self, run: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        if not self._first.acquire(blocking=False):
            return None  # nobody waits for it any more
        self._task = asyncio.current_task()
        if self._call is not None and not self._call.counts():  # other tasks may have kept the loop for any time
            raise NotCalled
        return await run()

    @property
    def done(self) -> bool:
        return self._future.done()

    def result(self) -> Any:
        """Returns when it has ended: one that was cancelled has wound down by then. Raises NotCalled as soon as its call no longer counts,
        if it has not begun by then: it never will."""
        try:
            while self._call is not None and not self._first.locked() and not self._future.done():
                with contextlib.suppress(concurrent.futures.TimeoutError):
                    self._future.exception(_ASK)  # which returns what the hook raises: a time-out is of the waiting
                if not self._call.counts() and self._first.acquire(blocking=False):
                    raise NotCalled  # whatever keeps the loop, the thread is free for what stops the robot
            return self._future.result()
        except concurrent.futures.CancelledError:
            if self._first.acquire(blocking=False) and self._call is not None:
                raise NotCalled from None
            raise RuntimeError("cancelled, because the server stops") from None

    def cancel(self, now: float, patience: float) -> None:
        """On the loop, now and then: cancels it, and leaves it time to wind down."""
        if self._task is not None and now - self._cancelled_at > patience:
            self._cancelled_at = now
            self._task.cancel()

    def let_go(self) -> None:
        """Any thread: the loop has ended, and nobody waits any more."""
        self._future.cancel()


class Kept(OnLoop):
    """One that is not cancelled with all other tasks of the loop, as asyncio.run() does if an exception leaves the loop."""

    def _schedule(self, run: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        self._future = concurrent.futures.Future()
        self._loop.call_soon_threadsafe(self._start, run)

    def rests(self, resting: set[asyncio.Task[Any] | None]) -> bool:
        return self.done or (self._task is not None and self._task in resting)

    def _start(self, run: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        if not self._first.acquire(blocking=False):
            return
        try:
            Executor.give(self._loop)
            self._task = self._loop.create_task(run())
            asyncio.tasks._unregister_task(self._task)
            self._task.add_done_callback(self._tell)
        except BaseException:  # also of a signal's handler
            if self._task is not None:
                self._task.cancel()
            self._first.release()
            self._future.cancel()
            raise

    def _tell(self, task: asyncio.Task[Any]) -> None:
        if task.cancelled():
            self._future.cancel()
        if not self._future.set_running_or_notify_cancel():
            return
        error = task.exception()
        if error is not None:
            self._future.set_exception(error)
        else:
            self._future.set_result(task.result())


class Stopping(Kept):
    """What stops the robot: nobody cancels it or lets go of it, and whoever waits for it is told if the loop does not run it."""

    def result(self) -> Any:
        """Raises NotCalled if it has not begun and will not, or will never go on."""
        begun, looks = False, 0
        while True:
            concurrent.futures.wait([self._future], WAIT_FOR_LOOP / _LOOKS)
            closed, cancelled = self._loop.is_closed(), self._future.cancelled()
            if self._future.done() and not cancelled:
                return self._future.result()
            # Until it has begun every look counts: a loop that runs may be kept by a callback that blocks.
            had_begun, begun = begun, self._first.locked()
            looks = 0 if begun and (not had_begun or self._loop.is_running()) else looks + 1
            stands = looks >= _LOOKS
            if closed or ((cancelled or stands) and self._first.acquire(blocking=False)):
                raise NotCalled
            if cancelled:
                raise RuntimeError("it has cancelled itself")
            if stands and begun:  # nobody goes on with it: if the loop ever does, it is not to end it a second time
                with contextlib.suppress(RuntimeError):
                    if self._task is not None:
                        self._loop.call_soon_threadsafe(self._task.cancel)
                raise NotCalled

    def cancel(self, now: float, patience: float) -> None:
        pass

    def let_go(self) -> None:
        pass
