// SPDX-License-Identifier: Apache-2.0
// How a source is doing: its rate, its age, what was not shown of it.

const STATUS = ['never', 'fresh', 'stale', 'frozen', 'ahead'];
const RATE_WINDOW = 2.5, PLOT_WINDOW = 10;  // seconds

class Source {
  constructor(name, kind, size) {
    this.name = name;
    this.kind = kind;
    this.seen = [];  // [sequence, capture time], where the sequence has changed
    this.notShown = 0;
    this.row = element('tr');
    this.row.dataset.source = name;
    this.row.dataset.kind = kind;
    this.cells = {};
    const cell = (key, className, text) => this.row.append(this.cells[key] = element('td', className, text));
    cell('name', '', name);
    cell('kind', 'left', kind);
    cell('size', '', size);
    cell('rate');
    cell('age');
    cell('missed');
    this.cells.badge = element('span', 'badge');
    const status = element('td', 'left');
    status.append(this.cells.badge);
    this.row.append(status);
    this.badge = element('span', 'badge');
    this.stats = element('span', 'stats');
    this.head = element('div', 'head');
    this.head.append(element('h3', '', name), this.badge, this.stats);
    this.card = element('article', 'card');
    this.card.append(this.head);
  }
  // True if there is a sample that was not there before.
  note(fields, now) {
    const sequence = number(fields.get('sequence')), captured = number(fields.get('timestamp'));
    this.notShown += number(fields.get('missed')) || 0;
    this.status = STATUS[number(fields.get('status'))] || 'unknown';
    this.now = now;
    this.age = sequence > 0 ? now - captured : NaN;
    const last = this.seen[this.seen.length - 1];
    if (!(sequence > 0) || last && last[0] === sequence) return false;
    if (last && last[0] > sequence) this.seen = [];  // the server has begun anew
    this.seen.push([sequence, captured]);
    while (this.seen.length > 2 && now - this.seen[1][1] > RATE_WINDOW) this.seen.shift();
    this.sequence = sequence;
    this.row.dataset.sequence = sequence;
    return true;
  }
  rate() {
    if (this.seen.length < 2) return this.seen.length ? 0 : NaN;
    const first = this.seen[0], last = this.seen[this.seen.length - 1];
    const period = (last[1] - first[1]) / (last[0] - first[0]);
    return this.age > Math.max(RATE_WINDOW, 3 * period) ? 0 : 1 / period;
  }
  showFigures() {
    const rate = `${fixed(this.rate(), 1)} Hz`;
    const age = this.age > 10 ? `${fixed(this.age, 1)} s` : `${fixed(1e3 * this.age, 0)} ms`;
    setText(this.cells.rate, rate);
    setText(this.cells.age, age);
    setText(this.cells.missed, this.notShown.toLocaleString('en').replaceAll(',', '\u202f'));
    setText(this.stats, `${rate} · ${age} old`);
    for (const badge of [this.badge, this.cells.badge]) {
      setText(badge, this.status);
      setClass(badge, 'badge ' + this.status);
    }
  }
}
