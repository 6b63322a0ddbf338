# SPDX-License-Identifier: Apache-2.0
"""Clients that misbehave. Each kind does it once, and returns when the server has done what it must, or raises: what the server
must do is in it. A server that ends a connection earlier is in the right unless a kind says otherwise."""
import asyncio
import os
import struct

from messages import action, ask, message
from peer import BINARY, CLOSE, PING, Ended, Peer, TooLate, frame, request

# Small, so that the kernel does not take what the client does not.
SMALL_BUFFER = 4096
# Requests that the server has unanswered at once, and one more: it then reads nothing until it has written something.
MORE_THAN_ANSWERED = 9


class Wrong(Exception):
    """The server did what it must not, or did not do what it must."""


async def let_in(census, path="/", receive_buffer=None):
    """A client that comes again until it is let in."""
    for _ in range(1000):
        peer = await Peer.open(census, receive_buffer)
        try:
            if await peer.handshake(path) == 101:
                return peer
        except Ended:
            pass  # too many connections
        peer.reset()
        await asyncio.sleep(0.02 + 0.05 * census.rng.random())
    raise Wrong("a client that came a thousand times was not let in")


# ---- at the front door ----


async def silent(census):
    with await Peer.open(census) as peer:
        await peer.until_end("the server to drop a client that says nothing")
    census.dropped += 1


async def slow_handshake(census):
    with await Peer.open(census) as peer:
        try:
            await peer.send_slowly(request(target="/observe", extra=["Cookie: " + "x" * 4000]), 0.1)
        except Ended:
            census.dropped += 1
            return
    raise Wrong("a handshake that took 400 s was not dropped")


async def half_a_handshake(census):
    whole = request()
    with await Peer.open(census) as peer:
        await peer.send(whole[: census.rng.randrange(1, len(whole))])
        peer.shut_down_sending()
        await peer.until_end("the server to drop half a handshake")
    census.dropped += 1


async def no_http(census):
    junk = [b"\0" * 100, os.urandom(300) + b"\r\n\r\n", b"GET / HTTP/1.1\r\nX: " + b"x" * 20000 + b"\r\n\r\n",
            b"POST / HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 20000,
            request(extra=[f"X-{i}: {i}" for i in range(2000)])]
    with await Peer.open(census) as peer:
        try:
            await peer.send(census.rng.choice(junk))
        except Ended:
            pass  # dropped before all of it was sent
        await peer.until_end("the server to drop what is no handshake")
    census.dropped += 1


async def too_many_connections(census):
    """As many as there may be, and more, which all say nothing."""
    crowd, ends = [], []
    try:
        for _ in range(census.max_connections + 16):
            crowd.append(await Peer.open(census))
            ends.append(asyncio.create_task(crowd[-1].until_end("the server to drop one connection of many")))
        # Each that is one too many takes the place of the oldest; what is left, when the time for the handshake is over.
        opened_in_time = not ends[-1].done()
        first_end, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if opened_in_time and ends[-1] in first_end and ends[0] not in first_end:
            raise Wrong(f"of {len(crowd)} connections the newest was dropped, not the oldest")
        await asyncio.gather(*ends)
    finally:
        for end in ends:
            end.cancel()
        await asyncio.gather(*ends, return_exceptions=True)
        for peer in crowd:
            peer.reset()
    census.dropped += len(crowd)


async def takeover_by_a_slip(census):
    """Requests for control that are not quite that: none is let in, whoever is in control stays it."""
    whole = request(target="/?takeover=1")
    slips = [(whole.replace(b"Host: ", b"X-Host: "), 400)]
    slips += [(request(target=f"/?takeover={value}"), 400) for value in ("false", "no", "", "1&takeover=0")]
    slips += [(request(target=target), 404) for target in ("/Observe", "//observe", "/%6fbserve", "/./observe", "/metrics")]
    data, expected = census.rng.choice(slips)
    with await Peer.open(census) as peer:
        try:
            status, _ = await peer.http(data)
        except Ended:
            census.dropped += 1  # there are too many just now
            return
    if status != expected:
        raise Wrong(f"{data[:60]!r}: expected {expected}, got {status}")
    census.dropped += 1


