# SPDX-License-Identifier: Apache-2.0
"""The documented client and server, Python's websockets and msgpack, as a peer of bench/side_by_side.py: cameras under a lock, copied out."""
import contextlib
import pathlib
import subprocess
import sys

import peer

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "python" / "tests"))

from pure_peer import PureClient  # noqa: E402

RGBD_BYTES = 640 * 480 * 7


def give(_name, size, _hz):
    # Its sensors do not get in the way of what is compared: nothing new comes in the meantime.
    server = subprocess.Popen([sys.executable, ROOT / "bench" / "documented_server.py", "--cameras", str(size // RGBD_BYTES), "--hz", "0.01"],
                              stdout=subprocess.PIPE, text=True)
    try:
        peer.ready(server.stdout.readline().split()[-1]).wait()
    finally:
        server.kill()
        server.wait()


class Taker(contextlib.AbstractContextManager):
    def __init__(self, address, _size):
        self._client = PureClient(address)

    def __exit__(self, *_):
        self._client.close()

    def asked(self):
        return peer.timed(self._client.get_obs)


peer.main(give, Taker)
