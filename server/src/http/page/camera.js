// SPDX-License-Identifier: Apache-2.0
// A camera: its picture and its depth, drawn pixel by pixel where they come so.

// Near is bright, far is dark; lightness falls all the way, so that it can be read without colours, too.
const DEPTH_COLOURS = (() => {
  const stops = [[255, 248, 205], [255, 202, 96], [244, 126, 70], [203, 68, 104], [121, 50, 140], [56, 40, 120],
                 [20, 18, 58]];
  const colours = new Uint32Array(256);
  for (let i = 0; i < 256; ++i) {
    const place = i / 255 * (stops.length - 1), low = Math.min(Math.floor(place), stops.length - 2), part = place - low;
    const [r, g, b] = stops[low].map((from, c) => Math.round(from + (stops[low + 1][c] - from) * part));
    colours[i] = (255 << 24 | b << 16 | g << 8 | r) >>> 0;
  }
  return colours;
})();

class Picture {
  constructor(title, width, what) {
    this.figure = element('figure');
    this.canvas = element('canvas', width < 200 ? 'coarse' : '');
    this.canvas.dataset.picture = what;
    this.canvas.setAttribute('role', 'img');
    this.canvas.setAttribute('aria-label', title);
    this.context = this.canvas.getContext('2d', {willReadFrequently: true});  // in memory: it is filled pixel by pixel
    this.figure.append(this.canvas);
    this.drawn = 0;
    inView.observe(this.canvas);
  }
  // What nobody can see is drawn once only.
  get wanted() { return this.drawn === 0 || this.canvas.visible !== false; }
  // The pixels to be filled, of a picture of this size.
  resize([height, width]) {
    if (!this.image || this.image.width !== width || this.image.height !== height) {
      this.canvas.width = width;
      this.canvas.height = height;
      this.image = this.context.createImageData(width, height);
      this.pixels = new Uint32Array(this.image.data.buffer);
    }
    return this.pixels;
  }
  show(bitmap) {
    if (bitmap) this.context.drawImage(bitmap, 0, 0);
    else this.context.putImageData(this.image, 0, 0);
    this.canvas.dataset.drawn = ++this.drawn;
  }
}
const inView = new IntersectionObserver(entries => {
  for (const entry of entries) entry.target.visible = entry.isIntersecting;
}, {rootMargin: '100px'});

// Metres that one unit of a depth map stands for; NaN where nobody says.
function depthUnit(fields) {
  const unit = number(fields.get('depth_unit'));
  return unit > 0 ? unit : String(fields.get('depth_dtype')).startsWith('float') ? 1 : NaN;
}

