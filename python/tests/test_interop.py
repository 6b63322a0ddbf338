# SPDX-License-Identifier: Apache-2.0
"""Ours and a peer that knows only the protocol's description, in all four pairs."""

from __future__ import annotations

from typing import Any

import chiral
import numpy as np
import pytest

from conftest import DEADLINE, SmallRobot, client_of, eventually
from pure_peer import PureClient, PureServer

DTYPES = ["bool", *(f"{kind}{bits}" for bits in (8, 16, 32, 64) for kind in ("uint", "int", "float") if (kind, bits) != ("float", 8))]
IMAGE = np.arange(72, dtype=np.uint8).reshape(4, 6, 3)
DEPTH = np.linspace(0, 3, 24, dtype=np.float32).reshape(4, 6)
T = np.array([[0, -1, 0, 1], [1, 0, 0, 2], [0, 0, 1, 3], [0, 0, 0, 1.0]])
K = np.array([[600, 0, 320], [0, 601, 240], [0, 0, 1.0]])
METADATA = {"dof": 7, "limits": [[-1.5, 1.5]], "name": "arm"}
INFO = {"seed": 3}


class NativeRobot(SmallRobot):
    async def get_metadata(self) -> dict[str, Any]:
        return METADATA

    async def reset(self) -> tuple[chiral.Observation, dict[str, Any]]:
        obs = self._make_obs(2.5)
        obs.extra = {"poses": [[1, 2]]}
        return obs, INFO

    def fill(self) -> None:
        self.update_image("wrist", IMAGE, captured=11.5)
        self.update_depth("wrist", DEPTH)
        self.update_intrinsics("wrist", K)
        self.update_extrinsics("wrist", T)
        self.update_proprio("joint_pos", np.arange(7))


def pure_robot() -> PureServer:
    wrist = {"name": "wrist", "timestamp": 11.5, "intrinsics": K, "extrinsics": T, "image": IMAGE, "depth": DEPTH}
    head = {"name": "head", "timestamp": 0, "intrinsics": np.eye(3), "extrinsics": np.eye(4),
            "image": np.zeros((3, 5, 1), np.uint8)}
    observation = {"timestamp": 2.5, "extra": {"poses": [[1, 2]]}, "cameras": [wrist, head],
                   "proprios": {"joint_pos": np.arange(7)}}
    return PureServer(observation, METADATA, INFO)


def seen_by_native(obs: chiral.Observation) -> dict[str, Any]:
    cameras = {
        camera.name: {
            "timestamp": camera.timestamp,
            "intrinsics": camera.intrinsics,
            "extrinsics": camera.extrinsics,
            "image": camera.image,
            "depth": camera.depth,
        }
        for camera in obs.cameras
    }
    return {"timestamp": obs.timestamp, "extra": obs.extra, "cameras": cameras, "proprios": obs.proprios}


@pytest.mark.parametrize("robot_kind", ["native", "pure"])
@pytest.mark.parametrize("client_kind", ["native", "pure"])
def test_robot_and_policy_understand_each_other(robot_kind: str, client_kind: str) -> None:
    robot: Any = NativeRobot() if robot_kind == "native" else pure_robot()
    if robot_kind == "native":
        robot.fill()
    with robot:
        if client_kind == "native":
            env: Any = client_of(robot).connect()
            first, info = env.reset()
            seen = seen_by_native(first)
        else:
            env = PureClient(f"ws://127.0.0.1:{robot.port}")
            seen = env.reset()
            info = seen["info"]
        assert env.get_metadata() == METADATA and info == INFO
        assert seen["timestamp"] == 2.5 and seen["extra"] == {"poses": [[1, 2]]}
        assert list(seen["cameras"]) == ["wrist", "head"]
        wrist = seen["cameras"]["wrist"]
        assert wrist["timestamp"] == 11.5
        assert np.array_equal(wrist["intrinsics"], K) and np.array_equal(wrist["extrinsics"], T)
        for what, expected in (("image", IMAGE), ("depth", DEPTH)):
            assert wrist[what].dtype == expected.dtype and np.array_equal(wrist[what], expected)
        assert seen["cameras"]["head"]["image"].shape == (3, 5, 1) and seen["cameras"]["head"]["depth"] is None
        assert seen["proprios"]["joint_pos"].tolist() == list(range(7))

        env.apply_action(np.arange(7, dtype=np.float32), {"wrist": 11.5})
        env.apply_action(np.ones((2, 7), np.float32), {"wrist": 11.5})
        eventually(lambda: len(robot.actions) == 2)
        actions = robot.actions if robot_kind == "native" else [action for action, _ in robot.actions]
        assert actions[0].tolist() == list(range(7)) and actions[1].shape == (2, 7)
        if robot_kind == "pure":
            assert robot.actions[0][1] == {"wrist": 11.5}
        env.close()


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_native_client_takes_every_dtype_of_a_pure_robot(dtype: str) -> None:
    image, depth = ((np.arange(np.prod(shape)) % 2).reshape(shape).astype(dtype) for shape in ((4, 6, 3), (4, 6)))
    camera = {"name": "cam", "timestamp": 0, "intrinsics": K, "extrinsics": T, "image": image, "depth": depth}
    with PureServer({"timestamp": 0, "extra": {}, "cameras": [camera], "proprios": {}}) as robot, client_of(robot) as env:  # type: ignore[arg-type]
        seen = env.get_obs()["cam"]
        assert seen.depth is not None and seen.image.dtype == seen.depth.dtype == dtype
        assert np.array_equal(seen.image, image) and np.array_equal(seen.depth, depth)


def test_a_stream_of_the_native_client_runs_on_a_pure_robot() -> None:
    with pure_robot() as robot, client_of(robot) as env:
        env.start_obs_stream(hz=100)
        for _ in range(5):
            obs = env.wait_obs(DEADLINE)
            assert obs is not None and np.array_equal(obs["wrist"].image, IMAGE)
