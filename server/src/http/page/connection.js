// SPDX-License-Identifier: Apache-2.0
// The connection, and the beginning.
//
// One request is in flight at most, and the next one is sent when its answer has been drawn. The first one asks for the
// whole observation, the others for small pictures, unless the whole is what is to be seen. A hidden page draws nothing
// and so asks for nothing; after a while it gives its seat to others.

const LONGEST_BACKOFF = 10, PATIENCE = 15, HIDDEN_SEAT = 60;  // seconds
const token = new URLSearchParams(location.search).get('access_token');
const query = token === null ? '' : '?access_token=' + encodeURIComponent(token);

let socket = null, opened = false, askedAt = 0, inFlight = false, attempts = 0, retryAt = 0, paused = false, hiddenSince = 0;
let askTimer = 0, attempt = 0, drawing = false, want = null, wanted = false;
const control = new ControlPanel();

function setState(state, text, why = '') {
  document.body.dataset.state = state;
  setText(byId('state'), text);
  setText(byId('why'), why);
  byId('notice').hidden = why === '';
}

function connect() {
  clearTimeout(askTimer);
  retryAt = 0;
  opened = inFlight = false;
  want = null;
  const mine = ++attempt;
  setState('connecting', 'connecting', byId('why').textContent);
  let fault = '';
  socket = new WebSocket((location.protocol === 'https:' ? 'wss://' : 'ws://') + location.host + '/observe' + query);
  socket.binaryType = 'arraybuffer';
  socket.onopen = () => {
    opened = true;
    attempts = 0;
    for (const source of [...cameras, ...streams]) source.seen = [];
    socket.send(encodeFrame(new Map([['type', 'metadata']])));
    setState('live', 'connected');
    control.look(query);
    ask();
  };
  socket.onmessage = event => {
    if (mine !== attempt) return;
    try {
      receive(decodeFrame(event.data));
    } catch (error) {
      fault = 'A message of the server cannot be understood: ' + error.message + '.';
      socket.close();
    }
  };
  socket.onclose = event => {
    if (mine === attempt) lost(event, fault);
  };
}

function receive(frame) {
  const type = frame.header.get('type');
  if (type === 'metadata_response') {
    const metadata = frame.header.get('data');
    showMap(byId('metadata'), byId('no-metadata'), metadata);
    sourceMeaning = metadata instanceof Map ? metadata.get('chiral.sources') : undefined;
    const robot = metadata instanceof Map ? metadata.get('robot') : undefined;
    const name = typeof robot === 'string' && robot ? robot : 'Chiral';
    setText(byId('title'), name);
    document.title = name === 'Chiral' ? name : name + ' – Chiral';
    return;
  }
  if (type !== 'obs_response') throw new RangeError(`its type is ${inWords(type)}`);
  const areMaps = list => Array.isArray(list) && list.every(each => each instanceof Map);
  if (!areMaps(frame.header.get('cameras')) || !areMaps(frame.header.get('proprios')))
    throw new RangeError('cameras or proprios are missing');
  inFlight = false;
  const took = performance.now() - askedAt;
  answerTime = Number.isFinite(answerTime) ? answerTime + 0.15 * (took - answerTime) : took;
  queued = frame;
  const connection = socket;
  requestAnimationFrame(async () => {
    const next = queued;
    queued = null;
    if (!next || connection !== socket) return;
    drawing = true;
    let problem = null;
    try {
      await drawObservation(next, wanted);
    } catch (error) {
      problem = error;
    }
    drawing = false;
    if (connection !== socket) return ask();  // the next one had to wait
    if (problem) {
      want = null;  // perhaps it is another robot by now
      setState('waiting', 'cannot be drawn', 'The observation cannot be drawn: ' + problem.message + '.');
    } else {
      if (!wanted) want = wantOf(next.header.get('cameras'));
      setState('live', paused ? 'paused' : 'live');
    }
    const hz = Number(byId('rate').value);
    const wait = hz > 0 ? askedAt + 1000 / hz - performance.now() : 0;
    clearTimeout(askTimer);
    if (wait > 1) askTimer = setTimeout(ask, wait);
    else ask();
  });
}

