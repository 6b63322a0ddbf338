# SPDX-License-Identifier: Apache-2.0
"""Kills local clients while they hold all that they may, and sends nonsense between: nothing of them stays. See tools/soak.

    local_deaths.py --program chiral-serve [--local-kills 10000] [--seed N]

Every client is a process of its own, which is ended by SIGKILL: some hold observations that the server pinned for them, some what they
pinned themselves, some are in the middle of pinning or write nonsense where they pin, and some leave a child behind that has all
that they had. In the end another one is served, reads directly, and sees new images, and the server's descriptors, threads and
memory are what they were after the first tenth."""
import argparse
import collections
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

from local_guest import Guest
from messages import message

ASK = message({"type": "obs_request"})
HELLO = "version=3\nwants={}\ndirect={}\n"
DEADLINE = 60.0  # only a server that does not do what it must needs it
MEMORY_MARGIN = 4 << 20  # allocators keep some
DIRECT_READERS = 2  # as many as are let in at once: one in control, one that looks on


class Wrong(Exception):
    """The server did what it must not, or did not do what it must."""


def connected(path):
    client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    client.settimeout(DEADLINE)
    client.connect(path)
    return client


def let_in(path, wants, direct):
    """A client that comes again while the one before it is still being missed, and what it pins with, if it does."""
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        client = connected(path)
        client.send(b"H" + HELLO.format(wants, int(direct)).encode())
        packet, descriptors, _, _ = socket.recv_fds(client, 65536, 4)
        try:
            if packet[:1] == b"W":
                if direct and b"\ndirect=1\n" not in packet:
                    raise Wrong(f"a client was offered no page to pin in: {packet!r}")
                return client, Guest(client, descriptors[0]) if direct else None
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        if b"are taken" not in packet and b"is connected already" not in packet and b"hooks are busy" not in packet:
            raise Wrong(f"a client was refused: {packet!r}")
        client.close()
        time.sleep(0.001)
    raise Wrong("a client that came for a minute was not let in")


def observe(client):
    client.send(b"M" + ASK)
    packet = client.recv(65536)
    if packet[:1] != b"M":
        raise Wrong(f"expected an observation, got {packet[:80]!r}")
    return struct.unpack_from("<I", packet, 1)[0]  # the loan


def newest(client, guest, camera, after):
    """The number of an image that is newer than that, as the server's bell tells it in the client's page."""
    client.send(b"B" + struct.pack("<QQ", after, after + 1) + camera)
    end = time.monotonic() + DEADLINE
    while (number := guest.answer_to(after + 1)) is None:
        if time.monotonic() > end:
            raise Wrong(f"no image newer than {after} came")
        time.sleep(0.001)
    if number <= after:
        raise Wrong(f"expected a newer image than {after}, got {number}")
    return number


def hold(path, wants, how, rng):
    """Becomes a client that holds what it can, in one of the ways of WAYS."""
    client, guest = let_in(path, wants, how != "asks")
    for _ in range(rng.randrange(3)):
        observe(client)
    if how in ("pins", "leaves a child"):
        guest.pin()
    elif how == "stops pinning":
        guest.pin(pending_only=True)
    elif how == "lies":
        guest.lie(rng)
    if rng.randrange(2):
        client.send(b"M" + ASK if rng.randrange(2) else b"p" + b"half a message")
    return client, guest


# What a client is doing when it is killed.
WAYS = ("asks", "pins", "pins", "stops pinning", "lies", "leaves a child")


def die_holding(path, wants, how, rng, former=None):
    """One client, which is killed. What it leaves behind it lives until the descriptor that is returned is closed, which for the one
    before it is `former`."""
    holds, says = os.pipe()
    orphaned, lives = os.pipe()  # a child of the client lives until nobody has `lives`
    child = os.fork()
    if child == 0:
        try:
            os.close(lives)
            if former is not None:
                os.close(former)
            held = hold(path, wants, how, rng)
            if how == "leaves a child" and os.fork() == 0:
                os.close(says)
                os.read(orphaned, 1)
                os._exit(0)
            os.write(says, b"x")
            while how == "lies":
                held[1].lie(rng)
            signal.pause()
        except BaseException as problem:  # told, whatever it is: this process ends here
            os.write(says, f"{how}, {wants}: {problem}".encode()[:4000])
        finally:
            os._exit(1)
    os.close(says)
    os.close(orphaned)
    said = os.read(holds, 4096)
    os.close(holds)
    if how == "lies":
        time.sleep(0.002)  # sensors write meanwhile; a lie more or less is no matter
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    if said != b"x":
        raise Wrong(f"a client was not served: {said.decode(errors='replace') or 'it died by itself'}")
    return lives


