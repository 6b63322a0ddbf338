# SPDX-License-Identifier: Apache-2.0
"""The robot side: subclass PolicyServer, feed it from sensor threads, run() it."""

from __future__ import annotations

import abc
import asyncio
import contextlib
import contextvars
import inspect
import logging
import threading
import time
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _native, _wire
from ._buffers import Camera, CameraLock, ImageTimestamps, Matrices, Pixels, Proprio, ProprioLock, Proprios, Slot
from ._hooks import Connection, Hooks
from ._log import Log, line_taker
from ._log import log as _log
from ._observe import lent
from ._on_loop import Executor
from ._sources import camera_tuple, proprio_tuple, slot_tuple
from .types import Array, CameraConfig, Observation, ProprioConfig, SlotConfig

__all__ = ["Frame", "PolicyServer"]

_DEFAULT_PORTS = {"websocket": 8765, "zenoh": 7447}
# Who can reach a Zenoh port can move the robot: that is asked for in words.
_DEFAULT_HOSTS = {"websocket": "0.0.0.0", "zenoh": "127.0.0.1"}
# How often serve() on the main thread wakes its loop, so that Python looks for signals, in seconds.
_LOOK_FOR_SIGNALS = 1.0
# Options of servers that are made by a program which does not know of them: see chiral.testing.
_imposed: contextvars.ContextVar[Mapping[str, Any]] = contextvars.ContextVar("chiral_options", default={})


