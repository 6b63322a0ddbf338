# SPDX-License-Identifier: Apache-2.0
"""The cases: what a client sends, and what RFC 6455 and the server's own rules ask for in answer."""
import dataclasses
import struct

import msgpack

from rfc6455 import BINARY, CLOSE, CONT, PING, PONG, TEXT, close_payload, fragments, frame, handshake_key, request

MESSAGE_LIMIT = 4 << 20  # ServerOptions::max_message_bytes


def message(header, payload=b""):
    packed = msgpack.packb(header)
    return struct.pack("<I", len(packed)) + packed + payload


METADATA = message({"type": "metadata"})
OBSERVATION = message({"type": "obs_request"})


def action(size=None, camera=b"wrist"):
    """An action of 7 values, or a message of exactly `size` bytes: a large one has more values, the rest goes to a name."""
    def build(name, elements):
        header = {"type": "apply_action", "shape": [elements], "dtype": "float32", "obs_timestamps": {name: 1.0}}
        packed = msgpack.packb(header, use_bin_type=False)
        return struct.pack("<I", len(packed)) + packed + bytes(4 * elements)

    if size is None:
        return build(camera, 7)
    elements = 1 if size < 256 else (size - 200) // 4
    for pad in range(200):
        built = build(b"x" * pad, elements)
        if len(built) == size:
            return built
    raise ValueError(f"no action of {size} bytes")


# ---- what is expected ----

class Answer(str):
    """A message of the server, by its type."""


class Pong(bytes):
    """A pong with this payload."""


@dataclasses.dataclass(frozen=True)
class Closed:
    """A close frame, then the end of the connection. Code None: without a code."""

    code: "int | None"

    def __str__(self):
        return f"close {self.code}" if self.code else "close without code"


APPLIED = "one action applied"  # seen in the next observation
SERVED = "still served"  # the connection answers a request, and closes with 1000 when it is asked to
GONE = "gone"  # the client leaves without a word
ANSWER = Answer("metadata_response")

BROKEN = Closed(1002)
NOT_ACCEPTED = Closed(1003)
BAD_DATA = Closed(1007)
TOO_BIG = Closed(1009)


@dataclasses.dataclass
class Case:
    """`sends` are byte strings, or an Answer to wait for: a server may fail a connection before it answers what came before.
    `expects` are what comes back, in this order."""

    group: str
    name: str
    rfc: str
    sends: list
    expects: list
    octets: bool = False  # sent one byte at a time
    offers: tuple = ()  # more lines of the handshake
    note: str = ""  # where the answer is not the one that the RFC suggests: why


@dataclasses.dataclass
class Handshake:
    """A request, and the status of its answer; None: the connection ends without one."""

    group: str
    name: str
    rfc: str
    bytes_sent: bytes
    status: "int | None"
    fields: dict = dataclasses.field(default_factory=dict)  # that the answer must have
    octets: bool = False
    note: str = ""


def framing():
    yield "a request in one frame", "5.2", [frame(BINARY, METADATA)], [ANSWER, SERVED]
    yield "a request, octet by octet", "5.2", [frame(BINARY, METADATA)], [ANSWER, SERVED], {"octets": True}
    yield "two requests in one segment", "5.2", [frame(BINARY, METADATA) * 2], [ANSWER, ANSWER, SERVED]
    yield ("twenty requests in one segment, more than are answered at once", "5.2", [frame(BINARY, METADATA) * 20],
           [ANSWER] * 20 + [SERVED])
    yield ("an observation of 2 MB", "5.2", [frame(BINARY, OBSERVATION)], [Answer("obs_response"), SERVED])
    for size in (125, 126, 127, 128, 65535, 65536, 65537):
        yield f"a message of {size} bytes", "5.2", [frame(BINARY, action(size))], [APPLIED, SERVED]
    yield "an empty message", "5.6", [frame(BINARY)], [BAD_DATA], {"note": "no frame of the protocol: 1007 with the reason"}
    yield "16 bits for a length of 125", "5.2", [frame(BINARY, action(125), length_bytes=2)], [BROKEN]
    yield "16 bits for a length of 0", "5.2", [frame(BINARY, length_bytes=2)], [BROKEN]
    yield "64 bits for a length of 125", "5.2", [frame(BINARY, action(125), length_bytes=8)], [BROKEN]
    yield "64 bits for a length of 65535", "5.2", [frame(BINARY, action(65535), length_bytes=8)], [BROKEN]
    yield "the client leaves inside a frame header", "7.1.1", [frame(BINARY, METADATA)[:3]], [GONE]
    yield "the client leaves inside a payload", "7.1.1", [frame(BINARY, METADATA)[:-1]], [GONE]