async def crowd_that_ignores_its_close(census):
    """Clients that send garbage and stay, as many as there may be: one that comes next is served all the same."""
    crowd = []
    try:
        for _ in range(census.max_connections):
            peer = await Peer.open(census)
            crowd.append(peer)
            try:
                if await peer.handshake() == 101:
                    await peer.send(frame(1, b"{}"))
            except Ended:
                pass
        # Other strangers crowd here as well: the newest may be the oldest by the time that it is looked at.
        for _ in range(5):
            with await Peer.open(census) as peer:
                try:
                    status, _ = await peer.http(b"GET /healthz HTTP/1.1\r\nHost: robot\r\n\r\n")
                except Ended:
                    continue
            if status != 200:
                raise Wrong(f"/healthz is {status} while connections are being closed")
            break
        else:
            raise Wrong(f"while {len(crowd)} connections are being closed, nobody is let in")
    finally:
        for peer in crowd:
            peer.reset()
    census.dropped += len(crowd)


# ---- in the seat of the client in control ----


async def dropped_while(census, sending, what):
    """A client in control that sends something without end is dropped."""
    with await let_in(census) as peer:
        try:
            for data, pause in sending:
                await peer.send(data)
                await asyncio.sleep(pause)
        except Ended:
            census.dropped += 1
            return
    raise Wrong(f"{what} was not dropped")


async def slow_message(census):
    await dropped_while(census, [(frame(BINARY, b"", length=1000), 0.2)] + [(b"x", 0.2)] * 500, "a message of 100 s")


async def slow_frame_header(census):
    head = frame(BINARY, b"", length=70000)
    await dropped_while(census, [(head[i : i + 1], 0.1) for i in range(len(head))] + [(b"x", 0.2)] * 500,
                        "a frame whose header comes by bytes")


async def endless_fragments(census):
    await dropped_while(census, [(frame(BINARY, b"\1", fin=False), 0.1)] + [(frame(0, b"\1", fin=False), 0.1)] * 1000,
                        "a message of fragments without end")


async def half_closed(census):
    """Asks, and says that it will send no more: there is nobody to talk to."""
    with await let_in(census) as peer:
        await peer.send(ask("obs_request"))
        peer.shut_down_sending()
        await peer.until_end("the server to end a half-closed connection")
    census.dropped += 1


async def taking_nothing(census, path):
    with await let_in(census, path, SMALL_BUFFER) as peer:
        await peer.send(ask("obs_request") * MORE_THAN_ANSWERED)
        for _ in range(240):
            try:
                peer.send_what_fits(b"")  # an empty send tells of no end
                peer.send_what_fits(frame(10))
            except Ended:
                census.dropped += 1
                return
            await asyncio.sleep(0.25)
    raise Wrong("a client that takes none of its answers was not dropped")


async def reads_nothing(census):
    await taking_nothing(census, "/")


async def reads_by_bytes(census):
    with await let_in(census, receive_buffer=SMALL_BUFFER) as peer:
        await peer.send(ask("obs_request") * MORE_THAN_ANSWERED)
        try:
            for _ in range(30):
                await peer.read(1)
                await asyncio.sleep(0.1)
        except Ended:
            census.dropped += 1
            return
        peer.reset()


async def answered_after(census, flood, answers=0):
    """Sends a flood, and then asks: the flood is slowed down, and nothing behind it is lost."""
    with await let_in(census) as peer:
        sending = asyncio.create_task(peer.send(flood + ask("obs_request")))
        try:
            got = 0
            while got < answers:
                await peer.message()
                got += 1
            await peer.message()
            await sending
        except Ended as end:
            raise Wrong(f"a flood within the rules ended in: {end}") from None
        finally:
            sending.cancel()
        await peer.leave()


async def flood_of_actions(census):
    await answered_after(census, action([0.5] * 7) * 8000)


async def flood_of_large_actions(census):
    """Bytes are bounded as well as counts; what was taken for them is given back, as the verdict on memory says."""
    await answered_after(census, action([0.5] * 1_000_000) * 24)  # of 4 MB; 16 MB may wait


async def flood_of_requests(census):
    await answered_after(census, ask("obs_request") * 16, 16)


async def flood_of_pings(census):
    await answered_after(census, frame(PING, b"12345678") * 5000)


async def flood_of_fragments(census):
    payload = message({"type": "metadata"})
    pieces = [frame(BINARY, payload[:1], fin=False)] + [frame(0, payload[i : i + 1], fin=False)
                                                        for i in range(1, len(payload) - 1)] + [frame(0, payload[-1:])]
    await answered_after(census, b"".join(pieces) * 100, 100)