class PolicyServer(abc.ABC):
    """Serves a robot's observations to one policy, and takes its actions.

    Subclasses give camera_configs(), reset() and apply_action(), and may give the other hooks. Hooks are coroutines on one event
    loop, or plain functions; they run one at a time, but for on_connect() and what stops the robot, which wait for no other.
    update_*() may be called from any thread, and never wait for a reader.

    Options are those of the C++ server by name, with times in seconds: action_timeout, heartbeat_timeout, idle_timeout,
    bearer_token, tls_certificate_file, tls_private_key_file, allowed_origins, allow_takeover, max_observers, max_queued_actions,
    proprio_history, and gate, a dict with dimension, lower, upper, outside_limits, max_step, max_observation_age and more.

    With protocol "zenoh" it listens on this machine only, unless `host` says otherwise; the option zenoh is a dict with prefix,
    connect (routers), config_file and silence. zenoh={} beside WebSocket listens there as well. See docs/ZENOH.md.

    `log` gets one line per event (client connected, refused, protocol error): a callable, on a thread of the log's own, where it
    may be slow, or a logging.Logger, at `log_level`. Default: stderr.

    A hook that raises closes the connection, with one line of the exception as the reason; the traceback goes to the logger
    "chiral", and the next client is served.
    """

    images: Mapping[str, Array]
    depths: Mapping[str, Array]
    intrinsics: Mapping[str, Array]
    extrinsics: Mapping[str, Array]
    proprios: Mapping[str, Array]

    def __init__(
        self,
        host: str | None = None,
        port: int | None = None,
        protocol: str = "websocket",
        *,
        log: Log | None = None,
        log_level: int = logging.INFO,
        **options: Any,
    ) -> None:
        if protocol not in _DEFAULT_PORTS:
            raise ValueError(f"protocol is {protocol!r}, expected 'websocket' or 'zenoh'")
        imposed = _imposed.get()
        if imposed:
            options.pop("zenoh", None)  # which has a port
        elif protocol == "zenoh":
            options["zenoh"] = {**options.get("zenoh", {}), "only": True}
        options.update(imposed)
        if (taker := line_taker(self, log, log_level)) is not None:
            options["log"] = taker
        self.host = _DEFAULT_HOSTS[protocol] if host is None else host
        self.port = _DEFAULT_PORTS[protocol] if port is None else port
        self._protocol = protocol
        self._configs = list(self.camera_configs())
        self._proprio_configs = list(self.proprio_configs())
        self._slot_configs = list(self.slot_configs())

        _log.begin()
        self._chiral_hooks = Hooks(self)
        self._chiral_native = native = _native.Server(
            [camera_tuple(config) for config in self._configs],
            [proprio_tuple(config) for config in self._proprio_configs],
            [slot_tuple(config) for config in self._slot_configs],
            self.host,
            self.port,
            options,
            self._chiral_hooks,
        )
        self._chiral_cameras = {c.name: Camera(native, i, c) for i, c in enumerate(self._configs)}
        self._chiral_proprios = {p.name: Proprio(native, i, p) for i, p in enumerate(self._proprio_configs)}
        self._chiral_slots = {s.name: Slot(native, i, s) for i, s in enumerate(self._slot_configs)}
        self._chiral_thread: threading.Thread | None = None
        self.images = Pixels(self._chiral_cameras, "image")
        self.depths = Pixels(self._chiral_cameras, "depth")
        self.intrinsics = Matrices(self._chiral_cameras, "intrinsics")
        self.extrinsics = Matrices(self._chiral_cameras, "extrinsics")
        self.proprios = Proprios(self._chiral_proprios)
        self._locks: dict[str, CameraLock] = {name: camera.lock for name, camera in self._chiral_cameras.items()}
        self._proprio_locks: dict[str, ProprioLock] = {name: p.lock for name, p in self._chiral_proprios.items()}
        self._image_timestamps = ImageTimestamps(self._chiral_cameras)

    # ---- hooks ----

    @abc.abstractmethod
    def camera_configs(self) -> list[CameraConfig]:
        """The cameras, asked for once at construction."""

    def proprio_configs(self) -> list[ProprioConfig]:
        """The proprioception streams, asked for once at construction. Default: none."""
        return []

    def slot_configs(self) -> list[SlotConfig]:
        """Data of the program's own, asked for once at construction. Default: none."""
        return []

    @abc.abstractmethod
    async def reset(self) -> tuple[Observation, dict[str, Any]]:
        """Starts an episode; returns what the robot sees, and info: any values that MessagePack has."""

    @abc.abstractmethod
    async def apply_action(self, action: Array) -> None:
        """Executes an action: float32, (D,), or (N, D) for a chunk. No answer is sent."""

    async def get_metadata(self) -> dict[str, Any]:
        """Static information, asked for once after connecting: any values that MessagePack has. Default: empty."""
        return {}

    async def get_obs(self) -> Observation:
        """What the client sees. May wait until there is something worth sending. Default: _make_obs()."""
        return self._make_obs()

    # What these return may be a coroutine, and a plain function may return one. Their defaults can be awaited, whatever they call.

    def on_connect(self, peer: str) -> Any:
        """A client is in control now. Waits for no other hook, and none for it but what moves the robot: get_obs() and get_metadata(), of
        observers too, may run meanwhile. May be a coroutine, like those below. Default: nothing."""
        return _DONE

    def on_disconnect(self, reason: str) -> Any:
        """It no longer is; called after its last action, whatever becomes of the event loop. Default: what on_action_timeout()
        does, as no action will come. An override that wants that as well awaits `super().on_disconnect(reason)`, or, as a plain
        function, returns it: it is a coroutine where on_action_timeout() is, and does nothing if it is dropped."""
        stopping = self.on_action_timeout()
        return stopping if inspect.isawaitable(stopping) else _DONE

    def on_action_timeout(self) -> Any:
        """The client in control has sent no action for action_timeout: stop, hold, or slow down. Called once until the next
        action; also while another hook waits, and by the default on_disconnect(). Default: nothing.

        What stops the robot, here or in on_disconnect(), may use asyncio.to_thread() or loop.run_in_executor(None, ...) also while
        the interpreter ends: what is given to them then holds up the loop. An executor of the program's own takes nothing any
        more by then, which is so from the moment that the main thread has come to its end."""
        return _DONE

    async def _handle(self, ws: Connection) -> None:
        """Lasts as long as the connection of the client in control, which ends with it. Override it around
        `await super()._handle(ws)`: what comes before that comes before the first action, and what comes after it before the next
        client. If the server stops, it has 10 s for the latter, and is then cancelled."""
        await ws.wait_closed()

    # ---- running ----

    def run(self) -> None:
        """Serves until stop(), or until Ctrl-C, which raises KeyboardInterrupt as it does anywhere. Raises OSError if the port
        cannot be had."""
        asyncio.run(self.serve())

    async def serve(self) -> None:
        """Serves on the running event loop until stop(), or until the task is cancelled. Raises like run(). Returns when the robot has
        been stopped: on_disconnect() and what comes after super()._handle(ws) have ended by then, however often it is cancelled."""
        loop = asyncio.get_running_loop()
        native, hooks = self._chiral_native, self._chiral_hooks
        hooks.attach(loop)
        ended: asyncio.Future[None] = loop.create_future()
        try:
            native.serve(self.host, self.port)
            self.port = native.port
            over = threading.Event()
            threading.Thread(target=_tell_end, args=(native, loop, ended, over), name="chiral-end", daemon=True).start()
            if threading.current_thread() is threading.main_thread():  # where Python's handlers of signals run
                threading.Thread(target=_wake_for_signals, args=(loop, over), name="chiral-signals", daemon=True).start()
        except BaseException:  # also of a signal's handler: it would serve on beside a run() that has raised
            hooks.detach()
            if native.give_up():
                native.wait()
            raise
        try:
            await asyncio.wait([ended, hooks.stopping], return_when=asyncio.FIRST_COMPLETED)
        finally:
            native.stop()
            try:
                await hooks.wind_down(ended)
            finally:
                hooks.detach()
                Executor.withdraw(loop)

    def start(self) -> PolicyServer:
        """Serves on threads of its own; returns when the port is open. Raises like run(). Also: `with MyServer() as server`."""
        if self._chiral_thread is not None and self._chiral_thread.is_alive():
            raise RuntimeError("the server has been started already")
        opened = threading.Event()
        problem: list[BaseException] = []

        async def serve() -> None:
            asyncio.get_running_loop().call_later(0, opened.set)  # serve() opens the port before it first waits
            try:
                await self.serve()
            except BaseException as error:  # told here: the loop goes on once more before asyncio.run() raises it
                problem.append(error)
                raise

        def main() -> None:
            try:
                asyncio.run(serve())
            except BaseException as error:
                problem.append(error)
            finally:
                opened.set()

        self._chiral_thread = threading.Thread(target=main, name="chiral-hooks", daemon=True)
        self._chiral_thread.start()
        opened.wait()
        if problem:
            raise problem[0]
        return self

    def stop(self) -> None:
        """Ends run(), serve() or start(): the client is told "going away". Any thread, also a hook; does not wait."""
        self._chiral_native.stop()
        self._chiral_hooks.stop()

    def wait(self) -> None:
        """Returns when a server that was stopped has ended and no hook runs any more. Not from a hook."""
        thread = self._chiral_thread
        if thread is not None:
            thread.join()
        self._chiral_native.wait()

    def __enter__(self) -> PolicyServer:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()
        self.wait()

    def stats(self) -> dict[str, Any]:
        """What has been counted since construction: connections, observations, actions_applied, ... Times are in seconds."""
        return self._chiral_native.stats()

    # ---- sensor threads ----
    # Arrays are copied as np.copyto does it: casts of the same kind, and broadcasting. A cast of another kind is a TypeError, a
    # shape that does not fit a ValueError, an unknown name a KeyError, and NaN in K, T or a sample a ValueError. `captured` is the
    # capture time in seconds of time.monotonic(); default: now. The GIL is released while pixels are copied.

    def update_image(self, name: str, image: npt.ArrayLike, *, captured: float | None = None) -> None:
        """Copies and publishes an image, (H, W, C), or (H, W) of a two-dimensional camera, or the bytes of an encoded one."""
        camera = self._camera(name)
        if camera.encoded:
            self._chiral_native.update_image(camera.index, _encoded(image, name), captured)
            return
        if _fits(image, camera.image_shape, camera.image_dtype):
            self._chiral_native.update_image(camera.index, image, captured)
        else:
            self._fill_pixels(camera, "image", image, captured)

    def update_depth(self, name: str, depth: npt.ArrayLike, *, captured: float | None = None) -> None:
        """Copies and publishes a depth map, (H, W), metres if nothing else was declared. KeyError for a camera without depth."""
        camera = self._camera(name)
        if not camera.has_depth:
            raise KeyError(f"camera '{name}' was declared without depth")
        if _fits(depth, camera.depth_shape, camera.depth_dtype):
            self._chiral_native.update_depth(camera.index, depth, captured)
        else:
            self._fill_pixels(camera, "depth", depth, captured)

    def update_intrinsics(self, name: str, K: npt.ArrayLike, *, captured: float | None = None) -> None:
        """Publishes a camera matrix, (3, 3), pixels."""
        camera = self._camera(name)
        values = np.empty((3, 3))
        _copy(values, K, f"update_intrinsics('{name}')")
        self._chiral_native.update_intrinsics(camera.index, values, captured)

    def update_extrinsics(self, name: str, T: npt.ArrayLike, *, captured: float | None = None) -> None:
        """Publishes a camera-to-world transform, (4, 4), metres."""
        camera = self._camera(name)
        values = np.empty((4, 4))
        _copy(values, T, f"update_extrinsics('{name}')")
        self._chiral_native.update_extrinsics(camera.index, values, captured)

    def update_proprio(self, name: str, values: npt.ArrayLike, *, captured: float | None = None) -> None:
        """Publishes a sample of a stream: as many values as declared."""
        proprio = self._proprio(name)
        if _fits(values, (proprio.size,), proprio.dtype) and proprio.dtype == np.float32:
            self._chiral_native.update_proprio(proprio.index, values, captured)
            return
        sample = np.empty(proprio.size, proprio.dtype)
        _copy(sample, values, f"update_proprio('{name}')")
        proprio.update(sample, captured)

    def update_slot(self, name: str, value: npt.ArrayLike, *, captured: float | None = None) -> None:
        """Publishes a slot's array, as its dtype and shape were declared, or the bytes of one."""
        slot = self._slot(name)
        if isinstance(value, (bytes, bytearray, memoryview)) or _fits(value, slot.shape, slot.dtype):
            self._chiral_native.update_slot(slot.index, value, captured)
            return
        array = np.empty(slot.shape, slot.dtype)
        _copy(array, value, f"update_slot('{name}')")
        self._chiral_native.update_slot(slot.index, array, captured)

    def frame(self, name: str) -> Frame:
        """A transaction: fill a camera's next buffers in place, and publish them in one step at the end of the block.

            with self.frame("wrist") as frame:
                driver.read_into(frame.image, frame.depth)
                frame.extrinsics = T
                frame.captured = driver.time()
        """
        return Frame(self._camera(name))

    # ---- reading ----

    def _make_obs(self, timestamp: float = 0.0) -> Observation:
        """A coherent snapshot of all sources. Images and depths are read-only views of the slots that they were published in; an
        observation that a hook returns goes to the network from there, without a copy."""
        values = self._chiral_native.make_obs(float(timestamp))
        observation = _wire.observation(values)
        observation.timestamp = timestamp
        for camera in observation.cameras:
            known = self._chiral_cameras[camera.name]
            if known.timestamp is not None and known.timestamp[0] == camera.sequence:
                camera.timestamp = known.timestamp[1]
        lent.add(observation)
        return observation

    def proprio_at(self, name: str, at: float) -> tuple[Array, float, str]:
        """A stream's value at a time of time.monotonic(): values (float32), the time they are of, and how they came to be:
        'interpolated', 'latest', 'after_newest', 'before_oldest', 'empty' or 'overrun'."""
        return self._chiral_native.proprio(self._proprio(name).index, at)

    def slot(self, name: str) -> Array:
        """A copy of a slot's newest array; zeros before the first."""
        return self._slot(name).values()

    def newest_frames(self) -> dict[str, int]:
        """Number of the newest image of each camera since start, 0 before the first."""
        return {name: self._chiral_native.newest_frame(camera.index) for name, camera in self._chiral_cameras.items()}

    def wait_frames(self, after: Mapping[str, int], timeout: float) -> bool:
        """Waits until each camera in `after` has an image newer than that number, or all seconds of `timeout` have passed: False.
        Blocks its thread: in a coroutine, use `await loop.run_in_executor(None, self.wait_frames, after, timeout)`."""
        deadline = time.monotonic() + timeout
        return all(
            self._chiral_native.wait_frame(self._camera(name).index, number, max(0.0, deadline - time.monotonic()))
            for name, number in after.items()
        )

    # ---- own ----

    def _camera(self, name: str) -> Camera:
        try:
            return self._chiral_cameras[name]
        except KeyError:
            raise KeyError(f"no camera '{name}'; there are: {', '.join(self._chiral_cameras) or 'none'}") from None

    def _proprio(self, name: str) -> Proprio:
        try:
            return self._chiral_proprios[name]
        except KeyError:
            raise KeyError(f"no proprio '{name}'; there are: {', '.join(self._chiral_proprios) or 'none'}") from None

    def _slot(self, name: str) -> Slot:
        try:
            return self._chiral_slots[name]
        except KeyError:
            raise KeyError(f"no slot '{name}'; there are: {', '.join(self._chiral_slots) or 'none'}") from None

    def _fill_pixels(self, camera: Camera, what: str, values: npt.ArrayLike, captured: float | None) -> None:
        frame = _native.Frame(self._chiral_native, camera.index)
        try:
            _copy(getattr(frame, what)(), values, f"update_{what}('{camera.name}')")
            frame.commit(captured)
        except BaseException:
            frame.abandon()
            raise


