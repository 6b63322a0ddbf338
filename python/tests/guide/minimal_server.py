# SPDX-License-Identifier: Apache-2.0
# The guide's complete minimal server, as it stands there.
import threading, time
import numpy as np
import chiral
H, W, DOF = 480, 640, 7
class MinimalServer(chiral.PolicyServer):
    def camera_configs(self):
        return [chiral.CameraConfig(
            name="cam", height=H, width=W, channels=3,
            has_depth=True,
            intrinsics=np.array([[600,0,320],[0,600,240],[0,0,1]], dtype=np.float64),
            extrinsics=np.eye(4, dtype=np.float64),
        )]
    def proprio_configs(self):
        return [chiral.ProprioConfig(name="joint_pos", size=DOF)]
    def __init__(self):
        super().__init__()
        self._step = 0
        for name in self.images:
            threading.Thread(target=self._cam, args=(name,), daemon=True).start()
        for name in self.proprios:
            threading.Thread(target=self._prop, args=(name,), daemon=True).start()
    def _cam(self, name):
        while True:
            frame = np.zeros((H, W, 3), dtype=np.uint8) # replace with hardware read
            depth = np.zeros((H, W), dtype=np.float32) # replace with hardware read
            T = np.eye(4, dtype=np.float64) # replace with FK
            self.update_image(name, frame)
            self.update_depth(name, depth)
            self.update_extrinsics(name, T)
            time.sleep(1 / 30)
    def _prop(self, name):
        while True:
            q = np.zeros(DOF, dtype=np.float32) # replace with robot.read_joints()
            self.update_proprio(name, q)
            time.sleep(1 / 500)
    async def reset(self):
        self._step = 0
        return self._make_obs(), {}
    async def get_obs(self):
        return self._make_obs(timestamp=self._step * 0.05)
    async def apply_action(self, action):
        # robot.send_joint_command(action)
        self._step += 1
if __name__ == "__main__":
    MinimalServer().run()
