# SPDX-License-Identifier: Apache-2.0
"""Misbehaviour that would spoil the verdict over the robot under load, because its process is stopped or killed, or its machine
is kept busy. It happens to another one: chiral-serve with TLS, started for it and ended after it. Each kind returns when the
server has done what it must, or raises."""
import asyncio
import contextlib
import fcntl
import os
import re
import signal
import socket
import ssl
import struct
import subprocess

from messages import action, ask, message
from misbehaviour import Wrong
from peer import BINARY, CLOSE, PING, PONG, Ended, frame, request, within
from robot import die_with_parent

_F_SETPIPE_SZ = 1031  # <linux/fcntl.h>; Python has a name for it since 3.10
JOINTS = [0.1] * 7


def make_certificate(folder):
    """One whose handshakes cost a server the most: RSA of 4096 bits. (certificate, key)"""
    certificate, key = os.path.join(folder, "cert.pem"), os.path.join(folder, "key.pem")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:4096", "-nodes", "-days", "2", "-keyout", key, "-out", certificate,
                    "-subj", "/CN=robot", "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
    return certificate, key


def client_hello():
    """One that is right, without a client behind it that goes on."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        ssl.create_default_context().wrap_bio(to_client, to_server, server_hostname="127.0.0.1").do_handshake()
    return to_server.read()


class Client:
    """A client over TLS that takes control."""

    @classmethod
    async def connect(cls, port, certificate):
        client = cls()
        context = ssl.create_default_context(cafile=certificate)
        try:
            client._reader, client._writer = await within(asyncio.open_connection("127.0.0.1", port, ssl=context),
                                                          "a handshake of TLS")
            client._writer.write(request())
            head = await within(client._reader.readuntil(b"\r\n\r\n"), "a handshake")
        except (OSError, asyncio.IncompleteReadError) as error:
            raise Wrong(f"a client was not let in: {error}") from None
        if b" 101 " not in head.split(b"\r\n")[0]:
            raise Wrong(f"a client was not let in: {head.decode('latin-1')}")
        return client

    def send(self, data):
        self._writer.write(data)

    async def step(self):
        """An action that is answered when it has been applied, or refused."""
        self.send(frame(BINARY, message({"type": "action", "shape": [len(JOINTS)], "dtype": "float32"},
                                        struct.pack(f"<{len(JOINTS)}f", *JOINTS))))
        await within(self._message(), "the answer to an action")

    async def _message(self):
        while True:
            head = await self._reader.readexactly(2)
            length = head[1] & 0x7F
            if length >= 126:
                length = int.from_bytes(await self._reader.readexactly(2 if length == 126 else 8), "big")
            opcode, payload = head[0] & 15, await self._reader.readexactly(length)
            if opcode == PING:
                self.send(frame(PONG, payload))
            elif opcode == CLOSE:
                raise Wrong(f"a client that did what it may was closed: {payload!r}")
            elif opcode != PONG and head[0] & 0x80:
                return

    async def until_end(self, what):
        async def drain():
            with contextlib.suppress(OSError):
                while await self._reader.read(1 << 16):
                    pass
        await within(drain(), what)

    def close(self):
        self._writer.transport.abort()


class Bystander:
    """chiral-serve, running; its first camera is a command that leaves a process behind which holds what it inherited."""

    def __init__(self, census):
        self._census = census
        self.certificate, self._key = census.certificate
        self.lines = []

    async def start(self, port=0, log_is_read=True):
        reading, writing = os.pipe()
        if not log_is_read:
            fcntl.fcntl(writing, _F_SETPIPE_SZ, 4096)
        self._log = os.fdopen(reading, "rb", 0)
        self.process = await asyncio.create_subprocess_exec(
            self._census.serve, "--port", str(port), "--size", "64x48", "--cameras", "1", "--proprios", "1",
            "--camera", "left,64x48,cmd:(exec >/dev/null 2>&1; sleep 600) & cat /dev/zero",
            "--tls-cert", self.certificate, "--tls-key", self._key, stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=writing, start_new_session=True, preexec_fn=die_with_parent)
        os.close(writing)
        line = (await within(self.process.stdout.readline(), "chiral-serve to listen")).decode()
        match = re.match(r"listening on wss://127\.0\.0\.1:(\d+)", line)
        if not match:
            raise Wrong(f"chiral-serve does not listen again: {self._log.read(4096)!r}")
        self.port = int(match[1])

    async def client(self):
        return await Client.connect(self.port, self.certificate)

    async def metrics(self):
        """{name: value}"""
        async def ask():
            context = ssl.create_default_context(cafile=self.certificate)
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=context)
            writer.write(b"GET /metrics HTTP/1.1\r\nHost: robot\r\n\r\n")
            text = (await reader.read()).decode()
            writer.transport.abort()
            return {name: float(value) for name, value in re.findall(r"(?m)^(\w+) (\S+)$", text)}

        async def ask_again():
            while True:
                with contextlib.suppress(OSError):  # too many handshakes of this address wait
                    return await ask()
                await asyncio.sleep(0.1)

        return await within(ask_again(), "the figures")

    async def until(self, figure, at_least, what):
        async def look():
            while (await self.metrics()).get(figure, 0) < at_least:
                await asyncio.sleep(0.2)
        await within(look(), what)

    def end(self):
        """With all that its camera's command has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        for name in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError, ValueError):
                if os.getsid(int(name)) == self.process.pid:
                    os.kill(int(name), signal.SIGKILL)
        self._log.close()


