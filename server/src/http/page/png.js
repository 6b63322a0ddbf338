// SPDX-License-Identifier: Apache-2.0
// Depth as 16-bit greyscale PNG (https://www.w3.org/TR/png-3/), in metres. Browsers would make eight bits of it. Knows nothing of
// the page: tests/page/decoder_test.js runs it in node.

const PNG_SIGNATURE = [137, 80, 78, 71, 13, 10, 26, 10];

// The compressed pixels, and what stands before them.
function readPng(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (!PNG_SIGNATURE.every((byte, i) => view.getUint8(i) === byte)) throw new RangeError('this is no PNG');
  const parts = [];
  let header = null;
  for (let at = 8;;) {
    const size = view.getUint32(at), type = view.getUint32(at + 4), data = at + 8;
    if (size > bytes.length - data) throw new RangeError('the PNG ends in the middle of a chunk');
    if (type === 0x49484452)  // IHDR
      header = {width: view.getUint32(data), height: view.getUint32(data + 4), bits: view.getUint8(data + 8),
                colours: view.getUint8(data + 9), interlaced: view.getUint8(data + 12)};
    else if (type === 0x49444154) parts.push(bytes.subarray(data, data + size));  // IDAT
    else if (type === 0x49454e44) break;  // IEND
    at = data + size + 4;
  }
  return {header, parts};
}

// No more than `size` bytes: a few bytes of a stream may hold any number.
async function inflate(parts, size) {
  const whole = new Uint8Array(size);
  const reader = new Blob(parts).stream().pipeThrough(new DecompressionStream('deflate')).getReader();
  let filled = 0;
  for (;;) {
    const {done, value} = await reader.read();
    if (done) break;
    if (value.length > size - filled) {
      await reader.cancel();
      throw new RangeError('the PNG holds more than its size says');
    }
    whole.set(value, filled);
    filled += value.length;
  }
  if (filled !== size) throw new RangeError('the PNG holds less than its size says');
  return whole;
}

function paeth(left, up, corner) {
  const guess = left + up - corner, a = Math.abs(guess - left), b = Math.abs(guess - up), c = Math.abs(guess - corner);
  return a <= b && a <= c ? left : b <= c ? up : corner;
}

// Takes back what the encoder has subtracted from each byte, row by row: the byte before each row says what that was.
function unfilter(rows, height, stride) {
  const step = 2, pixels = new Uint8Array(height * stride);  // bytes of a pixel
  for (let y = 0; y < height; ++y) {
    const filter = rows[y * (stride + 1)], from = y * (stride + 1) + 1, to = y * stride;
    if (filter > 4) throw new RangeError(`row ${y} of the PNG has filter ${filter}`);
    for (let x = 0; x < stride; ++x) {
      const left = x < step ? 0 : pixels[to + x - step], up = y === 0 ? 0 : pixels[to + x - stride];
      const corner = x < step || y === 0 ? 0 : pixels[to + x - stride - step];
      const guess = [0, left, up, left + up >> 1, filter === 4 ? paeth(left, up, corner) : 0][filter];
      pixels[to + x] = rows[from + x] + guess;
    }
  }
  return pixels;
}

async function metresOfPng(bytes, height, width) {
  const {header, parts} = readPng(bytes);
  if (!header || header.width !== width || header.height !== height || header.bits !== 16 || header.colours !== 0 ||
      header.interlaced !== 0)
    throw new RangeError(`depth is no PNG of ${width} × ${height} grey pixels of 16 bits`);
  const pixels = unfilter(await inflate(parts, height * (2 * width + 1)), height, 2 * width);
  const metres = new Float32Array(height * width);
  for (let i = 0; i < metres.length; ++i) metres[i] = (pixels[2 * i] << 8 | pixels[2 * i + 1]) / 1000;
  return metres;
}
