# SPDX-License-Identifier: Apache-2.0
"""A robot with a camera and seven joints, to be served: python robot.py [PORT]"""

import sys
import threading
import time
from typing import Any

import numpy as np

import chiral


class Robot(chiral.PolicyServer):
    def __init__(self, port: int = 8765) -> None:
        super().__init__(host="127.0.0.1", port=port)
        self._joints = np.zeros(7, np.float32)
        self._holding = True
        threading.Thread(target=self._see, daemon=True).start()
        threading.Thread(target=self._feel, daemon=True).start()

    def camera_configs(self) -> list[chiral.CameraConfig]:
        return [chiral.CameraConfig("wrist", height=480, width=640)]

    def proprio_configs(self) -> list[chiral.ProprioConfig]:
        return [chiral.ProprioConfig("joint_pos", 7)]

    def _see(self) -> None:
        while True:
            image = np.full((480, 640, 3), time.monotonic_ns() // 10_000_000 % 256, np.uint8)  # replace with the driver
            self.update_image("wrist", image)
            time.sleep(1 / 30)

    def _feel(self) -> None:
        while True:
            self.update_proprio("joint_pos", self._joints)
            time.sleep(1 / 500)

    async def get_metadata(self) -> dict[str, Any]:
        return {"action_dim": 7, "limits": [[-3.1, 3.1]] * 7}

    async def reset(self) -> tuple[chiral.Observation, dict[str, Any]]:
        self._joints = np.zeros(7, np.float32)
        return self._make_obs(), {"homed": True}

    async def apply_action(self, action: Any) -> None:
        self._joints = action
        self._holding = False

    def on_action_timeout(self) -> None:
        self._holding = True  # replace with the driver; it must not wait, not even for a terminal: the server's log tells of it


if __name__ == "__main__":
    Robot(int(sys.argv[1]) if len(sys.argv) > 1 else 8765).run()