class Frame:
    """A camera's next buffers; see PolicyServer.frame(). Only what is touched is published. The arrays are written to inside
    the block only: afterwards the memory belongs to readers, and at length to the next frame."""

    def __init__(self, camera: Camera) -> None:
        self._camera = camera
        self._native: _native.Frame | None = None
        self._arrays: dict[str, Array] = {}
        self.captured: float | None = None  #: seconds of time.monotonic(); None: the end of the block

    def __enter__(self) -> Frame:
        self._native = _native.Frame(self._camera.server, self._camera.index)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        frame, self._native = self._open(), None
        for array in self._arrays.values():
            array.flags.writeable = False
        self._arrays = {}
        if kind is None:
            frame.commit(self.captured)
        else:
            frame.abandon()

    @property
    def image(self) -> Array:
        """(H, W, C), or (H, W), to be filled; holds old pixels."""
        return self._array("image")

    @property
    def depth(self) -> Array:
        """(H, W) to be filled, metres if nothing else was declared; holds an old depth map."""
        if not self._camera.has_depth:
            raise KeyError(f"camera '{self._camera.name}' was declared without depth")
        return self._array("depth")

    def set_intrinsics(self, K: npt.ArrayLike) -> None:
        """Camera matrix, (3, 3), pixels; published with the rest. The same as `frame.intrinsics = K`."""
        values = np.empty((3, 3))
        _copy(values, K, f"frame('{self._camera.name}').intrinsics")
        self._open().set_intrinsics(values)

    def set_extrinsics(self, T: npt.ArrayLike) -> None:
        """Camera-to-world transform, (4, 4), metres; published with the rest. The same as `frame.extrinsics = T`."""
        values = np.empty((4, 4))
        _copy(values, T, f"frame('{self._camera.name}').extrinsics")
        self._open().set_extrinsics(values)

    intrinsics = property(fset=set_intrinsics, doc="Camera matrix K, (3, 3).")
    extrinsics = property(fset=set_extrinsics, doc="Camera-to-world transform T, (4, 4).")

    def _array(self, what: str) -> Array:
        if what not in self._arrays:
            self._arrays[what] = getattr(self._open(), what)()
        return self._arrays[what]

    def _open(self) -> _native.Frame:
        if self._native is None:
            raise RuntimeError("this frame is not open: use it in `with self.frame(name) as frame`")
        return self._native


