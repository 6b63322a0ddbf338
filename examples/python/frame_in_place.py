# SPDX-License-Identifier: Apache-2.0
"""A driver that fills the robot's memory itself: image, depth and pose are published together, and never copied."""

import numpy as np

import chiral
import chiral.testing
from chiral.types import Array


class Robot(chiral.PolicyServer):
    def camera_configs(self) -> list[chiral.CameraConfig]:
        return [chiral.CameraConfig("wrist", height=480, width=640, has_depth=True)]

    async def reset(self) -> tuple[chiral.Observation, dict[str, object]]:
        return self._make_obs(), {}

    async def apply_action(self, action: Array) -> None:
        pass

    def capture(self, time_of_exposure: float) -> None:
        with self.frame("wrist") as frame:
            frame.image.fill(200)  # replace with driver.read_into(frame.image)
            frame.depth.fill(1.5)
            frame.extrinsics = np.eye(4)
            frame.captured = time_of_exposure


if __name__ == "__main__":
    robot = Robot()
    robot.capture(time_of_exposure=12.5)
    with chiral.testing.serving(robot) as env:
        wrist = env.get_obs()["wrist"]
        assert wrist.depth is not None
        print(f"captured at {wrist.timestamp} s: brightness {wrist.image.mean()}, {wrist.depth.mean()} m")
