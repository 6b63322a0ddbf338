// SPDX-License-Identifier: Apache-2.0
// One observation: what must be built anew for it, and what is drawn of it.

let cameras = [], streams = [], declared = '';
let queued = null;          // the observation that the next animation frame draws
let drawnCount = 0;
const recent = [];          // [when, bytes] of what was drawn in the last seconds
let answerTime = NaN;       // ms, smoothed

// What must be built anew when it changes: not the size of the pictures.
function declarationOf(header) {
  const channels = shape => Array.isArray(shape) ? shape[2] : undefined;
  return JSON.stringify([header.get('cameras').map(each => [each.get('name'), channels(each.get('image_shape')),
                                                            each.get('image_dtype'), each.has('depth_shape')]),
                         header.get('proprios').map(each => [each.get('name'), number(each.get('size'))])]);
}

function checkShape(shape, what) {
  const sideFits = side => Number.isInteger(side) && side > 0 && side <= 16384;
  if (!Array.isArray(shape) || shape.length < 2 || shape.length > 3 || !shape.every(sideFits))
    throw new RangeError(`${what} has no usable shape`);
}

function build(header) {
  inView.disconnect();
  sized.disconnect();
  for (const camera of header.get('cameras')) {
    checkShape(camera.get('image_shape'), `camera ${camera.get('name')}`);
    if (camera.has('depth_shape')) checkShape(camera.get('depth_shape'), `depth of camera ${camera.get('name')}`);
  }
  cameras = header.get('cameras').map(fields => new Camera(fields));
  streams = header.get('proprios').map(fields => new Stream(fields));
  byId('cameras').replaceChildren(...cameras.map(camera => camera.card));
  byId('plots').replaceChildren(...streams.map(stream => stream.card));
  byId('sources').replaceChildren(...[...cameras, ...streams].map(source => source.row));
  byId('cameras-part').hidden = cameras.length === 0;
  byId('plots-part').hidden = streams.length === 0;
  byId('sources-part').hidden = cameras.length + streams.length === 0;
  byId('texts-part').hidden = false;
}

// `wanted`: its pictures may be smaller than those of the robot.
async function drawObservation(frame, wanted) {
  const declaration = declarationOf(frame.header);
  if (declaration !== declared) {
    if (wanted) throw new RangeError('the robot has other sources than before');
    build(frame.header);
    declared = declaration;
  }
  const now = number(frame.header.get('snapshot_time'));
  await Promise.all(frame.header.get('cameras').map((fields, i) => cameras[i].draw(fields, frame, now)));
  frame.header.get('proprios').forEach((fields, i) => streams[i].draw(fields, frame, now));
  recent.push([performance.now(), frame.bytes]);
  document.body.dataset.drawn = ++drawnCount;
  newestExtra = frame.header.get('extra');
  showFigures();
}

// Figures that change faster than they can be read help nobody.
let newestExtra, figuresAt = -Infinity;
function showFigures(atOnce = false) {
  const now = performance.now();
  if (!atOnce && now - figuresAt < 250) return;
  figuresAt = now;
  while (recent.length && now - recent[0][0] > 2500) recent.shift();
  const span = recent.length > 1 ? (recent[recent.length - 1][0] - recent[0][0]) / 1e3 : NaN;
  const bytes = recent.slice(1).reduce((sum, [, size]) => sum + size, 0);
  setText(byId('page-rate'), recent.length ? fixed((recent.length - 1) / span, 1) : '0');
  setText(byId('page-bytes'), recent.length ? fixed(bytes / span / 1e6, 2) : '0');
  setText(byId('page-wait'), fixed(answerTime, 0));
  setText(byId('page-count'), String(drawnCount));
  for (const source of [...cameras, ...streams]) source.showFigures();
  showMap(byId('extra'), byId('no-extra'), newestExtra);
}