def pings():
    yield "a ping without payload", "5.5.2", [frame(PING)], [Pong(), SERVED]
    yield "a ping with text", "5.5.3", [frame(PING, b"Hello")], [Pong(b"Hello"), SERVED]
    yield ("a ping with bytes that are no text", "5.5.3",
           [frame(PING, b"\x00\xff\xfe\xc0")], [Pong(b"\x00\xff\xfe\xc0"), SERVED])
    yield "a ping of 125 bytes", "5.5", [frame(PING, b"\xfe" * 125)], [Pong(b"\xfe" * 125), SERVED]
    yield ("a ping of 125 bytes, octet by octet", "5.5",
           [frame(PING, b"\xfe" * 125)], [Pong(b"\xfe" * 125), SERVED], {"octets": True})
    yield "a ping of 126 bytes", "5.5", [frame(PING, b"\xfe" * 126)], [BROKEN]
    yield "a pong of 126 bytes", "5.5", [frame(PONG, b"\xfe" * 126)], [BROKEN]
    yield "a pong that nobody asked for", "5.5.3", [frame(PONG)], [SERVED]
    yield "a pong with payload that nobody asked for", "5.5.3", [frame(PONG, b"unasked")], [SERVED]
    yield "such a pong, and a ping", "5.5.3", [frame(PONG, b"unasked") + frame(PING, b"asked")], [Pong(b"asked"), SERVED]
    ten = [str(i).encode() for i in range(10)]
    yield "ten pings", "5.5.3", [frame(PING, p) for p in ten], [*map(Pong, ten), SERVED]
    yield "ten pings, octet by octet", "5.5.3", [frame(PING, p) for p in ten], [*map(Pong, ten), SERVED], {"octets": True}
    yield "pings between requests", "5.5.2", [frame(PING, b"1") + frame(BINARY, METADATA)], [Pong(b"1"), ANSWER, SERVED]


def reserved_bits():
    for rsv in range(1, 8):
        bits = " and ".join(f"RSV{n}" for n, bit in ((1, 4), (2, 2), (3, 1)) if rsv & bit)
        yield f"{bits} on a request", "5.2", [frame(BINARY, METADATA, rsv=rsv)], [BROKEN]
    for name, opcode in (("ping", PING), ("pong", PONG), ("close", CLOSE)):
        for rsv in (4, 2, 1):
            yield f"bit {rsv} on a {name}", "5.2", [frame(opcode, rsv=rsv)], [BROKEN]
    for rsv in (4, 2, 1):
        yield (f"bit {rsv} on a continuation", "5.2",
               [frame(BINARY, METADATA[:5], fin=False), frame(CONT, METADATA[5:], rsv=rsv)], [BROKEN])
    yield ("RSV1 behind a good request", "5.2",
           [frame(BINARY, METADATA), ANSWER, frame(BINARY, METADATA, rsv=4)], [ANSWER, BROKEN])
    yield ("RSV1 where compression was offered and not agreed on", "9.1", [frame(BINARY, METADATA, rsv=4)], [BROKEN],
           {"offers": ("Sec-WebSocket-Extensions: permessage-deflate",)})


def opcodes():
    for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15):
        yield f"opcode {opcode}", "5.2", [frame(opcode)], [BROKEN]
        yield f"opcode {opcode} with payload", "5.2", [frame(opcode, METADATA)], [BROKEN]
    yield "opcode 3 behind a good request", "5.2", [frame(BINARY, METADATA), ANSWER, frame(3)], [ANSWER, BROKEN]
    yield "opcode 11 inside a message", "5.2", [frame(BINARY, METADATA[:5], fin=False), frame(11)], [BROKEN]


