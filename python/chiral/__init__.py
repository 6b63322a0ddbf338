# SPDX-License-Identifier: Apache-2.0
"""The robot side of remote policies, and the policy's: PolicyServer and PolicyClient over the native ones.

    class Robot(chiral.PolicyServer):            # robot
        def camera_configs(self): ...
        async def reset(self): ...
        async def apply_action(self, action): ...
    Robot().run()

    with chiral.PolicyClient("ws://robot:8765") as env:     # policy
        obs, info = env.reset()
        env.put_action(policy(obs["wrist"].image))
"""

import atexit as _atexit
import os as _os
from importlib.metadata import PackageNotFoundError as _PackageNotFoundError
from importlib.metadata import version as _version

from . import _native
from ._native import ConnectionError, LoanError
from ._observe import lent as _lent
from .aio import AsyncPolicyClient
from .client import PolicyClient
from .fleet import FoundRobot, find_robots
from .server import Frame, PolicyServer
from .types import CameraConfig, CameraInfo, Observation, ProprioConfig, SlotConfig, Stamp
from .want import Budget, CameraWish, Want

try:
    __version__ = _version("chiral")
except _PackageNotFoundError:  # in a build folder
    __version__ = "0.1.0"

__all__ = [
    "AsyncPolicyClient",
    "Budget",
    "CameraConfig",
    "CameraInfo",
    "CameraWish",
    "ConnectionError",
    "FoundRobot",
    "Frame",
    "LoanError",
    "Observation",
    "PolicyClient",
    "PolicyServer",
    "ProprioConfig",
    "SlotConfig",
    "Stamp",
    "Want",
    "__version__",
    "find_robots",
]

_atexit.register(_native.shut_down)
_os.register_at_fork(after_in_child=_native.after_fork_in_child)
_os.register_at_fork(after_in_child=_lent.after_fork_in_child)  # drops arrays, which the extension must know not to touch by then
