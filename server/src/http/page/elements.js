// SPDX-License-Identifier: Apache-2.0
// Small things for the DOM: elements, texts that change only when they do, values in words.

const byId = id => document.getElementById(id);

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}
function setText(node, text) { if (node.textContent !== text) node.textContent = text; }
function setClass(node, name) { if (node.className !== name) node.className = name; }
function fixed(value, digits) { return Number.isFinite(value) ? value.toFixed(digits) : '–'; }
function inWords(value) {
  if (value === null) return 'nil';
  if (value instanceof Map) return `{${[...value].map(([key, each]) => inWords(key) + ': ' + inWords(each)).join(', ')}}`;
  if (Array.isArray(value)) return '[' + value.map(inWords).join(', ') + ']';
  if (value instanceof Uint8Array) return `(${value.length} bytes)`;
  if (typeof value === 'number' && !Number.isInteger(value)) return String(+value.toPrecision(7));
  return String(value);
}
function showMap(list, empty, values) {
  const entries = values instanceof Map ? [...values] : [];
  empty.hidden = entries.length > 0;
  while (list.children.length > 2 * entries.length) list.lastChild.remove();
  while (list.children.length < 2 * entries.length) list.append(element('dt'), element('dd'));
  entries.forEach(([key, value], i) => {
    setText(list.children[2 * i], inWords(key));
    setText(list.children[2 * i + 1], inWords(value));
  });
}