def fragmentation():
    a, b, c = METADATA[:4], METADATA[4:9], METADATA[9:]
    ping, pong = frame(PING, b"between"), frame(PONG, b"between")
    yield "in two fragments", "5.4", fragments(BINARY, a, b + c), [ANSWER, SERVED]
    yield "in three fragments", "5.4", fragments(BINARY, a, b, c), [ANSWER, SERVED]
    yield ("in fragments of one byte", "5.4",
           fragments(BINARY, *(METADATA[i : i + 1] for i in range(len(METADATA)))), [ANSWER, SERVED])
    yield "three fragments, octet by octet", "5.4", fragments(BINARY, a, b, c), [ANSWER, SERVED], {"octets": True}
    yield "an empty first fragment", "5.4", fragments(BINARY, b"", METADATA), [ANSWER, SERVED]
    yield "an empty last fragment", "5.4", fragments(BINARY, METADATA, b""), [ANSWER, SERVED]
    yield "an empty fragment in the middle", "5.4", fragments(BINARY, a, b"", b + c), [ANSWER, SERVED]
    yield "a hundred empty fragments", "5.4", fragments(BINARY, a, *[b""] * 100, b + c), [ANSWER, SERVED]
    yield ("nothing but empty fragments", "5.4",
           fragments(BINARY, b"", b"", b""), [BAD_DATA], {"note": "no frame of the protocol: 1007"})
    first, second, third = fragments(BINARY, a, b, c)
    yield "a ping between fragments", "5.4", [first, ping, second, third], [Pong(b"between"), ANSWER, SERVED]
    yield ("a ping between fragments, octet by octet", "5.4",
           [first, ping, second, third], [Pong(b"between"), ANSWER, SERVED], {"octets": True})
    yield ("pings between all fragments", "5.4",
           [first, ping, second, ping, third, ping], [Pong(b"between")] * 2 + [{Pong(b"between"), ANSWER}] * 2 + [SERVED])
    yield "a pong between fragments", "5.5.3", [first, pong, second, pong, third], [ANSWER, SERVED]
    yield "a close between fragments", "5.5.1", [first, frame(CLOSE, close_payload(1000))], [Closed(1000)]
    yield "two messages in fragments, one behind the other", "5.4", fragments(BINARY, a, b, c) * 2, [ANSWER, ANSWER, SERVED]
    yield "an action in fragments of 1000 bytes", "5.4", fragments(BINARY, *cut(action(65536), 1000)), [APPLIED, SERVED]
    yield "a fragmented ping", "5.5", fragments(PING, b"a", b"b"), [BROKEN]
    yield "a fragmented pong", "5.5", fragments(PONG, b"a", b"b"), [BROKEN]
    yield "a fragmented close", "5.5", fragments(CLOSE, close_payload(1000), b"b"), [BROKEN]
    yield "a last fragment of nothing", "5.4", [frame(CONT, METADATA)], [BROKEN]
    yield "a fragment of nothing", "5.4", [frame(CONT, METADATA, fin=False)], [BROKEN]
    yield ("a fragment behind a whole message", "5.4",
           [frame(BINARY, METADATA), ANSWER, frame(CONT, METADATA)], [ANSWER, BROKEN])
    yield "a fragment behind the last fragment", "5.4", [*fragments(BINARY, a, b + c), ANSWER, frame(CONT)], [ANSWER, BROKEN]
    yield "a new binary message inside another", "5.4", [first, frame(BINARY, METADATA)], [BROKEN]
    yield "a text message inside a binary one", "5.4", [first, frame(TEXT, b"text")], [BROKEN]
    yield "a text message in fragments", "5.6", fragments(TEXT, b"te", b"xt"), [NOT_ACCEPTED]
    yield "the client leaves between fragments", "7.1.1", [first], [GONE]


def cut(data, size):
    return [data[i : i + size] for i in range(0, len(data), size)]


BAD_TEXTS = {
    "a lone continuation byte": b"\x80",
    "0xff": b"\xff",
    "an overlong slash": b"\xc0\xaf",
    "an overlong slash in three bytes": b"\xe0\x80\xaf",
    "an overlong slash in four bytes": b"\xf0\x80\x80\xaf",
    "half of a surrogate pair": b"\xed\xa0\x80",
    "a character beyond U+10FFFF": b"\xf4\x90\x80\x80",
    "a character in five bytes": b"\xf8\x88\x80\x80\x80",
    "a character without its end": b"\xe2\x82",
    "good text and then 0xfe": "κόσμε".encode() + b"\xfe",
}


