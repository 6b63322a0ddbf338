# SPDX-License-Identifier: Apache-2.0
"""This project's Python client as a peer of bench/side_by_side.py; the robot is chiral-peer, in C++."""
import sys

import chiral
import peer


BUSY_POLL = 500e-6  # seconds, as in chiral_peer.cpp


class Taker(chiral.PolicyClient):
    def __init__(self, address, _size):
        super().__init__(address, busy_poll=BUSY_POLL if sys.argv[4] == "next_polling" else 0.0)
        self._number = 0
        self._local = address.startswith("unix:")

    def next(self):
        if self._local:
            self._number = self.wait_frame("camera_0", self._number, 5.0)
        with self.observe("camera_0" if self._local else None) as obs:
            image = obs.cameras[0].image
            return peer.since(image.data.cast("B")[:8])

    next_polling = next

    def newest(self):
        return peer.timed_look(self._look)

    def _look(self):
        with self.observe("camera_0") as obs:
            return obs.cameras[0].image[0, 0, 0]

    def asked(self):
        return peer.timed(self.get_obs)


def give(*_):
    sys.exit("the robot is chiral-peer")


peer.main(give, Taker)
