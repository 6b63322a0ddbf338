// SPDX-License-Identifier: Apache-2.0
// Who controls the robot, since when, and what became of the actions: looked up in /metrics, every other second.

const CONTROL_PERIOD = 2000;  // ms
const ACTION_FIGURES = [
  ['received', 'chiral_actions_received_total', 'Well-formed actions'],
  ['applied', 'chiral_actions_applied_total', 'Their hook has returned'],
  ['clamped', 'chiral_actions_clamped_total', 'Changed by the gate to what is allowed'],
  ['rejected', 'chiral_actions_rejected_total', 'Not passed on by the gate'],
  ['late', 'chiral_actions_late_total', 'Waited for too long'],
  ['dropped', 'chiral_actions_dropped_total', 'Their client lost control before their turn'],
  ['timed out', 'chiral_action_timeouts_total', 'Times that no action came for too long'],
];

// Prometheus' text format: {name: [[labels, value], ...]}.
function parseFigures(text) {
  const figures = new Map();
  for (const line of text.split('\n')) {
    const parts = /^(\w+)(?:\{(.*)\})? (\S+)$/.exec(line);
    if (!parts) continue;  // a comment
    const labels = {};
    for (const [, key, value] of (parts[2] || '').matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g))
      labels[key] = value.replace(/\\(.)/g, (_, escaped) => escaped === 'n' ? '\n' : escaped);
    if (!figures.has(parts[1])) figures.set(parts[1], []);
    figures.get(parts[1]).push([labels, Number(parts[3])]);
  }
  return figures;
}

function inTime(seconds) {
  if (!(seconds >= 0)) return '–';
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor(seconds / 60 % 60)} min`;
}

class ControlPanel {
  constructor() {
    this.refused = false;
    this.figures = ACTION_FIGURES.map(([label, name, title]) => {
      const box = element('span'), value = element('b', '', '–');
      box.title = title;
      value.dataset.figure = name;
      box.append(value, ' ' + label);
      byId('control-figures').append(box);
      return {box, value, name};
    });
  }
  show(figures) {
    const first = name => (figures.get(name) || [])[0];
    const holder = first('chiral_control_seconds'), clients = first('chiral_clients');
    const controlled = clients !== undefined && clients[1] > 0;
    setText(byId('controller'), !controlled ? 'Nobody is in control.'
        : holder ? `${holder[0].peer} is in control, since ${inTime(holder[1])}.` : 'A client is in control.');
    for (const {box, value, name} of this.figures) {
      const sample = first(name);
      box.hidden = sample === undefined;
      if (sample) setText(value, sample[1].toLocaleString('en').replaceAll(',', '\u202f'));
    }
    const objection = first('chiral_last_objection');
    setText(byId('objection'), objection ? 'The gate\u2019s last objection: ' + objection[0].reason : '');
    byId('control-part').hidden = false;
  }
  async look(query) {
    if (this.refused) return;
    try {
      const answer = await fetch('/metrics' + query, {cache: 'no-store', signal: AbortSignal.timeout(CONTROL_PERIOD)});
      if (answer.ok) this.show(parseFigures(await answer.text()));
      else this.refused = true;  // under a domain, without a token: that does not change
    } catch {
      // The connection says what is wrong; what was seen last stays.
    }
  }
  // Looks for as long as the page can be seen and observes.
  keepLooking(query, watching) {
    setInterval(() => {
      if (watching()) this.look(query);
    }, CONTROL_PERIOD);
  }
}
