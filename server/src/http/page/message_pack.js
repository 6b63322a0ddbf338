// SPDX-License-Identifier: Apache-2.0
// MessagePack and the frames of the wire protocol, read and written. Knows nothing of the page: tests/page/decoder_test.js runs it in node.
//
// Every read checks that the bytes are there: DataView throws a RangeError where they are not.

class MessagePackReader {
  constructor(buffer, begin, end) {
    if (begin < 0 || end < begin || end > buffer.byteLength) throw new RangeError('the header is longer than the message');
    this.view = new DataView(buffer, begin, end - begin);
    this.at = 0;
  }
  take(bytes) {
    const begin = this.at;
    if (bytes > this.view.byteLength - begin) throw new RangeError('the header ends in the middle of a value');
    this.at += bytes;
    return begin;
  }
  unsigned(bytes) {
    const at = this.take(bytes);
    if (bytes === 1) return this.view.getUint8(at);
    if (bytes === 2) return this.view.getUint16(at);
    if (bytes === 4) return this.view.getUint32(at);
    return exact(this.view.getBigUint64(at));
  }
  signed(bytes) {
    const at = this.take(bytes);
    if (bytes === 1) return this.view.getInt8(at);
    if (bytes === 2) return this.view.getInt16(at);
    if (bytes === 4) return this.view.getInt32(at);
    return exact(this.view.getBigInt64(at));
  }
  bytes(count) {
    const at = this.take(count);
    return new Uint8Array(this.view.buffer, this.view.byteOffset + at, count);
  }
  text(count) { return MessagePackReader.utf8.decode(this.bytes(count)); }
  array(count, depth) {
    if (count > this.view.byteLength - this.at) throw new RangeError('an array is longer than the header');
    const values = [];
    for (let i = 0; i < count; ++i) values.push(this.value(depth + 1));
    return values;
  }
  map(count, depth) {
    if (2 * count > this.view.byteLength - this.at) throw new RangeError('a map is longer than the header');
    const values = new Map();
    for (let i = 0; i < count; ++i) {
      const key = this.value(depth + 1);
      values.set(key, this.value(depth + 1));
    }
    return values;
  }
  extension(count) {
    const type = this.signed(1);
    this.take(count);
    return `(extension ${type}, ${count} bytes)`;
  }
  value(depth = 0) {
    if (depth > 32) throw new RangeError('values are nested too deeply');
    const kind = this.unsigned(1);
    if (kind < 0x80) return kind;
    if (kind < 0x90) return this.map(kind & 15, depth);
    if (kind < 0xa0) return this.array(kind & 15, depth);
    if (kind < 0xc0) return this.text(kind & 31);
    if (kind >= 0xe0) return kind - 256;
    switch (kind) {
      case 0xc0: return null;
      case 0xc2: return false;
      case 0xc3: return true;
      case 0xc4: case 0xc5: case 0xc6: return this.bytes(this.unsigned(1 << (kind - 0xc4)));
      case 0xc7: case 0xc8: case 0xc9: return this.extension(this.unsigned(1 << (kind - 0xc7)));
      case 0xca: return this.view.getFloat32(this.take(4));
      case 0xcb: return this.view.getFloat64(this.take(8));
      case 0xcc: case 0xcd: case 0xce: case 0xcf: return this.unsigned(1 << (kind - 0xcc));
      case 0xd0: case 0xd1: case 0xd2: case 0xd3: return this.signed(1 << (kind - 0xd0));
      case 0xd4: case 0xd5: case 0xd6: case 0xd7: case 0xd8: return this.extension(1 << (kind - 0xd4));
      case 0xd9: case 0xda: case 0xdb: return this.text(this.unsigned(1 << (kind - 0xd9)));
      case 0xdc: case 0xdd: return this.array(this.unsigned(kind === 0xdc ? 2 : 4), depth);
      case 0xde: case 0xdf: return this.map(this.unsigned(kind === 0xde ? 2 : 4), depth);
      default: throw new RangeError('0xc1 is no MessagePack');
    }
  }
}
MessagePackReader.utf8 = new TextDecoder();

