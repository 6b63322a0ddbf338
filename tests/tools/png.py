# SPDX-License-Identifier: Apache-2.0
"""Decodes the PNG files that chiral-probe writes, by the specification (W3C PNG, second edition) and not with libpng."""
import struct
import zlib

import numpy

_CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}  # by colour type


def read(path):
    """The pixels as an array [H, W, C] of uint8 or uint16."""
    with open(path, "rb") as file:
        data = file.read()
    assert data[:8] == b"\x89PNG\r\n\x1a\n", "signature"
    position, chunks = 8, []
    while position < len(data):
        (length,) = struct.unpack_from(">I", data, position)
        kind = data[position + 4:position + 8]
        body = data[position + 8:position + 8 + length]
        (checksum,) = struct.unpack_from(">I", data, position + 8 + length)
        assert checksum == zlib.crc32(kind + body), f"checksum of {kind}"
        chunks.append((kind, body))
        position += 12 + length
    assert chunks[0][0] == b"IHDR" and chunks[-1][0] == b"IEND"
    width, height, depth, colour, _, _, interlace = struct.unpack(">IIBBBBB", chunks[0][1])
    assert depth in (8, 16) and interlace == 0
    channels = _CHANNELS[colour]
    stride = channels * depth // 8
    raw = zlib.decompress(b"".join(body for kind, body in chunks if kind == b"IDAT"))
    row_bytes = width * stride
    assert len(raw) == height * (1 + row_bytes)

    rows = numpy.zeros((height, row_bytes), numpy.uint8)
    above = [0] * row_bytes
    for y in range(height):
        start = y * (1 + row_bytes)
        kind, line = raw[start], bytearray(raw[start + 1:start + 1 + row_bytes])
        _unfilter(kind, line, above, stride)
        rows[y] = line
        above = line
    if depth == 16:
        return rows.reshape(height, width, channels, 2).view(">u2")[..., 0].astype(numpy.uint16)
    return rows.reshape(height, width, channels)


def _unfilter(kind, line, above, stride):
    for i in range(len(line)):
        left = line[i - stride] if i >= stride else 0
        up = above[i]
        corner = above[i - stride] if i >= stride else 0
        if kind == 0:
            return
        if kind == 1:
            add = left
        elif kind == 2:
            add = up
        elif kind == 3:
            add = (left + up) // 2
        else:
            assert kind == 4
            estimate = left + up - corner
            add = min((abs(estimate - left), 0, left), (abs(estimate - up), 1, up), (abs(estimate - corner), 2, corner))[2]
        line[i] = (line[i] + add) & 0xff
