# SPDX-License-Identifier: Apache-2.0
"""Where the lines go that a native server or client has to say, and what is said of hooks.

A handler of `logging` may write to a pipe that nobody reads or to a disk that hangs, or wait for the lock of one that does. So no thread of
a hook and no event loop calls `logging`: what they say is queued, and a thread passes it on that nobody waits for.
"""

from __future__ import annotations

import atexit
import collections
import logging
import os
import select
import signal
import sys
import threading
import time
import traceback
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Union

__all__ = ["Log", "log"]

Log = Union[Callable[[str], object], logging.Logger]

_STDERR = 2
_LAST_WORDS = 1.0  # seconds for what is queued when the interpreter ends


@dataclass
class _Said:
    """Plain data: what an exception's frames hold is not kept alive by a log that nobody reads."""

    logger: logging.Logger
    level: int
    message: str
    told: traceback.TracebackException | str | None
    at: float
    thread: int


def _without_io(error: BaseException, longest: int) -> traceback.TracebackException | str:
    """`error` with its causes, to be formatted by another thread: source files, which may be on a disk that hangs, are read there. The last
    frames of each; in words alone if that is more than about `longest` characters."""
    told = traceback.TracebackException(type(error), error, error.__traceback__, limit=0, lookup_lines=False, compact=True)
    size, pairs = 0, [(told, error)]
    while pairs:
        each, raised = pairs.pop()
        frames = collections.deque(traceback.walk_tb(raised.__traceback__), maxlen=50)
        each.stack = traceback.StackSummary.from_list(
            [traceback.FrameSummary(frame.f_code.co_filename, line, frame.f_code.co_name, lookup_line=False) for frame, line in frames])
        size += 100 * len(frames) + sum(map(len, each.format_exception_only()))
        inner = [(each.__cause__, raised.__cause__), (each.__context__, raised.__context__)]
        inner += zip(getattr(each, "exceptions", None) or (), getattr(raised, "exceptions", ()))
        pairs += [(left, right) for left, right in inner if left is not None and right is not None]
    return told if size <= longest else _cut("".join(told.format_exception_only()), longest)


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 3] + "..."


def _visible(line: str) -> str:
    """What an exception says may come from outside: without anything that a terminal obeys."""
    return "".join(character if character.isprintable() else "?" for character in line.expandtabs())