MALFORMED = {
    "an endless length": (frame(BINARY, b"", length=(1 << 63) - 1), 1009),
    "5 MB": (frame(BINARY, b"", length=5 << 20), 1009),
    "a header longer than its message": (frame(BINARY, b"\xff\xff\xff\xff\x80"), 1007),
    "deep nesting": (frame(BINARY, struct.pack("<I", 100005) + b"\x81\xa4type" + b"\x91" * 99999), 1007),
    "a map of 2^32 entries": (frame(BINARY, b"\5\0\0\0\xdf\xff\xff\xff\xff"), 1007),
    "no MessagePack": (frame(BINARY, b"\1\0\0\0\xc1"), 1007),
    "an unknown type": (ask("shut_down"), 1007),
    "text": (frame(1, b"{}"), 1003),
    "no mask": (frame(BINARY, b"x", mask=None), 1002),
    "a reserved bit": (frame(BINARY, b"x", rsv=4), 1002),
    "a reserved opcode": (frame(3, b"x"), 1002),
    "a continuation of nothing": (frame(0, b"x"), 1002),
    "a long ping": (frame(PING, b"x" * 126), 1002),
    "a close of one byte": (frame(CLOSE, b"x"), 1002),
}


async def malformed(census):
    name = census.rng.choice(sorted(MALFORMED))
    data, expected = MALFORMED[name]
    with await let_in(census) as peer:
        await peer.send(data)
        try:
            code = await peer.close_code()
        except Ended as end:
            raise Wrong(f"{name}: expected close code {expected}, got {end}") from None
        if code != expected:
            raise Wrong(f"{name}: expected close code {expected}, got {code}")
    census.dropped += 1


async def garbage(census):
    """Random frames, then a reset."""
    with await let_in(census) as peer:
        try:
            await peer.send(census.rng.randbytes(census.rng.randrange(1, 5000)))
        except Ended:
            pass  # the server had enough before
        peer.reset()


async def goes_deaf(census, path):
    """A client whose cable is pulled. The server has to find out by itself."""
    with await let_in(census, path) as peer:
        await peer.send(ask("obs_request"))
        await peer.message()
        census.half_open_made += 1
        peer.go_deaf()
        # Its own verdict is the server's: how long that took.
        for _ in range(600):
            metrics = await census.robot.metrics(census)
            if metrics:
                census.half_open_found = int(metrics["chiral_half_open_connections_total"])
            if census.half_open_found >= census.half_open_made:
                return
            await asyncio.sleep(0.1)
    raise Wrong("a dead link was not found")


async def half_open_control(census):
    await goes_deaf(census, "/")


# ---- observers ----


async def half_open_observer(census):
    await goes_deaf(census, "/observe")


async def observer_reads_nothing(census):
    await taking_nothing(census, "/observe")


async def observers_come_and_go(census):
    for _ in range(10):
        with await let_in(census, "/observe") as peer:
            await peer.send(ask("obs_request"))
            if census.rng.random() < 0.5:
                await peer.read(1)
            peer.reset()


async def observer_wants_control(census):
    with await let_in(census, "/observe") as peer:
        await peer.send(action([0.5] * 7))
        code = await peer.close_code()
        if code != 1008:
            raise Wrong(f"an observer that sent an action was closed with {code}, expected 1008")
    census.dropped += 1


# ---- coming and going ----


async def reconnect(census):
    """Connects once, in one of many ways, and goes without a goodbye."""
    way = census.rng.randrange(7)
    with await Peer.open(census) as peer:
        try:
            if way == 1:
                whole = request()
                await peer.send(whole[: census.rng.randrange(len(whole))])
            elif way == 2:
                await peer.send(request())
            elif way == 3:
                await peer.handshake(census.rng.choice(["/", "/observe"]))
            elif way == 4 and await peer.handshake(census.rng.choice(["/", "/observe"])) == 101:
                await peer.send(ask("obs_request"))
                await peer.read(1)
            elif way == 5 and await peer.handshake() == 101:
                whole = action([0.5] * 7)
                await peer.send(whole[: census.rng.randrange(len(whole))])
            elif way == 6:
                await peer.send(b"GET /metrics HTTP/1.1\r\nHost: robot\r\n\r\n")
        except Ended:
            pass  # there are too many just now
        if census.rng.random() < 0.7:
            peer.reset()
    census.reconnects += 1


FRONT_DOOR = [silent, slow_handshake, half_a_handshake, no_http, too_many_connections, takeover_by_a_slip,
              crowd_that_ignores_its_close]
CONTROL = [slow_message, slow_frame_header, endless_fragments, half_closed, reads_nothing, reads_by_bytes, flood_of_actions,
           flood_of_large_actions, flood_of_requests, flood_of_pings, flood_of_fragments, malformed, garbage, half_open_control]
OBSERVERS = [half_open_observer, observer_reads_nothing, observers_come_and_go, observer_wants_control]
