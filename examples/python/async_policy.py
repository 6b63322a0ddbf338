# SPDX-License-Identifier: Apache-2.0
"""The same inside an asyncio program: python async_policy.py [URI]"""

import asyncio
import sys

import numpy as np

import chiral


async def main(uri: str) -> None:
    async with chiral.AsyncPolicyClient(uri, connect_timeout=30) as env:
        obs, _ = await env.reset()
        for _ in range(20):
            await env.apply_action(np.full(7, obs["wrist"].image.mean() / 255.0, np.float32))
            obs = await env.get_obs()
        print("joints:", obs.proprios["joint_pos"])


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "ws://localhost:8765"))
