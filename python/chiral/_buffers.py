# SPDX-License-Identifier: Apache-2.0
"""The buffers of a PolicyServer as programs know them: dicts of arrays, and a lock for each camera and stream.

There are no such arrays and no such mutexes underneath: what is read is a pinned slot that no writer touches, and what is written
is published. So pixels are read-only views; the small arrays may be written, which publishes them, at once or, inside the lock's
block, at its end.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any, NoReturn

import numpy as np

from . import _native
from .types import Array, CameraConfig, ProprioConfig, SlotConfig


class ReadOnlyPixels(np.ndarray[Any, Any]):
    """A view of published pixels, which says what to do instead when a program writes into it."""

    def __setitem__(self, key: Any, value: Any) -> None:
        if not self.flags.writeable:
            _refuse_writing()
        super().__setitem__(key, value)

    def __array_function__(self, function: Any, types: Any, arguments: Any, keywords: Any) -> Any:
        if function is np.copyto and arguments and arguments[0] is self and not self.flags.writeable:
            _refuse_writing()
        return super().__array_function__(function, types, arguments, keywords)


def _refuse_writing() -> NoReturn:
    raise ValueError(
        "these pixels are published and may be on their way to a client, so they are read-only: write new ones with "
        "update_image() or update_depth(), or fill the next ones in place with `with self.frame(name) as frame`"
    )


class LiveArray(np.ndarray[Any, Any]):
    """A copy of a small array, whose changes are published at once: by [...] = , np.copyto, fill and out=."""

    _root: LiveArray | None
    _publish: Callable[[Array], None] | None

    def __array_finalize__(self, parent: Any) -> None:
        self._root = getattr(parent, "_root", None)
        self._publish = None

    @classmethod
    def of(cls, values: Array, publish: Callable[[Array], None]) -> LiveArray:
        live = values.view(cls)
        live._root = live
        live._publish = publish
        return live

    def _written(self) -> None:
        root = self._root
        if root is not None and root._publish is not None and np.may_share_memory(self, root):
            root._publish(root.view(np.ndarray))

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(key, value)
        self._written()

    def fill(self, value: Any) -> None:
        super().fill(value)
        self._written()

    def __array_function__(self, function: Any, types: Any, arguments: Any, keywords: Any) -> Any:
        result = super().__array_function__(function, types, arguments, keywords)
        if function is np.copyto and arguments and isinstance(arguments[0], LiveArray):
            arguments[0]._written()
        return result

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = None, **keywords: Any) -> Any:
        def plain(array: Any) -> Any:
            return array.view(np.ndarray) if isinstance(array, LiveArray) else array

        if out is not None:
            keywords["out"] = tuple(plain(array) for array in out)
        result = getattr(ufunc, method)(*(plain(array) for array in inputs), **keywords)
        if out is None:
            return result
        for array in out:
            if isinstance(array, LiveArray):
                array._written()
        return out[0] if len(out) == 1 else out


class Camera:
    """A camera's place in the native server, its shapes, and who is looking at it."""

    def __init__(self, server: _native.Server, index: int, config: CameraConfig) -> None:
        self.server = server
        self.index = index
        self.name = config.name
        shape = (config.height, config.width, config.channels)
        self.image_shape = shape[:2] if config.two_dimensional else shape
        self.image_dtype = np.dtype(config.image_dtype)
        self.depth_shape = (config.height, config.width)
        self.depth_dtype = np.dtype(config.depth_dtype)
        self.has_depth = config.has_depth
        self.encoded = config.encoding != "raw"
        self.lock = CameraLock(self)
        self.timestamp: tuple[int, Any] | None = None  # set by the program for the image of this number

    def view(self, with_depth: bool = False) -> _native.View:
        """The one that the lock's block looks at, or a look of its own."""
        return self.lock.view_of_this_thread() or _native.View(self.server, self.index, with_depth)


class Proprio:
    """A stream's place in the native server. What its dtype holds beyond float32 is kept here."""

    def __init__(self, server: _native.Server, index: int, config: ProprioConfig) -> None:
        self.server = server
        self.index = index
        self.name = config.name
        self.size = config.size
        self.dtype = np.dtype(config.dtype)
        self.lock = ProprioLock(self)
        self._exact: Array | None = None  # of a dtype other than float32: the last sample, replaced as a whole

    def update(self, values: Array, captured: float | None = None) -> None:
        """Publishes `size` values of the stream's dtype."""
        with np.errstate(over="ignore"):  # what float32 cannot hold is told as not finite
            self.server.update_proprio(self.index, np.ascontiguousarray(values, dtype=np.float32), captured)
        if self.dtype != np.float32:
            self._exact = np.array(values)

    def values(self) -> Array:
        exact = self._exact
        if exact is not None:
            return exact.copy()
        return np.asarray(self.server.proprio(self.index, None)[0]).astype(self.dtype, copy=False)


class Slot:
    """A slot's place in the native server, and what its array is."""

    def __init__(self, server: _native.Server, index: int, config: SlotConfig) -> None:
        self.server = server
        self.index = index
        self.name = config.name
        self.dtype = np.dtype(config.dtype)
        self.shape = tuple(config.shape)

    def values(self) -> Array:
        return np.frombuffer(self.server.slot(self.index), self.dtype).reshape(self.shape)