function ask() {
  if (paused || inFlight || queued || drawing || !socket || socket.readyState !== WebSocket.OPEN) return;
  inFlight = true;
  askedAt = performance.now();
  wanted = want !== null && byId('pictures').value === 'small';
  const request = new Map([['type', 'obs_request']]);
  if (wanted) request.set('want', want);
  socket.send(encodeFrame(request));
}

async function lost(event, fault) {
  socket = null;
  inFlight = false;
  queued = null;
  const mine = attempt;
  if (hiddenSince && performance.now() - hiddenSince > 1e3 * HIDDEN_SEAT) return setState('waiting', 'paused');
  attempts += 1;
  // Nobody knows why a whole lab lost its server; not all of its pages are to come back in the same moment.
  const wait = Math.min(LONGEST_BACKOFF, 0.5 * 2 ** (attempts - 1)) * (0.75 + 0.5 * Math.random());
  retryAt = performance.now() + 1e3 * wait;
  setState('refused', 'disconnected', byId('why').textContent || 'The connection has ended.');
  let why = fault;
  if (!why && opened)
    why = event.reason ? `The server has closed the connection (${event.code}): ${event.reason}.` : 'The connection broke.';
  else if (!why) why = await whyNotLetIn();
  if (mine === attempt) setState('refused', opened ? 'disconnected' : 'not let in', why);
}

function hangUp() {
  ++attempt;  // what the old socket still says is not heard
  socket.close();
  socket = null;
  inFlight = false;
  queued = null;
}

// A page is not told the HTTP status by which its WebSocket was refused, so it asks around.
async function whyNotLetIn() {
  const get = path => fetch(path, {cache: 'no-store', signal: AbortSignal.timeout(4000)});
  try {
    const health = await get('/healthz');
    if (!health.ok) return 'The server is stopping.';
    const metrics = await get('/metrics' + query);
    if (metrics.status === 401)
      return token === null ? 'The server asks for a token: open this page as /?access_token=TOKEN.'
                            : 'The server runs, but the token in this page\u2019s address is not the right one.';
    const observers = metrics.ok ? /^chiral_observers (\d+)$/m.exec(await metrics.text()) : null;
    if (observers && Number(observers[1]) > 0)
      return `The server runs, but all its seats for observers seem to be taken: ${observers[1]} observe now.`;
    return 'The server runs, but did not let this page observe: it takes no observers, or none from pages of this address.';
  } catch {
    return 'The server does not answer.';
  }
}

// Once a second: what no event tells.
setInterval(() => {
  const now = performance.now();
  if (retryAt) {
    const left = Math.ceil((retryAt - now) / 1e3);
    if (left <= 0 && !document.hidden) connect();
    else setText(byId('state'), (opened ? 'disconnected' : 'not let in') + `, next try in ${Math.max(left, 1)} s`);
  } else if (inFlight && opened && !document.hidden) {
    const waited = (now - askedAt) / 1e3;
    if (waited > PATIENCE) {
      hangUp();
      lost({}, `No answer came for ${PATIENCE} s.`);
    } else if (waited > 2) setState('waiting', `no answer for ${Math.floor(waited)} s`);
  }
  if (hiddenSince && socket && now - hiddenSince > 1e3 * HIDDEN_SEAT) {
    hangUp();
    setState('waiting', 'paused');
  }
  if (!document.hidden) showFigures();
}, 1000);

document.addEventListener('visibilitychange', () => {
  hiddenSince = document.hidden ? performance.now() : 0;
  if (document.hidden) return setText(byId('state'), 'paused');
  if (!socket) connect();
  else if (inFlight) askedAt = performance.now();  // what was late was this page, not the server
  else ask();
});
byId('pause').addEventListener('click', () => {
  paused = !paused;
  setText(byId('pause'), paused ? 'Go on' : 'Pause');
  if (opened && socket) setState('live', paused ? 'paused' : 'live');
  ask();
});
byId('retry').addEventListener('click', () => {
  if (!socket) connect();
});
byId('rate').addEventListener('change', () => {
  clearTimeout(askTimer);
  ask();
});
byId('range').addEventListener('change', () => {
  for (const part of document.querySelectorAll('.fixed')) part.hidden = byId('range').value !== 'fixed';
});
darkness.addEventListener('change', readTheme);

readTheme();
connect();
control.keepLooking(query, () => !document.hidden && socket !== null && opened);
