# SPDX-License-Identifier: Apache-2.0
"""Observations for the length of a `with` block, and what becomes of arrays that outlive it, or their process."""

from __future__ import annotations

import threading
import warnings
import weakref
from collections.abc import Callable
from types import TracebackType
from typing import Any, NoReturn

from .types import Observation

__all__ = ["ObservedBlock"]


class _Gone:
    """Stands where an array was: every use of it says why there is none."""

    def __init__(self, why: str) -> None:
        object.__setattr__(self, "_why", why)

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise RuntimeError(object.__getattribute__(self, "_why"))

    __getattr__ = __setattr__ = __getitem__ = __setitem__ = __array__ = __len__ = __iter__ = __bool__ = _refuse


def _arrays(observation: Observation) -> list[tuple[str, Any]]:
    found = []
    for camera in observation.cameras:
        found.append((f"the image of '{camera.name}'", camera.image))
        if camera.depth is not None:
            found.append((f"the depth of '{camera.name}'", camera.depth))
    return found


def _take_away(observation: Observation, why: str) -> None:
    gone: Any = _Gone(why)
    for camera in observation.cameras:
        camera.image = gone
        if camera.depth is not None:
            camera.depth = gone


class ObservedBlock:
    """What PolicyClient.observe() returns."""

    def __init__(self, observe: Callable[[], Observation]) -> None:
        self._observe = observe
        self._observation: Observation | None = None

    def __enter__(self) -> Observation:
        if self._observation is not None:
            raise RuntimeError("this observation's block has begun already: call observe() again")
        self._observation = self._observe()
        return self._observation

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        observation, self._observation = self._observation, None
        assert observation is not None
        watched = [(name, weakref.ref(array)) for name, array in _arrays(observation)]
        _take_away(observation, "the observation's 'with' block has ended: copy what is to be kept (obs.copy())")
        # Slices, memoryviews and whatever else was made of an array keep it alive.
        kept = [name for name, array in watched if array() is not None]
        if kept and kind is None:  # a traceback holds what its frames held: that says nothing
            warnings.warn(
                f"{' and '.join(kept)} outlived the observation's 'with' block. The array stays as it is until it is gone, and "
                "with it one of the few observations that a server on this machine lends; copy what is to be kept (obs.copy())",
                RuntimeWarning,
                stacklevel=2,
            )


class LentObservations:
    """Those of which the arrays lie in memory that a child of fork() does not have, where touching it would end the child."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: list[weakref.ref[Observation]] = []

    def add(self, observation: Observation) -> None:
        with self._lock:
            self._known = [known for known in self._known if known() is not None]
            self._known.append(weakref.ref(observation))

    def after_fork_in_child(self) -> None:
        self._lock = threading.Lock()  # who held it is the parent's
        for known in self._known:
            observation = known()
            if observation is not None:
                _take_away(observation, "this process is a child of fork(), which has no part in the memory that a server lends: "
                                        "copy the observation before (obs.copy()), or start the child with 'spawn'")
        self._known = []


lent = LentObservations()
