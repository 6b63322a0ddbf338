# SPDX-License-Identifier: Apache-2.0
"""A policy that looks at 30 Hz and acts at 10 Hz: python policy.py [URI [SECONDS]]"""

import sys
import time

import numpy as np

import chiral


def main(uri: str, seconds: float) -> int:
    acted = 0
    with chiral.PolicyClient(uri, connect_timeout=30) as env:
        print("metadata:", env.get_metadata())
        obs, info = env.reset()
        print("reset:", info, {camera.name: camera.image.shape for camera in obs.cameras})
        env.start_obs_stream(hz=30)
        env.start_action_dispatch(hz=10)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            newest = env.wait_obs(timeout=5)
            if newest is None:
                print("no observation for 5 s")
                return 1
            brightness = newest["wrist"].image.mean() / 255.0  # replace with the network
            if env.queued_actions == 0:
                env.put_action(np.full(7, brightness, np.float32))
                acted += 1
    print(f"{acted} actions")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "ws://localhost:8765", float(sys.argv[2]) if len(sys.argv) > 2 else 10.0))
