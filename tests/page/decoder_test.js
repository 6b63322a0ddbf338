// SPDX-License-Identifier: Apache-2.0
// The live page's reading and writing on golden vectors and on what node's own libraries make, in node:
//     decoder_test.js PAGE_FOLDER VECTORS
'use strict';
const assert = require('node:assert/strict');
const fs = require('node:fs');
const path = require('node:path');
const vm = require('node:vm');
const zlib = require('node:zlib');

const [page, vectors] = process.argv.slice(2);
const scripts = ['message_pack.js', 'png.js'].map(name => fs.readFileSync(path.join(page, name), 'utf8')).join('\n');
const names = '({MessagePackReader, decodeFrame, encodeFrame, slice, floats, numbers, number, metresOfPng})';
const {MessagePackReader, decodeFrame, encodeFrame, slice, floats, numbers, number, metresOfPng} =
    vm.runInThisContext(`'use strict';\n${scripts}\n${names}`, {filename: 'page.js'});
const manifest = JSON.parse(fs.readFileSync(path.join(vectors, 'manifest.json'), 'utf8'));

function bytesOf(name) {
  const file = fs.readFileSync(path.join(vectors, name + '.bin'));
  return file.buffer.slice(file.byteOffset, file.byteOffset + file.byteLength);
}
// Maps as the objects that the manifest has.
function plain(value) {
  if (value instanceof Map) return Object.fromEntries([...value].map(([key, each]) => [key, plain(each)]));
  return Array.isArray(value) ? value.map(plain) : value;
}
// Elements of every type, at an odd place of the message.
{
  const cases = {
    bool: [[0, 1], [0, 1]], uint8: [[1, 255], [1, 255]], int8: [[1, 255], [1, -1]],
    uint16: [[0x34, 0x12, 0xff, 0xff], [0x1234, 65535]], int16: [[0xff, 0xff], [-1]],
    uint32: [[0, 0, 0, 0x80], [2 ** 31]], int32: [[0, 0, 0, 0x80], [-(2 ** 31)]],
    uint64: [[1, 0, 0, 0, 1, 0, 0, 0], [2 ** 32 + 1]], int64: [[254, 255, 255, 255, 255, 255, 255, 255], [-2]],
    float16: [[0, 0x3c, 0, 0xc0, 1, 0, 0, 0x7c], [1, -2, 2 ** -24, Infinity]],
    float32: [[0, 0, 0xc0, 0x3f], [1.5]], float64: [[0, 0, 0, 0, 0, 0, 0xf8, 0x3f], [1.5]],
  };
  for (const [dtype, [bytes, values]] of Object.entries(cases)) {
    const message = Uint8Array.from([9, ...bytes]);
    assert.deepEqual([...numbers(message.subarray(1), dtype)], values, dtype);
  }
  assert.throws(() => numbers(new Uint8Array(3), 'uint16'), /no whole number of uint16/);
  assert.throws(() => numbers(new Uint8Array(8), 'object'), /which is unknown/);
}

const hex = bytes => Buffer.from(bytes).toString('hex');

// What the manifest gives in hexadecimal, or says in words.
function imageOf(camera) {
  if (camera.image !== 'bytes 0..71') return camera.image_hex;
  return hex(Uint8Array.from({length: 72}, (_, i) => i));
}
function depthOf(camera) {
  if (camera.depth !== 'float32 0,0.5,..11.5') return camera.depth_hex;
  return hex(new Uint8Array(Float32Array.from({length: 24}, (_, i) => i / 2).buffer));
}

