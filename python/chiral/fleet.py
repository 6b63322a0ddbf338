# SPDX-License-Identifier: Apache-2.0
"""The robots of a Zenoh network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from . import _native

__all__ = ["FoundRobot", "find_robots"]


@dataclass(frozen=True)
class FoundRobot:
    """A robot that is there now."""

    prefix: str
    """Of its keys: PolicyClient("zenoh://HOST/" + prefix) talks to it."""
    id: str
    """Of its Zenoh session: another one after each start."""


def find_robots(uri: str = "tcp/localhost:7447", timeout: float = 2.0, **options: Any) -> list[FoundRobot]:
    """Asks a Zenoh router, or a robot, who is there; `timeout` seconds at most. Options are those of PolicyClient. Raises
    chiral.ConnectionError if nobody is at the address."""
    return [FoundRobot(prefix, robot) for prefix, robot in _native.find_robots(uri, timeout, options)]