def utf8():
    for name, text in (("text", b"{\"type\": \"metadata\"}"), ("text beyond ASCII", "κόσμε 𝄞".encode()),
                       ("no text at all", b""), ("U+10FFFF and U+FFFF", "\U0010ffff\uffff".encode())):
        yield name, "5.6", [frame(TEXT, text)], [NOT_ACCEPTED], {"note": "the protocol has binary messages only: 1003"}
    yield "a character in two fragments", "5.6", fragments(TEXT, b"\xe2\x82", b"\xac"), [NOT_ACCEPTED]
    yield ("every byte in a fragment", "5.6", fragments(TEXT, *cut("κόσμε".encode(), 1)), [NOT_ACCEPTED])
    for name, text in BAD_TEXTS.items():
        yield name, "8.1", [frame(TEXT, text)], [BAD_DATA]
        yield f"{name}, octet by octet", "8.1", [frame(TEXT, text)], [BAD_DATA], {"octets": True}
    yield "a bad second fragment", "8.1", fragments(TEXT, b"good", b"\xff"), [BAD_DATA]
    yield "a bad first fragment, before the last is sent", "8.1", fragments(TEXT, b"\xff", last=False), [BAD_DATA]
    yield "a character without its end in the last fragment", "8.1", fragments(TEXT, b"good", b"\xe2\x82"), [BAD_DATA]
    yield ("a character without its end, and an empty last fragment", "8.1",
           fragments(TEXT, b"\xe2\x82", b""), [NOT_ACCEPTED],
           {"note": "Beast 1.74 overlooks an unfinished text at an empty last fragment: 1003, as for any text, instead of 1007"})
    yield ("a name in a binary message that is no UTF-8", "5.6",
           [frame(BINARY, action(camera=b"\xff\xfe"))], [APPLIED, SERVED])


def closing():
    yield ("without a code", "5.5.1",
           [frame(CLOSE)], [Closed(1000)], {"note": "Beast answers with 1000; the RFC allows any code"})
    yield "with a code", "5.5.1", [frame(CLOSE, close_payload(1000))], [Closed(1000)]
    yield "with code and reason", "5.5.1", [frame(CLOSE, close_payload(1000, b"done"))], [Closed(1000)]
    yield "with a reason beyond ASCII", "5.5.1", [frame(CLOSE, close_payload(1000, "κόσμε".encode()))], [Closed(1000)]
    yield "with a reason of 123 bytes", "5.5", [frame(CLOSE, close_payload(1000, b"x" * 123))], [Closed(1000)]
    yield "octet by octet", "5.5.1", [frame(CLOSE, close_payload(1000, b"done"))], [Closed(1000)], {"octets": True}
    yield "with a reason of 124 bytes", "5.5", [frame(CLOSE, close_payload(1000, b"x" * 124))], [BROKEN]
    yield "with one byte", "5.5.1", [frame(CLOSE, b"\x03")], [BROKEN]
    for code in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011):
        yield f"code {code}", "7.4.1", [frame(CLOSE, close_payload(code))], [Closed(code)]
    for code in (1012, 1013):
        yield f"code {code}", "7.4.2", [frame(CLOSE, close_payload(code))], [Closed(code)], {"note": "registered later"}
    for code in (3000, 3999, 4000, 4999):
        yield f"code {code}", "7.4.2", [frame(CLOSE, close_payload(code))], [Closed(code)]
    for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999):
        yield f"code {code}", "7.4", [frame(CLOSE, close_payload(code))], [BROKEN]
    yield ("code 1014", "7.4.2", [frame(CLOSE, close_payload(1014))], [BROKEN],
           {"note": "registered later, and reserved in the RFC: Beast takes it for an error"})
    for code in (5000, 65535):
        yield (f"code {code}", "7.4.2", [frame(CLOSE, close_payload(code))], [Closed(code)],
               {"note": "the RFC says nothing of codes from 5000; Beast answers with the same code"})
    for name, text in BAD_TEXTS.items():
        yield (f"with a reason that is {name}", "5.5.1", [frame(CLOSE, close_payload(1000, text))], [BROKEN],
               {"note": "Beast says 1002 where 1007 would fit; the connection fails as 8.1 asks"})
    end = frame(CLOSE, close_payload(1000))
    yield "a request behind the close", "5.5.1", [end + frame(BINARY, METADATA)], [Closed(1000)]
    yield "a ping behind the close", "5.5.1", [end + frame(PING, b"late")], [Closed(1000)]
    yield "a broken frame behind the close", "5.5.1", [end + frame(3, rsv=7)], [Closed(1000)]
    yield "a second close", "5.5.1", [end + frame(CLOSE, close_payload(1001))], [Closed(1000)]
    yield "a request, a close when it is answered", "7.1.2", [frame(BINARY, METADATA)], [ANSWER, SERVED]
    yield "no close at all", "7.1.1", [], [GONE]


