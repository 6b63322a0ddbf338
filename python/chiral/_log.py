# SPDX-License-Identifier: Apache-2.0
"""Where the lines go that a native server or client has to say."""

from __future__ import annotations

import functools
import logging
import weakref
from collections.abc import Callable
from typing import Any, Union

__all__ = ["Log"]

Log = Union[Callable[[str], object], logging.Logger]


def line_taker(owner: Any, log: Log, level: int) -> Callable[[str], object]:
    """What takes lines on threads of the extension. A callable may well know its server or client, and a cycle through the
    extension would keep both for ever: so it is kept by `owner`, which is known weakly from here."""
    if isinstance(log, logging.Logger):
        return functools.partial(log.log, level, "%s")
    if not callable(log):
        raise TypeError(f"log is of type {type(log).__name__}, expected a callable that takes a line, or a logging.Logger")
    owner._chiral_log = log
    known = weakref.ref(owner)

    def take(line: str) -> None:
        held = known()
        if held is None:
            return
        try:
            held._chiral_log(line)
        except Exception:
            logging.getLogger("chiral").exception("the log of %s failed", type(held).__name__)

    return take