@contextlib.asynccontextmanager
async def bystander(census, **how):
    robot = Bystander(census)
    await robot.start(**how)
    try:
        yield robot
    except (OSError, asyncio.IncompleteReadError) as error:
        raise Wrong(f"a robot that should serve ended a connection: {error}") from None
    finally:
        robot.end()


async def log_that_nobody_reads(census):
    """More strangers are turned away than the pipe of the log has room for: neither actions nor the watchdog wait for that."""
    async with bystander(census, log_is_read=False) as robot:
        client = await robot.client()
        for _ in range(470):
            reader, writer = await within(asyncio.open_connection("127.0.0.1", robot.port), "a connection")
            writer.write(b"GET / HTTP/1.1\r\nHost: robot\r\n\r\n")  # without TLS
            with contextlib.suppress(OSError):
                await within(reader.read(), "a stranger to be turned away")
            writer.close()
        before = (await robot.metrics())["chiral_action_timeouts_total"]
        await client.step()
        await robot.until("chiral_action_timeouts_total", before + 1, "the watchdog, while nobody reads the log")
        client.close()


async def flood_of_hellos(census):
    """Sixty at a time, each of which costs a computation: the client in control is served, and the watchdog watches it."""
    async with bystander(census) as robot:
        client = await robot.client()
        before = (await robot.metrics())["chiral_action_timeouts_total"]
        hello = client_hello()

        async def flood():
            while True:
                writers = []
                for _ in range(60):
                    with contextlib.suppress(OSError):
                        writers.append((await asyncio.open_connection("127.0.0.1", robot.port))[1])
                        writers[-1].write(hello)
                await asyncio.sleep(0.5)
                for writer in writers:
                    writer.transport.abort()

        flooding = asyncio.create_task(flood())
        try:
            for _ in range(20):
                await client.step()
                await asyncio.sleep(0.1)
            await asyncio.sleep(1.0)  # in which nothing is sent: longer than the time-out for actions
            await client.step()
        finally:
            flooding.cancel()
            await asyncio.gather(flooding, return_exceptions=True)
        figures = await robot.metrics()
        if figures["chiral_actions_applied_total"] != 21 or figures["chiral_action_timeouts_total"] <= before:
            raise Wrong(f"in a flood of TLS handshakes {figures['chiral_actions_applied_total']:.0f} of 21 actions were applied, "
                        f"{figures['chiral_action_timeouts_total']:.0f} time-outs called")
        client.close()


async def stopped_process(census):
    """What is sent while the robot's process is stopped was meant for the past, and is not applied when it goes on."""
    async with bystander(census) as robot:
        client = await robot.client()
        await client.step()
        robot.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, robot.process.pid, os.WSTOPPED | os.WNOWAIT)  # all of its threads
        for _ in range(99):
            client.send(action(JOINTS))
        await asyncio.sleep(2.0)
        robot.process.send_signal(signal.SIGCONT)
        await client.step()
        figures = await robot.metrics()
        if figures["chiral_actions_applied_total"] > 2 or figures["chiral_actions_late_total"] < 99:
            raise Wrong(f"after a stop of 2 s {figures['chiral_actions_applied_total']:.0f} actions were applied, "
                        f"{figures['chiral_actions_late_total']:.0f} were called late of 99")
        client.close()


async def killed_beside_its_children(census):
    """A process that a hook or a camera has started outlives the robot: its client notices the end, and it starts again at once."""
    async with bystander(census) as robot:
        client = await robot.client()
        await client.step()
        client.send(ask("obs_request"))
        robot.process.kill()
        await client.until_end("the client of a robot that was killed to notice it")
        client.close()
        try:
            async with bystander(census, port=robot.port) as again:
                (await again.client()).close()
        except Ended as error:
            raise Wrong(f"a robot that was killed does not start again: {error}") from None


KINDS = [log_that_nobody_reads, flood_of_hellos, stopped_process, killed_beside_its_children]
