# SPDX-License-Identifier: Apache-2.0
"""iceoryx2's Python package as a peer of bench/side_by_side.py: as iceoryx2_peer in Rust, whose images it can take."""
import contextlib
import ctypes

import iceoryx2
import peer

Image = iceoryx2.Slice[ctypes.c_uint8]


def services(name):
    iceoryx2.set_log_level(iceoryx2.LogLevel.Error)
    node = iceoryx2.NodeBuilder.new().create(iceoryx2.ServiceType.Ipc)
    service = iceoryx2.ServiceName.new(name)
    images = (node.service_builder(service).publish_subscribe(Image).subscriber_max_buffer_size(1).history_size(1)
              .enable_safe_overflow(True).open_or_create())
    return node, images, node.service_builder(service).event().open_or_create()


def give(name, size, hz):
    _node, images, events = services(name)
    publisher = images.publisher_builder().initial_max_slice_len(size).create()
    notifier = events.notifier_builder().create()
    over = peer.ready(name)
    for number in peer.paced(hz, over):
        sample = publisher.loan_slice_uninit(size)
        where = sample.payload_ptr
        ctypes.memset(where, number % 251, size)  # the driver
        ctypes.memmove(where, peer.stamp(), 8)
        sample.assume_init().send()
        notifier.notify()


class Taker(contextlib.AbstractContextManager):
    def __init__(self, name, _size):
        self._node, images, events = services(name)
        self._subscriber = images.subscriber_builder().create()
        self._listener = events.listener_builder().create()
        self._held = None
        while self._held is None:
            self._held = self._subscriber.receive()

    def __exit__(self, *_):
        self._held.delete()

    def next(self):
        while True:
            self._listener.timed_wait(iceoryx2.Duration.from_secs(5))
            taken = self._take()
            if taken is not None:
                return peer.since(taken.payload().as_memory_view()[:8])

    def next_polling(self):
        while (taken := self._take()) is None:
            pass
        return peer.since(taken.payload().as_memory_view()[:8])

    def newest(self):
        return peer.timed_look(self._look)

    def _look(self):
        self._take()
        return bytes(self._held.payload().as_memory_view()[:1])

    def _take(self):
        sample = self._subscriber.receive()
        if sample is not None:
            self._held.delete()
            self._held = sample
        return sample


peer.main(give, Taker)