function checkObservation(name, frame, expected) {
  const header = frame.header;
  assert.equal(header.get('timestamp'), expected.timestamp, name);
  const cameras = header.get('cameras');
  assert.equal(cameras.length, expected.cameras.length, name);
  expected.cameras.forEach((camera, i) => {
    for (const field of ['name', 'timestamp', 'intrinsics', 'extrinsics', 'image_shape'])
      assert.deepEqual(cameras[i].get(field), camera[field], `${name}: ${field} of ${camera.name}`);
    const image = slice(frame, cameras[i].get('image_offset'), cameras[i].get('image_size'));
    assert.equal(hex(image), imageOf(camera), `${name}: pixels of ${camera.name}`);
    if (camera.depth_shape === null) return assert.ok(!cameras[i].has('depth_shape'), `${name}: no depth`);
    assert.deepEqual(cameras[i].get('depth_shape'), camera.depth_shape);
    const depth = slice(frame, cameras[i].get('depth_offset'), cameras[i].get('depth_size'));
    assert.equal(hex(depth), depthOf(camera), `${name}: depths of ${camera.name}`);
    assert.equal(floats(depth)[1], Buffer.from(depthOf(camera), 'hex').readFloatLE(4));
  });
  const streams = header.get('proprios');
  assert.equal(streams.length, Object.keys(expected.proprios).length, name);
  for (const stream of streams) {
    const values = floats(slice(frame, stream.get('offset'), stream.get('size')));
    assert.deepEqual([...values], expected.proprios[stream.get('name')], `${name}: ${stream.get('name')}`);
  }
}

let observations = 0;
for (const [name, expected] of Object.entries(manifest)) {
  const frame = decodeFrame(bytesOf(name));
  assert.equal(frame.bytes, expected.bytes, name);
  assert.equal(frame.payload, 4 + expected.header_len, name);
  if (expected.data && !Array.isArray(expected.data))
    assert.deepEqual(plain(frame.header.get('data')), expected.data, name);
  if (expected.info) assert.deepEqual(plain(frame.header.get('info')), expected.info, name);
  if (typeof expected.observation !== 'object') continue;
  checkObservation(name, frame, expected.observation);
  ++observations;
}
assert.ok(observations >= 4, `the manifest has only ${observations} observations`);

// Whatever is cut off is said to be missing, and nothing outside of the message is read.
const whole = bytesOf('server_obs_response');
const headerEnd = decodeFrame(whole).payload;
for (let length = 0; length < headerEnd; ++length)
  assert.throws(() => decodeFrame(whole.slice(0, length)), RangeError, `the first ${length} bytes`);
const cut = decodeFrame(whole.slice(0, headerEnd + 10));
assert.throws(() => slice(cut, 0, 11), RangeError);
assert.throws(() => slice(cut, -1, 1), RangeError);
assert.equal(slice(cut, 0, 10).length, 10);

// Every kind of value (https://github.com/msgpack/msgpack/blob/master/spec.md), at its limits.
const value = (...bytes) => new MessagePackReader(new Uint8Array(bytes).buffer, 0, bytes.length).value();
for (const [expected, ...bytes] of [
  [0, 0x00], [127, 0x7f], [-1, 0xff], [-32, 0xe0], [255, 0xcc, 255], [65535, 0xcd, 255, 255],
  [4294967295, 0xce, 255, 255, 255, 255], [-128, 0xd0, 0x80], [-32768, 0xd1, 0x80, 0], [-2147483648, 0xd2, 0x80, 0, 0, 0],
  [2n ** 64n - 1n, 0xcf, 255, 255, 255, 255, 255, 255, 255, 255], [-(2n ** 63n), 0xd3, 0x80, 0, 0, 0, 0, 0, 0, 0],
  [1.5, 0xca, 0x3f, 0xc0, 0, 0], [-2, 0xcb, 0xc0, 0, 0, 0, 0, 0, 0, 0], [null, 0xc0], [false, 0xc2], [true, 0xc3],
  ['', 0xa0], ['\u00e4', 0xa2, 0xc3, 0xa4], ['ab', 0xd9, 2, 0x61, 0x62], ['ab', 0xda, 0, 2, 0x61, 0x62],
]) assert.deepEqual(value(...bytes), expected, bytes.join(' '));
assert.deepEqual([...value(0xc4, 2, 1, 2)], [1, 2]);
assert.deepEqual(value(0xdc, 0, 2, 1, 0x91, 2), [1, [2]]);
assert.deepEqual(plain(value(0xde, 0, 1, 0xa1, 0x61, 0x81, 0xa1, 0x62, 3)), {a: {b: 3}});
assert.match(value(0xd4, 5, 0), /extension 5/);
for (const bytes of [[0xc1], [0xa2, 0x61], [0xdd, 255, 255, 255, 255], [0xdf, 255, 255, 255, 255], [0xc6, 255, 255, 255, 255],
                     Array(40).fill(0x91)])
  assert.throws(() => value(...bytes), RangeError, bytes.join(' '));

