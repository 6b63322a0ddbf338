// SPDX-License-Identifier: Apache-2.0
// What the page asks for: pictures no larger than they are shown, as JPEG, and depth as PNG. Of what a robot has, the first
// observation tells, which is asked for as a whole.

const SMALL = 320;  // pixels of the longer side

function smallSize([height, width]) {
  const scale = Math.min(1, SMALL / Math.max(height, width));
  return [Math.max(1, Math.round(height * scale)), Math.max(1, Math.round(width * scale))];
}

// Of the cameras in the header of a whole observation.
function wantOf(cameras) {
  const wishes = new Map();
  for (const camera of cameras) {
    const shape = camera.get('image_shape'), channels = shape.length === 3 ? shape[2] : 1;
    wishes.set(camera.get('name'), new Map([
      ['size', smallSize(shape)], ['image', channels === 1 || channels === 3 ? 'jpeg' : 'raw'], ['quality', 80],
      ['depth', 'millimetres_png'],
    ]));
  }
  return new Map([['cameras', wishes]]);
}

// The elements of an image, or a picture that the browser has decoded.
async function pictureOf(bytes, fields, [height, width]) {
  const encoding = fields.get('image_encoding') ?? 'raw';
  if (encoding === 'raw') return numbers(bytes, fields.get('image_dtype'));
  if (encoding !== 'jpeg' && encoding !== 'png') throw new RangeError(`it came as ${inWords(encoding)}`);
  const bitmap = await createImageBitmap(new Blob([bytes], {type: 'image/' + encoding}), {colorSpaceConversion: 'none'});
  if (bitmap.width === width && bitmap.height === height) return bitmap;
  bitmap.close();
  throw new RangeError(`it is no picture of ${width} × ${height}`);
}

async function depthOf(bytes, fields, [height, width]) {
  const encoding = fields.get('depth_encoding') ?? 'raw';
  if (encoding === 'raw') return numbers(bytes, fields.get('depth_dtype'));
  if (encoding === 'millimetres_png') return metresOfPng(bytes, height, width);
  throw new RangeError(`depth came as ${inWords(encoding)}`);
}