class Camera extends Source {
  constructor(fields) {
    const shape = fields.get('image_shape');
    super(String(fields.get('name')), 'camera', shape.join(' × ') + (fields.has('depth_shape') ? ' + depth' : ''));
    const [height, width] = shape;
    this.channels = shape.length === 3 ? shape[2] : 1;
    this.pictures = element('div', 'pictures');
    this.picture = new Picture('picture of ' + this.name, width, 'image');
    this.picture.figure.append(element('figcaption', '', `${width} × ${height}, ` +
        ({1: 'grey', 3: 'RGB', 4: 'RGBA, alpha not shown'}[this.channels] || `${this.channels} channels`) +
        (fields.get('image_dtype') === 'uint8' ? '' : `, ${fields.get('image_dtype')}, the brightest is white`)));
    this.pictures.append(this.picture.figure);
    if (fields.has('depth_shape')) {
      this.depth = new Picture('depth of ' + this.name, fields.get('depth_shape')[1], 'depth');
      const bar = element('canvas', 'bar'), scale = element('div', 'scale');
      bar.width = 256;
      bar.height = 1;
      const context = bar.getContext('2d'), image = context.createImageData(256, 1);
      new Uint32Array(image.data.buffer).set(DEPTH_COLOURS);
      context.putImageData(image, 0, 0);
      this.from = element('span');
      this.to = element('span');
      scale.append(this.from, element('span', '', 'depth; blank: none'), this.to);
      this.depth.figure.append(bar, scale);
      this.pictures.append(this.depth.figure);
    }
    this.fault = element('p', 'fault');
    this.matrices = element('details');
    this.matrixText = element('pre');
    this.matrices.append(
        element('summary', '', 'Camera matrix K of the picture as it is shown, and pose T (camera to world, metres)'), this.matrixText);
    this.card.append(this.pictures, this.fault, this.matrices);
  }
  async draw(fields, frame, now) {
    const first = this.picture.drawn === 0;
    const fresh = this.note(fields, now);
    this.fields = fields;
    try {
      // Depth, image and pose are published together or one by one: a new image is not the only reason to draw.
      if (this.picture.wanted && (fresh || first)) {
        const shape = fields.get('image_shape'), bytes = slice(frame, fields.get('image_offset'), fields.get('image_size'));
        checkShape(shape, 'the image');
        const picture = await pictureOf(bytes, fields, shape);
        this.drawImage(picture instanceof ImageBitmap ? picture : this.eightBits(picture), shape);
      }
      if (this.depth && this.depth.wanted) {
        const shape = fields.get('depth_shape'), bytes = slice(frame, fields.get('depth_offset'), fields.get('depth_size'));
        checkShape(shape, 'depth');
        this.unit = depthUnit(fields);
        this.drawDepth(await depthOf(bytes, fields, shape), this.unit > 0 ? this.unit : 1, shape);
      }
      setText(this.fault, '');
    } catch (error) {
      setText(this.fault, 'This cannot be shown: ' + error.message);
    }
  }
  // Other types have no brightness that is white: the brightest of some of them, which is followed gently.
  eightBits(values) {
    if (values instanceof Uint8Array) return values;
    let brightest = 0;
    const step = Math.max(1, Math.floor(values.length / 4001));
    for (let i = step >> 1; i < values.length; i += step)
      if (values[i] > brightest && values[i] < Infinity) brightest = values[i];
    this.white = this.white ? this.white + 0.1 * (brightest - this.white) : brightest;
    const scale = this.white > 0 ? 255 / this.white : 0;
    return Uint8ClampedArray.from(values, value => value * scale);
  }
  drawImage(bytes, shape) {
    const pixels = this.picture.resize(shape), count = pixels.length;
    if (bytes instanceof ImageBitmap) {
      this.picture.show(bytes);
      return bytes.close();
    }
    if (bytes.length !== count * this.channels)
      throw new RangeError(`the image has ${bytes.length} bytes, expected ${count * this.channels}`);
    if (this.channels === 3) {
      for (let i = 0, k = 0; i < count; ++i, k += 3)
        pixels[i] = 0xff000000 | bytes[k + 2] << 16 | bytes[k + 1] << 8 | bytes[k];
    } else if (this.channels === 4) {
      for (let i = 0, k = 0; i < count; ++i, k += 4)
        pixels[i] = 0xff000000 | bytes[k + 2] << 16 | bytes[k + 1] << 8 | bytes[k];
    } else if (this.channels === 1) {
      for (let i = 0; i < count; ++i) pixels[i] = 0xff000000 | bytes[i] * 0x010101;
    } else {
      throw new RangeError(`${this.channels} channels, expected 1, 3 or 4`);
    }
    this.picture.show();
  }
  drawDepth(values, unit, shape) {
    const pixels = this.depth.resize(shape), count = pixels.length;
    if (values.length !== count) throw new RangeError(`depth has ${values.length} values, expected ${count}`);
    const metres = unit === 1 ? values : Float32Array.from(values, value => value * unit);
    const [from, to] = byId('range').value === 'fixed' ? fixedRange() : this.rangeOf(metres);
    const scale = 255 / Math.max(to - from, 1e-6);
    for (let i = 0; i < count; ++i) {
      const depth = metres[i];
      if (!(depth > 0 && depth < Infinity)) pixels[i] = 0;
      else {
        const place = (depth - from) * scale;
        pixels[i] = DEPTH_COLOURS[place < 0 ? 0 : place > 255 ? 255 : place | 0];
      }
    }
    this.limits = [from, to];
    this.depth.show();
  }
  // Of a few thousand pixels, without the outermost hundredths. Follows what it sees gently, so that colours do not flicker.
  rangeOf(metres) {
    const some = [], step = Math.max(1, Math.floor(metres.length / 4001));
    for (let i = step >> 1; i < metres.length; i += step) if (metres[i] > 0 && metres[i] < Infinity) some.push(metres[i]);
    if (some.length > 0) {
      const sorted = Float32Array.from(some).sort(), at = part => sorted[Math.round(part * (sorted.length - 1))];
      const seen = [at(0.01), at(0.99)];
      this.range = this.range ? this.range.map((old, i) => old + 0.1 * (seen[i] - old)) : seen;
    }
    return this.range || [0, 1];
  }
  showFigures() {
    super.showFigures();
    if (this.limits) {
      const unit = this.unit > 0 ? ' m' : '';  // else it is nobody knows what
      setText(this.from, fixed(this.limits[0], 2) + unit);
      setText(this.to, fixed(this.limits[1], 2) + unit);
    }
    if (this.matrices.open && this.fields)
      setText(this.matrixText,
              `K\n${rows(this.fields.get('intrinsics'), 3)}\n\nT\n${rows(this.fields.get('extrinsics'), 4)}`);
  }
}

function rows(values, columns) {
  if (!Array.isArray(values)) return '–';
  const lines = [];
  for (let i = 0; i < values.length; i += columns)
    lines.push(values.slice(i, i + columns).map(value => fixed(number(value), 4).padStart(10)).join(' '));
  return lines.join('\n');
}

function fixedRange() {
  const from = byId('nearest').valueAsNumber, to = byId('farthest').valueAsNumber;
  return [Number.isFinite(from) ? from : 0, Number.isFinite(to) ? to : 5];
}