class _Lock:
    """Like threading.Lock for those who ask, but no writer ever waits for it."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._owner: int | None = None

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        if not self._mutex.acquire(blocking, timeout):
            return False
        self._owner = threading.get_ident()
        self._begin()
        return True

    def release(self) -> None:
        try:
            self._end()
        finally:
            self._owner = None
            self._mutex.release()

    def locked(self) -> bool:
        return self._mutex.locked()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *exception: object) -> None:
        self.release()

    def held_here(self) -> bool:
        return self._owner == threading.get_ident()

    def _begin(self) -> None:
        raise NotImplementedError

    def _end(self) -> None:
        raise NotImplementedError


class CameraLock(_Lock):
    """Its block sees one coherent view of a camera; matrices that it changes are published together at its end."""

    def __init__(self, camera: Camera) -> None:
        super().__init__()
        self._camera = camera
        self._view: _native.View | None = None
        self._matrices: dict[str, tuple[Array, Array]] = {}  # what the block works on, and what it was

    def _begin(self) -> None:
        self._view = _native.View(self._camera.server, self._camera.index, self._camera.has_depth)
        self._matrices = {}

    def _end(self) -> None:
        self._view = None
        changed = {what: now for what, (now, before) in self._matrices.items() if not np.array_equal(now, before)}
        self._matrices = {}
        if not changed:
            return
        frame = _native.Frame(self._camera.server, self._camera.index)
        try:
            if "intrinsics" in changed:
                frame.set_intrinsics(changed["intrinsics"])
            if "extrinsics" in changed:
                frame.set_extrinsics(changed["extrinsics"])
            frame.commit(None)
        except BaseException:
            frame.abandon()
            raise

    def view_of_this_thread(self) -> _native.View | None:
        return self._view if self.held_here() else None

    def matrix(self, what: str, view: _native.View) -> Array:
        if what not in self._matrices:
            values = getattr(view, what)()
            self._matrices[what] = (values, values.copy())
        return self._matrices[what][0]


class ProprioLock(_Lock):
    """Its block sees one sample; if it changes it, the change is published at its end."""

    def __init__(self, proprio: Proprio) -> None:
        super().__init__()
        self._proprio = proprio
        self._values: tuple[Array, Array] | None = None

    def _begin(self) -> None:
        values = self._proprio.values()
        self._values = (values, values.copy())

    def _end(self) -> None:
        now_and_before, self._values = self._values, None
        if now_and_before is not None and not np.array_equal(*now_and_before):
            self._proprio.update(now_and_before[0])

    def values_of_this_thread(self) -> Array | None:
        return self._values[0] if self._values is not None and self.held_here() else None


class _ByName(Mapping[str, Array]):
    def __init__(self, names: list[str]) -> None:
        self._names = names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __setitem__(self, name: str, value: Any) -> NoReturn:
        raise TypeError(f"the array of '{name}' cannot be replaced: copy into it with the update_*() methods")


class Pixels(_ByName):
    """images or depths: read-only views of what is published."""

    def __init__(self, cameras: Mapping[str, Camera], what: str) -> None:
        super().__init__([name for name, camera in cameras.items() if what == "image" or camera.has_depth])
        self._cameras = cameras
        self._what = what

    def __getitem__(self, name: str) -> Array:
        if name not in self._names:
            raise KeyError(name)
        pixels: Array = getattr(self._cameras[name].view(with_depth=self._what == "depth"), self._what)()
        return pixels.view(ReadOnlyPixels)


class Matrices(_ByName):
    """intrinsics or extrinsics."""

    def __init__(self, cameras: Mapping[str, Camera], what: str) -> None:
        super().__init__(list(cameras))
        self._cameras = cameras
        self._what = what

    def __getitem__(self, name: str) -> Array:
        camera = self._cameras[name]
        held = camera.lock.view_of_this_thread()
        if held is not None:
            return camera.lock.matrix(self._what, held)
        publish = getattr(camera.server, f"update_{self._what}")
        return LiveArray.of(getattr(camera.view(), self._what)(), lambda values: publish(camera.index, values, None))


class Proprios(_ByName):
    def __init__(self, proprios: Mapping[str, Proprio]) -> None:
        super().__init__(list(proprios))
        self._proprios = proprios

    def __getitem__(self, name: str) -> Array:
        proprio = self._proprios[name]
        held = proprio.lock.values_of_this_thread()
        return held if held is not None else LiveArray.of(proprio.values(), proprio.update)


class ImageTimestamps(MutableMapping[str, Any]):
    """Capture time of each camera's image. A time that a program sets stands until the next image."""

    def __init__(self, cameras: Mapping[str, Camera]) -> None:
        self._cameras = cameras

    def __getitem__(self, name: str) -> Any:
        camera = self._cameras[name]
        if camera.timestamp is not None and camera.timestamp[0] == camera.server.newest_frame(camera.index):
            return camera.timestamp[1]
        return camera.view().captured

    def __setitem__(self, name: str, timestamp: Any) -> None:
        camera = self._cameras[name]
        camera.timestamp = (camera.server.newest_frame(camera.index), timestamp)

    def __delitem__(self, name: str) -> None:
        self._cameras[name].timestamp = None

    def __iter__(self) -> Iterator[str]:
        return iter(self._cameras)

    def __len__(self) -> int:
        return len(self._cameras)