// What the page says is read as it was meant, the request as the client of the vectors writes it.
assert.equal(hex(encodeFrame(new Map([['type', 'obs_request']]))), hex(new Uint8Array(bytesOf('client_obs_request'))));
const said = new Map([['text', '\u00e4'.repeat(40)], ['__proto__', [0, 127, 128, 65535, Array(20).fill(1), new Map()]],
                      ...Array.from({length: 20}, (_, i) => [`key ${i}`, i])]);
assert.deepEqual(decodeFrame(encodeFrame(said).buffer).header, said);
for (const bad of [-1, 65536, 0.5, null, {}]) assert.throws(() => encodeFrame(new Map([['key', bad]])), RangeError);

// A PNG of 16-bit grey pixels, each row with the filter that is given.
function pngOf(width, height, filters, {bits = 16, colours = 0, rows = height} = {}) {
  const chunk = (type, data) => {
    const head = Buffer.alloc(8);
    head.writeUInt32BE(data.length);
    head.write(type, 4, 'latin1');
    return Buffer.concat([head, data, Buffer.alloc(4)]);  // the checksum is not looked at
  };
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width);
  header.writeUInt32BE(height, 4);
  header.set([bits, colours], 8);
  const stride = 2 * width, raw = Buffer.alloc(height * stride), filtered = Buffer.alloc(rows * (stride + 1));
  for (let i = 0; i < width * height; ++i) raw.writeUInt16BE((i * 977 + 513) % 65536, 2 * i);
  for (let y = 0; y < rows; ++y) {
    const kind = filters[y % filters.length];
    filtered[y * (stride + 1)] = kind;
    for (let x = 0; x < stride; ++x) {
      const at = (dx, dy) => x < dx || y < dy ? 0 : raw[(y - dy) * stride + x - dx];
      const [a, b, c] = [at(2, 0), at(0, 1), x < 2 || y < 1 ? 0 : at(2, 1)], p = a + b - c;
      const nearest = [a, b, c].sort((m, n) => Math.abs(p - m) - Math.abs(p - n))[0];  // stable: a before b before c
      filtered[y * (stride + 1) + 1 + x] = (y < height ? raw[y * stride + x] : 0) - [0, a, b, a + b >> 1, nearest][kind];
    }
  }
  const pixels = zlib.deflateSync(filtered), half = pixels.length >> 1;
  return Buffer.concat([Buffer.from([137, 80, 78, 71, 13, 10, 26, 10]), chunk('IHDR', header), chunk('teXt', Buffer.from('x')),
                        chunk('IDAT', pixels.subarray(0, half)), chunk('IDAT', pixels.subarray(half)),
                        chunk('IEND', Buffer.alloc(0))]);
}

async function checkPng() {
  const metres = await metresOfPng(pngOf(7, 11, [0, 1, 2, 3, 4]), 11, 7);
  assert.deepEqual([...metres], Array.from({length: 77}, (_, i) => Math.fround((i * 977 + 513) % 65536 / 1000)));
  const whole = pngOf(4, 4, [1]);
  for (const [png, height, width] of [
    [whole, 4, 5], [whole, 5, 4], [pngOf(4, 4, [1], {bits: 8}), 4, 4], [pngOf(4, 4, [1], {colours: 2}), 4, 4],
    [pngOf(4, 4, [1], {rows: 3}), 4, 4], [pngOf(4, 4, [1], {rows: 5}), 4, 4], [Buffer.alloc(40), 4, 4],
  ]) await assert.rejects(metresOfPng(png, height, width), RangeError);
  for (let length = 0; length < whole.length - 12; ++length)
    await assert.rejects(metresOfPng(whole.subarray(0, length), 4, 4), undefined, `the first ${length} bytes`);
}

checkPng().then(() => console.log(`${Object.keys(manifest).length} vectors decoded`));