def limits():
    over = MESSAGE_LIMIT + 1
    yield "a message as large as the limit", "10.4", [frame(BINARY, action(MESSAGE_LIMIT))], [APPLIED, SERVED]
    yield ("a message as large as the limit, in fragments", "10.4",
           fragments(BINARY, *cut(action(MESSAGE_LIMIT), 1 << 16)), [APPLIED, SERVED])
    yield "one byte more, announced only", "10.4", [frame(BINARY, length=over)], [TOO_BIG]
    yield "one byte more", "10.4", [frame(BINARY, bytes(over))], [TOO_BIG]
    yield "2^31 bytes, announced only", "10.4", [frame(BINARY, length=1 << 31)], [TOO_BIG]
    yield "2^63 - 1 bytes, announced only", "10.4", [frame(BINARY, length=(1 << 63) - 1)], [TOO_BIG]
    for length in (1 << 63, (1 << 64) - 1):
        yield (f"length {length:#x}, whose highest bit must be 0", "5.2", [frame(BINARY, length=length)], [TOO_BIG],
               {"note": "Beast takes it for a large number: 1009 where 1002 would fit"})
    yield ("one byte more in the second fragment", "10.4",
           [frame(BINARY, bytes(MESSAGE_LIMIT), fin=False), frame(CONT, b"x")], [TOO_BIG])
    yield "fragments of 64 KiB without end", "10.4", fragments(BINARY, *[bytes(1 << 16)] * 65, last=False), [TOO_BIG]
    yield ("a second fragment that makes the sum overflow", "10.4",
           [frame(BINARY, b"x", fin=False), frame(CONT, length=(1 << 64) - 1)], [TOO_BIG])
    yield "a text message over the limit", "10.4", [frame(TEXT, length=over)], [TOO_BIG]
    for name, opcode in (("ping", PING), ("pong", PONG), ("close", CLOSE)):
        yield f"a {name} of 2^31 bytes, announced only", "5.5", [frame(opcode, length=1 << 31)], [BROKEN]


