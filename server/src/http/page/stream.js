// SPDX-License-Identifier: Apache-2.0
// A proprio stream: its values over the last seconds, as lines.

const darkness = matchMedia('(prefers-color-scheme: dark)');
let theme;
function readTheme() {
  const style = getComputedStyle(document.documentElement);
  const colour = name => style.getPropertyValue(name).trim();
  theme = {text: colour('--dim'), grid: colour('--line')};
  for (const stream of streams) stream.recolour();
}
// Neighbours differ in hue and, for those who see few hues, in lightness.
function lineColour(i) {
  const hues = [205, 28, 145, 345, 265, 48, 185, 310], light = darkness.matches ? [66, 74, 58] : [42, 36, 50];
  return `hsl(${hues[i % hues.length]} ${darkness.matches ? 75 : 78}% ${light[(i + (i >> 3)) % 3]}%)`;
}

function niceStep(span) {
  const power = 10 ** Math.floor(Math.log10(span)), part = span / power;
  return (part < 1.5 ? 1 : part < 3.5 ? 2 : part < 7.5 ? 5 : 10) * power;
}

const sized = new ResizeObserver(entries => {
  for (const entry of entries) {
    const plot = entry.target.stream;
    plot.dirty = true;
    if (!queued) requestAnimationFrame(() => plot.drawPlot());
  }
});

const SHOWN_VALUES = 16;

let sourceMeaning;  // "chiral.sources" of the metadata: what declarations say of the numbers of sources
function meaningOf(kind, name) {
  const sources = sourceMeaning instanceof Map ? sourceMeaning.get(kind) : undefined;
  const own = sources instanceof Map ? sources.get(name) : undefined;
  return own instanceof Map ? own : new Map();
}

