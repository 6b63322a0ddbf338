# SPDX-License-Identifier: Apache-2.0
# The guide's steps, put together as it says; what it calls hardware is below it, in test_guide.py.
import threading
import time

import numpy as np
import chiral

class MyServer(chiral.PolicyServer):
    def camera_configs(self) -> list[chiral.CameraConfig]:
        # Intrinsics: standard pinhole camera matrix K
        # [fx 0 cx]
        # [ 0 fy cy]
        # [ 0 0 1]
        K = np.array([
            [600.0, 0.0, 320.0],
            [ 0.0, 600.0, 240.0],
            [ 0.0, 0.0, 1.0],
        ], dtype=np.float64)
        return [
            chiral.CameraConfig(
                name="wrist_cam", # unique string identifier
                height=480, # image height in pixels
                width=640, # image width in pixels
                channels=3, # 3 for RGB, 1 for grayscale
                has_depth=True, # set True to allocate a depth buffer too
                intrinsics=K, # (3,3) float64 — initial K; updated each frame if zoom changes
                extrinsics=np.eye(4, dtype=np.float64), # (4,4) float64 — initial camera-to-world T
                image_dtype=np.uint8, # pixel dtype; uint8 is the most common choice
                depth_dtype=np.float32, # depth dtype; float32 in metres
            ),
            chiral.CameraConfig(
                name="head_cam",
                height=720, width=1280, channels=3,
                has_depth=False, # no depth for this camera — no depth buffer allocated
                intrinsics=np.eye(3, dtype=np.float64),
                extrinsics=np.eye(4, dtype=np.float64),
            ),
        ]

    def proprio_configs(self) -> list[chiral.ProprioConfig]:
        return [
            chiral.ProprioConfig(name="joint_pos", size=7), # 7-DOF arm positions (rad)
            chiral.ProprioConfig(name="joint_vel", size=7), # 7-DOF arm velocities (rad/s)
            chiral.ProprioConfig(name="ee_pose", size=7), # end-effector pose (x,y,z,qx,qy,qz,qw)
        ]

    def __init__(self):
        # Must call super().__init__() first — it calls camera_configs() and
        # proprio_configs() and pre-allocates self.images, self.depths,
        # self.intrinsics, self.extrinsics, self.proprios, and all locks.
        super().__init__(host="0.0.0.0", port=8765)
        self._running = True
        # Launch one capture thread per camera.
        # self.images is a dict keyed by camera name, so iterating its keys
        # gives exactly the names declared in camera_configs().
        for name in self.images:
            threading.Thread(
                target=self._camera_loop,
                args=(name,),
                daemon=True, # thread dies when the main process exits
            ).start()
        # Launch one update thread per proprio stream.
        for name in self.proprios:
            threading.Thread(
                target=self._proprio_loop,
                args=(name,),
                daemon=True,
            ).start()

    def _camera_loop(self, name: str) -> None:
        while self._running:
            frame = camera_driver.capture_rgb(name)
            depth = camera_driver.capture_depth(name)
            # Compute camera-to-world transform from current joint state.
            # fk_solver.compute() returns a (4, 4) float64 ndarray.
            joint_pos = robot.read_joints()
            T = fk_solver.compute(joint_pos, camera_frame=name)
            self.update_image(name, frame)
            self.update_depth(name, depth)
            self.update_extrinsics(name, T) # update last so K and T are consistent
            time.sleep(1 / 30)

    async def reset(self) -> tuple[chiral.Observation, dict]:
        # Reset any environment state (counters, randomisation, etc.)
        self._step_count = 0
        # Snapshot the current sensor state.
        obs = self._make_obs(timestamp=0.0)
        return obs, {}

    async def get_obs(self) -> chiral.Observation:
        # Called by the client obs stream thread at a fixed Hz.
        # Default implementation just calls _make_obs().
        # Override to block until a fresh camera frame has arrived, or to
        # assemble the observation from non-default sources.
        return self._make_obs(timestamp=self._step_count * 0.05)

    async def apply_action(self, action: np.ndarray) -> None:
        # action is a (D,) float32 ndarray decoded from the client message.
        # Execute the action on the robot hardware; no response is sent.
        robot.apply_action(action)
        self._step_count += 1