def masking():
    for name, opcode, payload in (("request", BINARY, METADATA), ("text message", TEXT, b"text"), ("ping", PING, b""),
                                  ("pong", PONG, b""), ("close", CLOSE, close_payload(1000))):
        yield f"an unmasked {name}", "5.1", [frame(opcode, payload, mask=None)], [BROKEN]
    yield ("an unmasked second fragment", "5.1",
           [frame(BINARY, METADATA[:5], fin=False), frame(CONT, METADATA[5:], mask=None)], [BROKEN])
    yield ("an unmasked ping behind a good request", "5.1",
           [frame(BINARY, METADATA), ANSWER, frame(PING, mask=None)], [ANSWER, BROKEN])
    for key in (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x00\x00\x00\x01"):
        yield f"key {key.hex()}", "5.3", [frame(BINARY, METADATA, mask=key)], [ANSWER, SERVED]
    yield ("another key in every fragment", "5.3",
           [frame(BINARY, METADATA[:5], fin=False, mask=b"abcd"), frame(CONT, METADATA[5:], mask=b"wxyz")], [ANSWER, SERVED])
    yield ("another key than the one sent", "5.3",
           [frame(BINARY, METADATA, wrong_mask=True)], [BAD_DATA], {"note": "unreadable to the application: 1007"})
    yield ("a ping with another key than the one sent", "5.3", [frame(PING, b"\0", mask=b"\1\1\1\1", wrong_mask=True)],
           [Pong(b"\x55"), SERVED])


def handshake_cases():
    version = {"sec-websocket-version": "13"}
    elsewhere = "/robot"  # where no page is
    yield "as it should be", "4.2.2", request(), 101
    yield "octet by octet", "4.2.2", request(), 101, {"octets": True}
    yield ("names and values in another case", "4.2.1",
           request(replace={"Upgrade": "WebSocket", "Connection": "upgrade"}).replace(b"Host", b"hOST"), 101)
    yield "Connection: keep-alive, Upgrade", "4.2.1", request(replace={"Connection": "keep-alive, Upgrade"}), 101
    yield ("any path", "4.2.2",
           request(target="/any/path?x=1"), 404, {"note": "control is given at / alone"})
    yield "the path of observers", "4.2.2", request(target="/observe"), 101
    yield "a subprotocol is offered", "4.2.2", request(extra=["Sec-WebSocket-Protocol: chat, superchat"]), 101
    yield ("compression is offered", "9.1",
           request(extra=["Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"]), 101)
    yield "an unknown extension is offered", "9.1", request(extra=["Sec-WebSocket-Extensions: x-unheard-of; a=1"]), 101
    yield ("from a page of another origin", "10.2",
           request(extra=["Origin: http://elsewhere.example"]), 403)
    yield "from a page of this server", "10.2", request(extra=["Origin: http://127.0.0.1"]), 101
    yield "without Host", "4.2.1", request(without=["Host"]), 400
    yield "without Upgrade", "4.2.1", request(target=elsewhere, without=["Upgrade"]), 426
    yield "without Connection", "4.2.1", request(target=elsewhere, without=["Connection"]), 426
    yield "Upgrade to something else", "4.2.1", request(target=elsewhere, replace={"Upgrade": "h2c"}), 426
    yield "Connection: close", "4.2.1", request(target=elsewhere, replace={"Connection": "close"}), 426
    yield "without a key", "4.2.1", request(without=["Sec-WebSocket-Key"]), 400
    for name, key in (("empty", ""), ("of 15 bytes", "AAAAAAAAAAAAAAAAAAAA"), ("of 17 bytes", "AAAAAAAAAAAAAAAAAAAAAAA="),
                      ("that is not base64", "!!!!!!!!!!!!!!!!!!!!!!=="), ("without its padding", "AAAAAAAAAAAAAAAAAAAAAA"),
                      ("of 1000 bytes", "A" * 1000)):
        yield f"a key {name}", "4.2.1", request(key=key), 400
    yield "two keys", "11.3.1", request(extra=[f"Sec-WebSocket-Key: {handshake_key()}"]), 400
    yield "without a version", "4.2.1", request(without=["Sec-WebSocket-Version"]), 400
    for number in ("0", "8", "12", "14", "255", "x", "13, 8", ""):
        yield f"version '{number}'", "4.4", request(replace={"Sec-WebSocket-Version": number}), 426, {"fields": version}
    yield "two versions", "11.3.5", request(extra=["Sec-WebSocket-Version: 8"]), 400
    yield "two hosts", "4.2.1", request(extra=["Host: elsewhere.example"]), 400
    for method in ("POST", "PUT", "HEAD", "OPTIONS"):
        yield f"method {method}", "4.2.1", request(target=elsewhere, method=method), 426
    yield "HTTP/1.0", "4.2.1", request(target=elsewhere, version="HTTP/1.0"), 426
    yield "plain HTTP", "4.2.1", b"GET /robot HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 426
    yield "plain HTTP for the live page", "4.2.1", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 200
    yield "another method for the live page", "4.2.1", b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 405
    yield "a request that is too large", "10.7", request(extra=["Cookie: " + "x" * 20000]), 431
    yield "no HTTP at all", "10.7", b"\x17\x03\x01\x02\x00\x01\x00\r\n\r\n", 400
    yield ("the beginning of a TLS handshake", "10.7", b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400,
           {"note": "told that this port speaks no TLS"})
    yield ("a frame before the answer", "4.1",
           request() + frame(BINARY, METADATA), 400, {"note": "the client must wait for the answer"})


GROUPS = {"framing": framing, "pings": pings, "reserved_bits": reserved_bits, "opcodes": opcodes,
          "fragmentation": fragmentation, "utf8": utf8, "closing": closing, "limits": limits, "masking": masking}


def cases_of(group):
    if group == "handshake":
        for name, rfc, sent, status, *more in handshake_cases():
            yield Handshake(group, name, rfc, sent, status, **(more[0] if more else {}))
        return
    for name, rfc, sends, expects, *more in GROUPS[group]():
        yield Case(group, name, rfc, sends, expects, **(more[0] if more else {}))


ALL_GROUPS = [*GROUPS, "handshake"]