class _Done:
    """What may be awaited, and need not be."""

    def __await__(self) -> Iterator[None]:
        return iter(())


_DONE = _Done()


def _tell_end(native: _native.Server, loop: asyncio.AbstractEventLoop, ended: asyncio.Future[None], over: threading.Event) -> None:
    native.wait()
    over.set()

    def tell() -> None:
        if not ended.done():
            ended.set_result(None)

    with contextlib.suppress(RuntimeError):  # it is closed
        loop.call_soon_threadsafe(tell)


def _wake_for_signals(loop: asyncio.AbstractEventLoop, over: threading.Event) -> None:
    """A signal that comes just as the loop goes to sleep, or to another thread, does not wake it: Ctrl-C would wait for the next client."""
    while not over.wait(_LOOK_FOR_SIGNALS):
        if loop.is_running():
            with contextlib.suppress(RuntimeError):  # it is closed meanwhile
                loop.call_soon_threadsafe(lambda: None)


def _encoded(image: Any, name: str) -> Any:
    """The bytes of a compressed image."""
    if isinstance(image, (bytes, bytearray, memoryview)):
        return image
    array = np.asarray(image)
    if array.dtype != np.uint8 or array.ndim != 1:
        raise ValueError(f"update_image('{name}'): {array.dtype} of shape {array.shape} came, expected the bytes of a JPEG: bytes, "
                         "or uint8 of one dimension")
    return np.ascontiguousarray(array)


def _fits(values: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
    return isinstance(values, np.ndarray) and values.dtype == dtype and values.shape == shape and values.flags.c_contiguous


def _copy(target: Array, values: npt.ArrayLike, call: str) -> None:
    """np.copyto, with errors that say what came and what was expected."""
    try:
        np.copyto(target, values)
    except (TypeError, ValueError) as error:
        came = np.asarray(values)
        expected = f"expected {target.dtype} of shape {target.shape}, or what casts and broadcasts to it"
        raise type(error)(f"{call}: {came.dtype} of shape {came.shape} came, {expected}") from None
