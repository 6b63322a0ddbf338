# SPDX-License-Identifier: Apache-2.0
"""The programs of the guide do what the guide says, unchanged but for the port, which may be taken."""

from __future__ import annotations

import asyncio
import importlib.util
import pathlib
import types
from typing import Any

import chiral
import numpy as np
import pytest

from conftest import client_of, eventually

GUIDE = pathlib.Path(__file__).parent / "guide"


def program(name: str, monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A program of the guide as a module, whose server listens on any port of this machine."""
    spec = importlib.util.spec_from_file_location(name, GUIDE / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    documented = chiral.PolicyServer.__init__

    def on_any_port(self: chiral.PolicyServer, *arguments: Any, **keywords: Any) -> None:
        documented(self, host="127.0.0.1", port=0)

    monkeypatch.setattr(chiral.PolicyServer, "__init__", on_any_port)
    return module


def test_the_minimal_server_serves_what_it_declares(monkeypatch: pytest.MonkeyPatch) -> None:
    with program("minimal_server", monkeypatch).MinimalServer() as server, client_of(server) as env:
        assert env.get_metadata() == {}
        obs, info = env.reset()
        assert info == {}
        assert obs["cam"].image.shape == (480, 640, 3) and obs["cam"].image.dtype == np.uint8
        assert obs["cam"].depth is not None and obs["cam"].depth.shape == (480, 640)
        assert obs["cam"].intrinsics.tolist() == [[600, 0, 320], [0, 600, 240], [0, 0, 1]]
        assert obs["cam"].extrinsics.tolist() == np.eye(4).tolist()
        assert obs.proprios["joint_pos"].tolist() == [0.0] * 7
        for _ in range(3):
            env.apply_action(np.zeros(7, np.float32))
        eventually(lambda: env.get_obs().timestamp == pytest.approx(3 * 0.05), "the third step")
        first = env.get_obs()["cam"].sequence
        eventually(lambda: env.get_obs()["cam"].sequence > first, "a new image of the sensor thread")


class Hardware:
    """camera_driver, robot and fk_solver of the guide."""

    def __init__(self, server_module: types.ModuleType) -> None:
        self.actions: list[np.ndarray] = []
        self.shapes = {"wrist_cam": (480, 640), "head_cam": (720, 1280)}
        server_module.camera_driver = server_module.robot = server_module.fk_solver = self  # type: ignore[attr-defined]

    def capture_rgb(self, name: str) -> np.ndarray:
        return np.full((*self.shapes[name], 3), 7, np.uint8)

    def capture_depth(self, name: str) -> np.ndarray:
        return np.full(self.shapes[name], 1.5, np.float32)

    def read_joints(self) -> np.ndarray:
        return np.arange(7, dtype=np.float32)

    def compute(self, joint_pos: np.ndarray, camera_frame: str) -> np.ndarray:
        T = np.eye(4)
        T[:3, 3] = joint_pos[:3]
        return T

    def apply_action(self, action: np.ndarray) -> None:
        self.actions.append(action)


def test_the_steps_make_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    module = program("steps", monkeypatch)
    hardware = Hardware(module)

    class WithProprio(module.MyServer):  # type: ignore[misc, name-defined]
        """The guide says "as above" of what it leaves out: the loop of the proprioception."""

        def _proprio_loop(self, name: str) -> None:
            self.update_proprio(name, hardware.read_joints())

        def _camera_loop(self, name: str) -> None:
            if name == "wrist_cam":  # head_cam has no depth: the loop of the guide is for cameras with depth
                super()._camera_loop(name)

    with WithProprio() as server, client_of(server) as env:
        eventually(lambda: server.newest_frames()["wrist_cam"] > 0)
        env.reset()
        obs = eventually(lambda: (o := env.get_obs())["wrist_cam"].extrinsics[0, 3] == 0 and o["wrist_cam"].extrinsics[2, 3] == 2 and o)
        assert (obs["wrist_cam"].image == 7).all() and (obs["wrist_cam"].depth == 1.5).all()
        assert obs["head_cam"].depth is None
        assert set(obs.proprios) == {"joint_pos", "joint_vel", "ee_pose"}
        env.apply_action(np.arange(7, dtype=np.float32))
        eventually(lambda: hardware.actions)
        assert hardware.actions[0].dtype == np.float32 and hardware.actions[0].tolist() == list(range(7))
        server._running = False


def test_serve_can_be_awaited_on_a_loop_of_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    module = program("minimal_server", monkeypatch)

    async def main() -> None:
        server = module.MinimalServer()
        serving = asyncio.ensure_future(server.serve())
        while server.port == 0:
            await asyncio.sleep(0.001)
        async with chiral.AsyncPolicyClient(f"ws://127.0.0.1:{server.port}") as env:
            obs, _ = await env.reset()
            assert obs["cam"].image.shape == (480, 640, 3)
        server.stop()
        await serving

    asyncio.run(main())
