# SPDX-License-Identifier: Apache-2.0
"""PolicyClient for asyncio: the same names, awaited."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, TypeVar

import numpy.typing as npt

from ._observe import ObservedBlock
from .client import PolicyClient
from .types import Observation
from .want import Want

__all__ = ["AsyncPolicyClient"]

Result = TypeVar("Result")


class AsyncPolicyClient:
    """A PolicyClient whose waiting does not hold up the event loop. Arguments, results and errors are PolicyClient's.

    Cancelling a call that waits closes the client: its answer could come at any time and be taken for that of the next one.
    """

    def __init__(self, uri: str | None = None, protocol: str = "websocket", **options: Any) -> None:
        self._client = PolicyClient(uri, protocol, **options)
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="chiral-client")
        # Requests may wait for as long as a reset takes: actions pass them by, and close() ends them.
        self._action_thread = ThreadPoolExecutor(1, thread_name_prefix="chiral-actions")

    async def _wait_for(self, call: Callable[..., Result], *arguments: Any) -> Result:
        return await self._wait_on(self._threads, call, *arguments)

    async def _wait_on(self, threads: ThreadPoolExecutor | None, call: Callable[..., Result], *arguments: Any) -> Result:
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(threads, functools.partial(call, *arguments))
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await loop.run_in_executor(None, self._client.close)
            await asyncio.wait([future])
            if not future.cancelled():
                future.exception()  # that it was closed is no news
            raise

    async def connect(self) -> AsyncPolicyClient:
        await self._wait_for(self._client.connect)
        return self

    async def close(self) -> None:
        await self._wait_on(None, self._client.close)

    async def __aenter__(self) -> AsyncPolicyClient:
        return await self.connect()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        await self.close()

    async def get_metadata(self) -> dict[Any, Any]:
        return await self._wait_for(self._client.get_metadata)

    async def reset(self) -> tuple[Observation, dict[Any, Any]]:
        return await self._wait_for(self._client.reset)

    async def get_obs(self, want: Want | Mapping[str, Any] | None = None) -> Observation:
        return await self._wait_for(self._client.get_obs, want)

    def observe(self, camera: str | None = None) -> AbstractAsyncContextManager[Observation]:
        """`async with client.observe() as obs:` one observation for the length of a block."""
        return _ObservedBlock(self._client.observe(camera), self._wait_for)

    async def wait_frame(self, camera: str, after: int, timeout: float) -> int | None:
        return await self._wait_for(self._client.wait_frame, camera, after, timeout)

    async def step(self, action: npt.ArrayLike) -> tuple[Observation, float, bool, bool, dict[Any, Any]]:
        return await self._wait_for(self._client.step, action)

    async def wait_obs(self, timeout: float) -> Observation | None:
        return await self._wait_for(self._client.wait_obs, timeout)

    async def start_obs_stream(self, hz: float = 30.0, want: Want | Mapping[str, Any] | None = None) -> None:
        await self._wait_for(self._client.start_obs_stream, hz, want)

    async def stop_obs_stream(self) -> None:
        await self._wait_for(self._client.stop_obs_stream)

    async def apply_action(self, action: npt.ArrayLike, obs_timestamps: dict[str, float] | None = None) -> None:
        await self._wait_on(self._action_thread, self._client.apply_action, action, obs_timestamps)

    async def start_action_dispatch(self, hz: float = 10.0) -> None:
        await self._wait_for(self._client.start_action_dispatch, hz)

    async def stop_action_dispatch(self) -> None:
        await self._wait_for(self._client.stop_action_dispatch)

    async def replace_actions(self, chunk: npt.ArrayLike, obs_timestamps: dict[str, float] | None = None) -> None:
        await self._wait_on(self._action_thread, self._client.replace_actions, chunk, obs_timestamps)

    # These do not wait.

    def clear_actions(self) -> None:
        self._client.clear_actions()

    def put_action(self, action: npt.ArrayLike, obs_timestamps: dict[str, float] | None = None) -> None:
        self._client.put_action(action, obs_timestamps)

    @property
    def latest_obs(self) -> Observation | None:
        return self._client.latest_obs

    @property
    def connected(self) -> bool:
        return self._client.connected

    @property
    def reads_directly(self) -> bool:
        return self._client.reads_directly

    @property
    def queued_actions(self) -> int:
        return self._client.queued_actions

    def stats(self) -> dict[str, Any]:
        return self._client.stats()


class _ObservedBlock(AbstractAsyncContextManager[Observation]):
    def __init__(self, block: ObservedBlock, wait_for: Callable[..., Coroutine[Any, Any, Observation]]) -> None:
        self._block = block
        self._wait_for = wait_for

    async def __aenter__(self) -> Observation:
        return await self._wait_for(self._block.__enter__)

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._block.__exit__(kind, error, at)
