# SPDX-License-Identifier: Apache-2.0
"""The policy side: connects to a PolicyServer, this one or the public Python one."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _native, _wire
from ._log import Log, line_taker
from ._observe import ObservedBlock, lent
from .types import Array, Observation
from .want import Want, request_for

__all__ = ["PolicyClient"]

_DEFAULT_URIS = {"websocket": "ws://localhost:8765", "zenoh": "tcp/localhost:7447"}


class PolicyClient:
    """Asks a server for observations and sends it actions.

    Images and depths of an observation are read-only views of the memory that its message was received in, which they keep alive;
    nothing is copied. `writable=True`, or obs.copy(), gives arrays of their own. Every method may be called from any thread, and
    none holds the GIL while it waits. Ctrl-C on the main thread ends what waits there, and closes the client if an answer was due.

    "unix:///run/robot.sock" is a server on the same machine, with PolicyServer(local_socket="/run/robot.sock"): its images are
    looked at where they are. Two observations can be held at once; asking for a third is a chiral.LoanError. See observe().

    Raises chiral.ConnectionError, a ConnectionError of Python's, when there is no connection, it breaks, or no answer comes in
    time; the client may connect() again. Options are those of the C++ client by name, with times in seconds: connect_timeout,
    retry_interval, request_timeout, reset_timeout, bearer_token, tls_ca_file, tls_verify, max_message_bytes, max_queued_actions,
    busy_poll.

    `log` gets one line when connect() starts to wait for a server, and when a stream ends on an error: a callable, which must not
    call the client, on any thread; or a logging.Logger, at `log_level`. Default: stderr.
    """

    def __init__(
        self,
        uri: str | None = None,
        protocol: str = "websocket",
        *,
        writable: bool = False,
        log: Log | None = None,
        log_level: int = logging.INFO,
        **options: Any,
    ) -> None:
        if (taker := line_taker(self, log, log_level)) is not None:
            options["log"] = taker
        if protocol not in _DEFAULT_URIS:
            raise ValueError(f"protocol is {protocol!r}, expected 'websocket' or 'zenoh'")
        self.uri = _DEFAULT_URIS[protocol] if uri is None else uri
        self.writable = writable
        self._native = _native.Client(self.uri, options)
        self._streamed: _native.ReceivedObservation | None = None
        self._latest: Observation | None = None

    # ---- connection ----

    def connect(self) -> PolicyClient:
        """Connects; tries again every retry_interval while nobody listens, for ever or for connect_timeout. Returns self."""
        self._native.connect()
        return self

    def close(self) -> None:
        """Sends what was taken, and says goodbye. Ends the streams, drops queued actions. May be called again."""
        self._native.close()
        self._streamed = self._latest = None

    @property
    def connected(self) -> bool:
        """Whether calls can succeed, as far as is known without trying."""
        return self._native.connected

    def __enter__(self) -> PolicyClient:
        return self.connect()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    # ---- requests ----

    def get_metadata(self) -> dict[Any, Any]:
        """What the server's get_metadata() gives, values of any type."""
        return _wire.unpack_map(self._native.get_metadata())

    def reset(self) -> tuple[Observation, dict[Any, Any]]:
        """Starts an episode. The observation becomes latest_obs, until the stream has a newer one."""
        received, info = self._native.reset()
        observation = self._observation(received)
        self._latest = observation
        return observation, _wire.unpack_map(info)

    def get_obs(self, want: Want | Mapping[str, Any] | None = None) -> Observation:
        """Asks for one observation; beside a running stream, too. `want`: what of it, a Want or a dict of its fields; arrays are
        plain and in the size that was asked for. A server that knows no wants sends everything. ValueError says what of a want
        is out of bounds."""
        return self._observation(self._native.get_obs(request_for(want)))

    def observe(self, camera: str | None = None) -> ObservedBlock:
        """One observation for the length of a block, given back at its end:

            with client.observe() as obs:
                action = policy(obs["wrist"].image)

        An array that outlives the block is warned of (RuntimeWarning) and stays as it is for as long as it is used.

        camera: of that one alone, the newest image with its depth map and matrices; IndexError if it is not there. Over unix://,
        where reads_directly is true, without asking the server, and two of each camera can be held beside two observations.
        """
        return ObservedBlock(self.get_obs if camera is None else lambda: self._observation(self._native.get_camera(camera)))

    @property
    def reads_directly(self) -> bool:
        """Whether observe(camera) looks at the robot's memory by itself: see the server's option local_direct_readers."""
        return self._native.reads_directly

    def wait_frame(self, camera: str, after: int, timeout: float) -> int | None:
        """Over unix:// only: waits until a camera has an image newer than number `after` (CameraInfo.sequence of the one that is
        known) and returns the newest one's number; None after `timeout` seconds. If the server's answer takes longer than
        that, the next call returns it if that has the same `camera` and `after`: who polls several cameras in turn asks get_camera().
        IndexError for a camera that is not there."""
        return self._native.wait_frame(camera, after, timeout) or None

    def step(self, action: npt.ArrayLike) -> tuple[Observation, float, bool, bool, dict[Any, Any]]:
        """Legacy: sends an action and waits for what came of it: observation, reward, terminated, truncated, info."""
        received, reward, terminated, truncated, info = self._native.step(*_action(action), None)
        return self._observation(received), reward, terminated, truncated, _wire.unpack_map(info)

    # ---- observation stream ----

    def start_obs_stream(self, hz: float = 30.0, want: Want | Mapping[str, Any] | None = None) -> None:
        """Requests observations at `hz` in the background, `want` as in get_obs(); pictures are decoded there, too, without the
        GIL and into memory that is used again. RuntimeError if a stream runs already."""
        self._native.start_obs_stream(hz, request_for(want))

    def stop_obs_stream(self) -> None:
        """Waits for the outstanding answer. No effect if no stream runs."""
        self._native.stop_obs_stream()

    @property
    def latest_obs(self) -> Observation | None:
        """The newest observation, streamed or of reset(); None before the first. The same object until there is a newer one.
        Raises chiral.ConnectionError if the stream has ended on an error."""
        return self._newest(self._native.latest(self._streamed))

    def wait_obs(self, timeout: float) -> Observation | None:
        """Waits for a streamed observation that latest_obs and wait_obs() have not given yet; None after `timeout` seconds."""
        received = self._native.wait_obs(self._streamed, timeout)
        return None if received is None else self._newest(received)

    # ---- actions ----

    def apply_action(self, action: npt.ArrayLike, obs_timestamps: dict[str, float] | None = None) -> None:
        """Sends one action, (D,) or a chunk (N, D), now. With it go the capture times of the images that the policy saw last,
        or `obs_timestamps`."""
        self._native.apply_action(*_action(action), obs_timestamps)

    def put_action(self, action: npt.ArrayLike, obs_timestamps: dict[str, float] | None = None) -> None:
        """Queues an action, (D,) or a chunk (N, D), for dispatch. RuntimeError if max_queued_actions are waiting already."""
        if not self._native.put_action(*_action(action), obs_timestamps):
            raise RuntimeError(f"{self._native.queued_actions} actions are waiting for dispatch already, and no more are taken")

    def replace_actions(self, chunk: npt.ArrayLike, obs_timestamps: dict[str, float] | None = None) -> None:
        """Puts the N rows of a chunk, (N, D) or one (D,), to be sent one per period, in the place of all that is queued, in one
        step. RuntimeError if N is more than max_queued_actions: the queue is as before then."""
        values, n, d = _action(chunk)
        if not self._native.replace_actions(values, n, d, obs_timestamps):
            raise RuntimeError(f"a chunk of {n} actions came, which is more than max_queued_actions")

    def clear_actions(self) -> None:
        """Drops what is queued. An action that is just being sent is sent."""
        self._native.clear_actions()

    def start_action_dispatch(self, hz: float = 10.0) -> None:
        """Sends one queued action per period, in order, in the background. RuntimeError if a dispatch runs already."""
        self._native.start_action_dispatch(hz)

    def stop_action_dispatch(self) -> None:
        """What is queued stays, for the next dispatch."""
        self._native.stop_action_dispatch()

    @property
    def queued_actions(self) -> int:
        return self._native.queued_actions

    def stats(self) -> dict[str, Any]:
        """Since construction: observations, bytes_received, actions_sent; and last_round_trip in seconds."""
        return self._native.stats()

    # ---- own ----

    def _observation(self, received: _native.ReceivedObservation) -> Observation:
        observation = _wire.observation(received.values())
        if self.writable:
            return observation.copy()
        if self.uri.startswith("unix://"):
            lent.add(observation)
        return observation

    def _newest(self, received: _native.ReceivedObservation | None) -> Observation | None:
        if received is not None and received is not self._streamed:
            self._latest = self._observation(received)
            self._streamed = received
        return self._latest


def _action(action: npt.ArrayLike) -> tuple[Array, int, int]:
    """Values, N and D. Casts of the same kind only: what would become another action is a TypeError."""
    given = np.asarray(action)
    if given.ndim not in (1, 2):
        raise ValueError(f"action has shape {given.shape}, expected (D,) or (N, D)")
    if not np.can_cast(given.dtype, np.float32, "same_kind"):
        raise TypeError(f"action is {given.dtype}, expected float32 or what casts to it")
    values = np.ascontiguousarray(given, dtype=np.float32)
    return values, 1 if given.ndim == 1 else given.shape[0], given.shape[-1]