function exact(big) {
  const number = Number(big);
  return Number.isSafeInteger(number) ? number : big;
}

// A frame: length of the header, header, payload.
function decodeFrame(buffer) {
  if (buffer.byteLength < 4) throw new RangeError('the message is shorter than a header');
  const end = 4 + new DataView(buffer).getUint32(0, true);
  const header = new MessagePackReader(buffer, 4, end).value();
  if (!(header instanceof Map)) throw new RangeError('the header is no map');
  return {header, buffer, payload: end, bytes: buffer.byteLength};
}

// Texts, whole numbers from 0 to 65535, arrays, and maps: what the page has to say.
function pack(value) {
  const large = (small, most, kind, size) => size <= most ? [small | size] : [kind, size >> 8, size & 255];
  if (typeof value === 'number' && Number.isInteger(value) && value >= 0 && value < 65536) return large(0, 127, 0xcd, value);
  if (typeof value === 'string') {
    const text = new TextEncoder().encode(value);
    if (text.length < 65536) return [...large(0xa0, 31, 0xda, text.length), ...text];
  }
  if (Array.isArray(value) && value.length < 65536) return [...large(0x90, 15, 0xdc, value.length), ...value.flatMap(pack)];
  if (value instanceof Map && value.size < 65536)
    return [...large(0x80, 15, 0xde, value.size), ...[...value].flat(1).flatMap(pack)];
  throw new RangeError(`this cannot be sent: ${value}`);
}

function encodeFrame(header) {
  const packed = pack(header), frame = new Uint8Array(4 + packed.length);
  new DataView(frame.buffer).setUint32(0, packed.length, true);
  frame.set(packed, 4);
  return frame;
}

function slice(frame, offset, size) {
  if (!Number.isSafeInteger(offset) || !Number.isSafeInteger(size) || offset < 0 || size < 0 ||
      offset + size > frame.bytes - frame.payload)
    throw new RangeError('its bytes are outside of the message');
  return new Uint8Array(frame.buffer, frame.payload + offset, size);
}

function floats(bytes) {  // the payload follows a header of any length, so they may lie anywhere
  if (bytes.byteLength % 4) throw new RangeError('its bytes are no whole number of floats');
  const at = bytes.byteOffset % 4 ? bytes.slice() : bytes;
  return new Float32Array(at.buffer, at.byteOffset, at.byteLength / 4);
}

// Elements of a type that numpy names, as an array of numbers. Those of 64 bits are rounded.
function numbers(bytes, dtype) {
  const Elements = {bool: Uint8Array, uint8: Uint8Array, int8: Int8Array, uint16: Uint16Array, int16: Int16Array,
                    uint32: Uint32Array, int32: Int32Array, uint64: BigUint64Array, int64: BigInt64Array,
                    float16: Uint16Array, float32: Float32Array, float64: Float64Array}[dtype];
  if (!Elements) throw new RangeError(`its elements are of type ${dtype}, which is unknown`);
  const size = Elements.BYTES_PER_ELEMENT;
  if (bytes.byteLength % size) throw new RangeError(`its bytes are no whole number of ${dtype}`);
  const at = bytes.byteOffset % size ? bytes.slice() : bytes;
  const values = new Elements(at.buffer, at.byteOffset, at.byteLength / size);
  if (dtype === 'bool') return Float32Array.from(values);
  if (dtype === 'float16') return Float32Array.from(values, halfValue);
  return size === 8 && dtype !== 'float64' ? Float64Array.from(values, Number) : values;
}

function halfValue(bits) {  // IEEE 754 binary16
  const sign = bits & 0x8000 ? -1 : 1, exponent = bits >> 10 & 31, fraction = bits & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent ? (1 + fraction / 1024) * 2 ** (exponent - 15) : fraction * 2 ** -24);
}

function number(value) { return typeof value === 'bigint' ? Number(value) : typeof value === 'number' ? value : NaN; }