def talk_nonsense(path, rng):
    with connected(path) as client:
        if rng.randrange(2):
            client.send(b"H" + HELLO.format("observe", rng.randrange(2)).encode())
        try:
            for _ in range(4):
                client.send(bytes(rng.choice(b"HWNpMRBDCx") for _ in range(1)) + rng.randbytes(rng.randrange(2000)))
        except OSError:
            pass  # closed already


def figures(process):
    status = open(f"/proc/{process.pid}/status").read().split()
    return (int(status[status.index("VmRSS:") + 1]) * 1024, int(status[status.index("Threads:") + 1]),
            len(os.listdir(f"/proc/{process.pid}/fd")))


def settled(process, threads, descriptors):
    """The last client's end may still be under way, and may have been when the first figures were taken."""
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        memory, now_threads, now_descriptors = figures(process)
        if now_threads <= threads and now_descriptors <= descriptors:
            return memory
        time.sleep(0.01)
    raise Wrong(f"{now_threads} threads and {now_descriptors} descriptors, after the first tenth it had {threads} and {descriptors}")


def kill_all(path, kills, rng, at_the_first_tenth):
    """How many died in which way."""
    deaths, leftover = collections.Counter(), None
    try:
        for i in range(kills):
            how = WAYS[i % len(WAYS)] if i < len(WAYS) else rng.choice(WAYS)
            lives = die_holding(path, "observe" if rng.randrange(3) == 0 else "control", how, rng, leftover)
            deaths[how] += 1
            if leftover is not None:
                os.close(leftover)
            leftover = lives
            if i % 10 == 0:
                talk_nonsense(path, rng)
            if i == kills // 10:
                at_the_first_tenth()
    finally:
        if leftover is not None:
            os.close(leftover)
    return deaths


def serve_the_last(path):
    last, guest = let_in(path, "control", True)
    with last:
        if [observe(last), observe(last)] != [1, 2]:
            raise Wrong("the last client was not lent what it may hold")
        guest.pin()
        first = newest(last, guest, b"cam_0", 0)
        if newest(last, guest, b"cam_0", first) <= first:
            raise Wrong("the sensors do not go on")
    return guest.occupant


def run(options, folder):
    path, rng = os.path.join(folder, "robot.sock"), random.Random(options.seed)
    command = [options.program, "--local-socket", path, "--direct-readers", str(DIRECT_READERS), "--port", "0", "--cameras", "2",
               "--size", "320x240", "--depth", "--proprios", "2"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    try:
        end = time.monotonic() + DEADLINE
        while not os.path.exists(path):
            if time.monotonic() > end or server.poll() is not None:
                raise Wrong("the robot did not start")
            time.sleep(0.01)
        serve_the_last(path)  # the bell has its thread
        before = []
        begin = time.monotonic()
        deaths = kill_all(path, options.kills, rng, lambda: (time.sleep(0.2), before.extend(figures(server))))
        took = time.monotonic() - begin
        memory = settled(server, before[1], before[2])
        occupant = serve_the_last(path)
        if memory > before[0] + MEMORY_MARGIN:
            raise Wrong(f"{memory >> 10} KiB resident, after the first tenth it was {before[0] >> 10} KiB")
        if server.poll() is not None:
            raise Wrong("the robot has ended")
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(DEADLINE)
    if os.listdir(folder):
        raise Wrong(f"left behind: {os.listdir(folder)}")
    ways = ", ".join(f"{how}: {deaths[how]}" for how in dict.fromkeys(WAYS))
    return (f"{options.kills} local clients killed in {took:.0f} s ({ways}); {occupant} have had a page; nothing of them stays: "
            f"{before[1]} threads, {before[2]} descriptors, {before[0] >> 10} KiB after the first tenth, {memory >> 10} KiB at the end")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", required=True)
    parser.add_argument("--local-kills", dest="kills", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="chiral-local-") as folder:
        try:
            print(run(options, folder))
        except (Wrong, OSError) as problem:
            print(f"local clients, seed {options.seed}: {problem}")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