class LogThread:
    """Calls `logging` for threads that must not wait. The queue is bounded; what finds no room is left out and counted, and the log says how
    much. When the interpreter ends, what is queued has a second."""

    MOST, LONGEST = 256, 16384  # records, and about so many characters of each

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._begin_anew()
        atexit.register(self._end)
        os.register_at_fork(after_in_child=self._begin_anew)

    def _begin_anew(self) -> None:
        """In a child of fork() as well, where the thread is not, and the lock may have been held."""
        self._changed = threading.Condition()  # held for moments only
        self._queue: collections.deque[_Said] = collections.deque()
        self._thread: threading.Thread | None = None
        self._untold = 0  # left out, and the log has not said so
        self._passing = self._over = False

    def begin(self) -> None:
        """Has the thread run, for those to whom starting one takes too long. Where there can be none, the next say() tries again."""
        with self._changed:
            if self._thread is not None or self._over:
                return
            thread = threading.Thread(target=self._work, name="chiral-logging", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the system has none
                return
            self._thread = thread

    def debug(self, message: str) -> None:
        self.say(self._logger, logging.DEBUG, message)

    def warning(self, message: str) -> None:
        self.say(self._logger, logging.WARNING, message)

    def exception(self, message: str, error: BaseException) -> None:
        self.say(self._logger, logging.ERROR, message, error)

    def say(self, logger: logging.Logger, level: int, message: str, error: BaseException | None = None) -> None:
        """Any thread; waits for nothing but others that do the same."""
        told = None if error is None else _without_io(error, self.LONGEST)
        said = _Said(logger, level, _cut(message, self.LONGEST), told, time.time(), threading.get_ident())
        self.begin()
        with self._changed:
            if self._over or len(self._queue) >= self.MOST:
                self._untold += 1
                return
            self._queue.append(said)
            self._changed.notify_all()

    def flush(self, seconds: float) -> bool:
        """Waits until all that was said has been passed on. False after so many seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: not (self._queue or self._untold or self._passing), seconds)

    def _end(self) -> None:
        self.flush(_LAST_WORDS)
        self._over = True
        with self._changed:
            self._changed.notify_all()

    # ---- its thread ----

    def _work(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGPIPE})  # that nobody reads stderr is no reason to end
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._untold or self._over)
                if self._over:
                    return
                said = self._queue.popleft() if self._queue else None
                untold = 0
                if len(self._queue) <= self.MOST // 2:
                    untold, self._untold = self._untold, 0
                self._passing = True
            if said is not None:
                self._pass_on(said)
            if untold:
                words = f"left out {untold} records, which came faster than they were taken"
                self._pass_on(_Said(self._logger, logging.WARNING, words, None, time.time(), threading.get_ident()))
            with self._changed:
                self._passing = False
                self._changed.notify_all()

    def _pass_on(self, said: _Said) -> None:
        try:
            logger = said.logger
            if not logger.isEnabledFor(said.level):
                return
            record = logger.makeRecord(logger.name, said.level, "chiral", 0, said.message, (), None)
            record.relativeCreated -= 1e3 * (record.created - said.at)
            record.created, record.msecs, record.thread = said.at, said.at % 1 * 1e3, said.thread
            if said.told is not None:
                record.exc_text = (said.told if isinstance(said.told, str) else "".join(said.told.format())).rstrip("\n")
            last = logging.lastResort
            last_is_stderr = sys.__stderr__ is not None and getattr(last, "stream", None) is sys.__stderr__
            if logger.hasHandlers() or last is None or not last_is_stderr:
                logger.handle(record)
            elif record.levelno >= last.level and not logger.disabled and logger.filter(record):
                self._write("".join(_visible(line) + "\n" for line in last.format(record).splitlines()))
        except BaseException:  # a filter's or a formatter's: handlers tell of their own, and there is nowhere else to tell
            pass

    def _write(self, text: str) -> None:
        """To standard error, where nothing is configured. Waits for room, so that it can end: a write to a full pipe cannot, and who waits in
        one holds a lock that the end of the interpreter asks for."""
        left = memoryview(text.encode(errors="backslashreplace"))
        room = select.poll()
        room.register(_STDERR, select.POLLOUT)
        while left and not self._over:
            ready = room.poll(50)
            if ready and ready[0][1] & (select.POLLERR | select.POLLNVAL):
                return
            if ready:
                try:
                    left = left[os.write(_STDERR, left[: select.PIPE_BUF]) :]
                except BlockingIOError:  # somebody else was faster
                    continue


log = LogThread(logging.getLogger("chiral"))


def line_taker(owner: Any, lines: Log | None, level: int) -> Callable[[str], object] | None:
    """What takes lines on threads of the extension; None: standard error does. A callable may well know its server or client, and a cycle
    through the extension would keep both for ever: so it is kept by `owner`, which is known weakly from here."""
    if lines is None:  # what has the number of a standard error that was closed is something else, a serial port perhaps
        return None if sys.__stderr__ is not None else lambda line: None
    if isinstance(lines, logging.Logger):
        log.begin()
        return lambda line: log.say(lines, level, line)
    if not callable(lines):
        raise TypeError(f"log is of type {type(lines).__name__}, expected a callable that takes a line, or a logging.Logger")
    owner._chiral_log = lines
    known = weakref.ref(owner)

    def take(line: str) -> None:
        held = known()
        if held is None:
            return
        try:
            held._chiral_log(line)
        except Exception as error:
            log.exception(f"the log of {type(held).__name__} failed", error)

    return take