class Stream extends Source {
  constructor(fields) {
    const count = Math.floor(number(fields.get('size')) / 4);
    super(String(fields.get('name')), 'proprio', `${count}`);
    this.count = count;
    this.times = [];
    this.samples = [];  // one Float32Array for each time
    this.hiddenLines = new Set();
    this.canvas = element('canvas', 'plot');
    this.canvas.stream = this;
    this.canvas.dataset.plot = this.name;
    this.canvas.setAttribute('role', 'img');
    this.canvas.setAttribute('aria-label', `the last ${PLOT_WINDOW} seconds of ${this.name}`);
    this.context = this.canvas.getContext('2d');
    this.values = element('div', 'values');
    this.labels = [];
    for (let i = 0; i < Math.min(count, SHOWN_VALUES); ++i) {
      const button = element('button'), swatch = element('i');
      const name = element('span', 'name', String(i)), value = element('span', '', '–');
      button.type = 'button';
      button.title = 'show or hide this line';
      button.setAttribute('aria-pressed', 'true');
      button.append(swatch, name, value);
      button.addEventListener('click', () => {
        const hide = !this.hiddenLines.delete(i);
        if (hide) this.hiddenLines.add(i);
        button.setAttribute('aria-pressed', String(!hide));
        this.dirty = true;
        this.drawPlot();
      });
      this.values.append(button);
      this.labels.push({swatch, name, value});
    }
    if (count > SHOWN_VALUES) this.values.append(element('span', 'empty', `and ${count - SHOWN_VALUES} more lines`));
    this.card.append(this.canvas, this.values);
    this.drawn = 0;
    this.recolour();
    sized.observe(this.canvas);
    inView.observe(this.canvas);
  }
  recolour() {
    this.labels.forEach((label, i) => { label.swatch.style.background = lineColour(i); });
    this.dirty = true;
  }
  draw(fields, frame, now) {
    if (this.note(fields, now)) {
      try {
        const sample = floats(slice(frame, fields.get('offset'), fields.get('size'))).slice();
        if (sample.length !== this.count) throw new RangeError('the stream has changed its size');
        const time = number(fields.get('timestamp'));
        if (this.times.length && time < this.times[this.times.length - 1]) this.times.length = this.samples.length = 0;
        this.times.push(time);
        this.samples.push(sample);
      } catch (error) {
        setText(this.stats, 'This cannot be shown: ' + error.message);
      }
    }
    let old = 0;  // the last one outside of the plot stays: the line comes in from there
    while (old + 1 < this.times.length && this.times[old + 1] < now - PLOT_WINDOW) ++old;
    if (old > 60 || old === this.times.length - 1) {
      this.times.splice(0, old);
      this.samples.splice(0, old);
    }
    this.end = now;
    this.dirty = true;
    if (this.drawn === 0 || this.canvas.visible !== false) this.drawPlot();
  }
  drawPlot() {
    if (!this.dirty || !theme) return;
    const density = devicePixelRatio || 1, width = this.canvas.clientWidth, height = this.canvas.clientHeight;
    if (!width || !height) return;
    this.dirty = false;
    if (this.canvas.width !== Math.round(width * density) || this.canvas.height !== Math.round(height * density)) {
      this.canvas.width = Math.round(width * density);
      this.canvas.height = Math.round(height * density);
    }
    const context = this.context;
    context.setTransform(density, 0, 0, density, 0, 0);
    context.clearRect(0, 0, width, height);
    const box = {left: 58, right: width - 10, top: 8, bottom: height - 34};
    const begin = this.end - PLOT_WINDOW;

    let low = Infinity, high = -Infinity;
    for (let k = 0; k < this.times.length; ++k) {
      if (this.times[k] < begin) continue;
      const sample = this.samples[k];
      for (let i = 0; i < this.count; ++i) {
        const value = sample[i];
        if (this.hiddenLines.has(i) || !Number.isFinite(value)) continue;
        if (value < low) low = value;
        if (value > high) high = value;
      }
    }
    if (low > high) [low, high] = [-1, 1];
    if (high - low < 1e-6 * Math.max(1, Math.abs(low))) {  // a line that is level
      const room = Math.max(0.05, 0.05 * Math.abs(low));
      [low, high] = [low - room, high + room];
    }
    const step = niceStep((high - low) / 4);
    low = Math.floor(low / step) * step;
    high = Math.ceil(high / step) * step;
    const x = time => box.left + (time - begin) / PLOT_WINDOW * (box.right - box.left);
    const y = value => box.bottom - (value - low) / (high - low) * (box.bottom - box.top);

    context.font = '11px system-ui, "DejaVu Sans", sans-serif';
    context.fillStyle = theme.text;
    context.strokeStyle = theme.grid;
    context.lineWidth = 1;
    context.beginPath();
    context.textAlign = 'right';
    context.textBaseline = 'middle';
    const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
    for (let i = 0; low + i * step <= high + step / 2; ++i) {
      const value = low + i * step, at = Math.round(y(value)) + 0.5;
      context.moveTo(box.left, at);
      context.lineTo(box.right, at);
      const text = digits > 6 || Math.abs(value) >= 1e6 ? value.toExponential(1) : value.toFixed(digits);
      context.fillText(text.replace(/^-(0\.?0*)$/, '$1').replace('-', '\u2212'), box.left - 6, at);
    }
    context.textAlign = 'center';
    context.textBaseline = 'top';
    for (let seconds = -PLOT_WINDOW; seconds <= 0; seconds += 2) {
      const at = Math.round(x(this.end + seconds)) - 0.5;
      context.moveTo(at, box.top);
      context.lineTo(at, box.bottom);
      context.fillText(String(seconds).replace('-', '\u2212'), at, box.bottom + 5);
    }
    context.stroke();
    context.fillText('time, seconds before the newest observation', (box.left + box.right) / 2, box.bottom + 19);
    context.save();
    context.translate(3, (box.top + box.bottom) / 2);
    context.rotate(-Math.PI / 2);
    context.fillText(this.unit ? `value, ${this.unit}` : 'value', 0, 0);
    context.restore();

    context.save();
    context.beginPath();
    context.rect(box.left, box.top - 2, box.right - box.left + 1, box.bottom - box.top + 4);
    context.clip();
    context.lineWidth = 1.5;
    context.lineJoin = 'round';
    for (let i = 0; i < this.count; ++i) {
      if (this.hiddenLines.has(i)) continue;
      context.strokeStyle = lineColour(i);
      context.beginPath();
      let gap = true;
      for (let k = 0; k < this.times.length; ++k) {
        const value = this.samples[k][i];
        if (!Number.isFinite(value)) gap = true;
        else if (gap) { context.moveTo(x(this.times[k]), y(value)); gap = false; }
        else context.lineTo(x(this.times[k]), y(value));
      }
      context.stroke();
    }
    context.restore();
    if (this.times.length > 1) this.canvas.dataset.drawn = ++this.drawn;
  }
  showFigures() {
    super.showFigures();
    const meaning = meaningOf('proprios', this.name), names = meaning.get('elements');
    this.unit = meaning.has('unit') ? String(meaning.get('unit')) : '';
    this.canvas.dataset.unit = this.unit;
    if (Array.isArray(names)) this.labels.forEach((label, i) => setText(label.name, String(names[i])));
    const newest = this.samples[this.samples.length - 1];
    if (newest) this.labels.forEach((label, i) => setText(label.value, fixed(newest[i], 3).replace('-', '\u2212')));
  }
}
