# SPDX-License-Identifier: Apache-2.0
"""Runs the cases of one group against a server, prints what came of each, and exits with 0 if every answer was the one asked
for. After every case, the server must serve a client without fault.

    conformance_test.py INTEROP_SERVER GROUP|all
"""
import re
import struct
import subprocess
import sys
import tempfile
import time

import msgpack

import cases
from cases import APPLIED, GONE, METADATA, OBSERVATION, SERVED, Answer, Closed, Handshake, Pong
from rfc6455 import (BINARY, CLOSE, DEADLINE, PING, PONG, Connection, ServerViolation, check_accepted, close_payload, connect,
                     frame)


def header_of(payload):
    (length,) = struct.unpack_from("<I", payload)
    return msgpack.unpackb(payload[4 : 4 + length])


def received(connection):
    """The next thing that the server does, as cases.py names it."""
    got = connection.read_frame()
    if got is None:
        return "reset" if connection.reset else "the end, without a close"
    opcode, payload = got
    if opcode == BINARY:
        return Answer(header_of(payload)["type"])
    if opcode == PONG:
        return Pong(payload)
    if opcode == PING:
        return "a ping"
    if len(payload) == 1:
        raise ServerViolation("5.5.1: a close of one byte")
    payload[2:].decode("utf-8")  # 5.5.1
    return Closed(struct.unpack_from(">H", payload)[0] if payload else None)


def show(thing):
    if isinstance(thing, (set, frozenset)):
        return " or ".join(sorted(map(show, thing)))
    if isinstance(thing, Pong):
        return f"pong of {len(thing)}"
    return str(thing)


def shortened(things):
    """'pong of 1 x10, still served'"""
    out = []
    for thing in map(show, things):
        if out and out[-1][0] == thing:
            out[-1][1] += 1
        else:
            out.append([thing, 1])
    return ", ".join(text if count == 1 else f"{text} x{count}" for text, count in out)


def asked(connection, request):
    connection.send(frame(BINARY, request))
    got = connection.read_frame()
    if got is None or got[0] != BINARY:
        raise ServerViolation(f"a request was answered with {got}")
    return header_of(got[1])


def actions_applied(connection):
    return asked(connection, OBSERVATION)["extra"]["actions"]


def close_properly(connection):
    connection.send(frame(CLOSE, close_payload(1000)))
    got = received(connection)
    if got != Closed(1000) or not connection.at_end():
        raise ServerViolation(f"a close was answered with {show(got)}")


def run_case(port, case):
    """What the server did, as a list like case.expects."""
    with connect(port, case.offers) as connection:
        if APPLIED in case.expects:
            asked(connection, cases.message({"type": "reset"}))  # sets the server's count of actions to 0
        got = []
        for data in case.sends:
            if isinstance(data, Answer):
                got.append(received(connection))
            else:
                (connection.send_octets if case.octets else connection.send)(data)
        for expected in case.expects[len(got) :]:
            if expected == GONE:
                got.append(GONE)
            elif expected == SERVED:
                if asked(connection, METADATA)["type"] != "metadata_response":
                    raise ServerViolation("a request was answered with something else")
                close_properly(connection)
                got.append(SERVED)
            elif expected == APPLIED:
                end = time.monotonic() + DEADLINE
                while (applied := actions_applied(connection)) == 0:  # actions are applied on a thread of their own
                    if time.monotonic() > end:
                        raise ServerViolation("the action was not applied")
                got.append(APPLIED if applied == 1 else f"{applied} actions applied")
            else:
                got.append(received(connection))
                if isinstance(got[-1], Closed):
                    if got[-1] != Closed(1000) and case.group != "closing":  # 5.5.1: the server closes, the client answers
                        connection.send(frame(CLOSE, close_payload(got[-1].code)))
                    if not connection.at_end():
                        got.append("something behind the close")
                if not isinstance(got[-1], (Answer, Pong)):
                    break
        return got


def run_handshake(port, case):
    with Connection(port) as connection:
        (connection.send_octets if case.octets else connection.send)(case.bytes_sent)
        answer = connection.read_http()
        if answer is None:
            return [None], ""
        status, headers, _ = answer
        lacks = [f"{name}: {value}" for name, value in case.fields.items() if headers.get(name) != value]
        if status == 426 and headers.get("upgrade", "").lower() != "websocket":
            lacks.append("Upgrade: websocket (RFC 7231, 6.5.15)")
        if status == 426 and "upgrade" not in headers.get("connection", "").lower():
            lacks.append("Connection: upgrade (RFC 7230, 6.7)")
        if status == 101:
            check_accepted(headers, re.search(rb"Sec-WebSocket-Key: (\S*)", case.bytes_sent)[1].decode())
            close_properly(connection)
        return [status], ", ".join(lacks)


def matches(got, expected):
    return len(got) == len(expected) and all(
        g in e if isinstance(e, (set, frozenset)) else g == e and type(g) is type(e) for g, e in zip(got, expected))


def judge(port, case):
    """(what came, whether it is right)"""
    try:
        if isinstance(case, Handshake):
            got, lacks = run_handshake(port, case)
            return f"{got[0] or 'no answer'}" + (f", lacks {lacks}" if lacks else ""), got == [case.status] and not lacks
        got = run_case(port, case)
        return shortened(got), matches(got, case.expects)
    except ServerViolation as violation:
        return str(violation), False


def serves_the_next_client(port):
    with connect(port) as connection:
        if asked(connection, METADATA)["type"] != "metadata_response":
            raise ServerViolation("metadata was answered with something else")
        close_properly(connection)


def main(program, group):
    groups = cases.ALL_GROUPS if group == "all" else [group]
    with tempfile.TemporaryFile("w+") as log:
        server = subprocess.Popen([program, "decoupled"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
                                  text=True)
        wrong = total = 0
        try:
            port = int(server.stdout.readline())
            for name in groups:
                print(f"{name:68} {'RFC 6455':9} {'expected':34} answered")
                for case in cases.cases_of(name):
                    total += 1
                    expected = str(case.status or "no answer") if isinstance(case, Handshake) else shortened(case.expects)
                    answered, right = judge(port, case)
                    serves_the_next_client(port)
                    print(f"  {case.name:66} {case.rfc:9} {expected:34} {'as expected' if right else 'WRONG: ' + answered}"
                          + (f"  ({case.note})" if case.note else ""), flush=True)
                    wrong += not right
            server.stdin.close()
            if server.wait(60) != 0:
                raise AssertionError(f"the server ended with {server.returncode}")
        except BaseException:
            log.seek(0)
            print("the server's last words:", *log.readlines()[-20:], sep="\n  ", file=sys.stderr)
            raise
        finally:
            server.kill()
    print(f"{total} cases, {wrong} answered wrongly")
    return 1 if wrong else 0


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[2] not in [*cases.ALL_GROUPS, "all"]:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
