// What all parts share: the data, what is filtered, and how numbers are written (as numbers.py writes them).
const DATA = JSON.parse(document.getElementById("report-data").textContent);
const $ = (selector, root = document) => root.querySelector(selector);
const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
const SVG = "http://www.w3.org/2000/svg";

// codecs and judges that are switched off, and the one item that is looked at (or null)
const state = { hidden: new Set(), muted: new Set(), item: null };
const watchers = [];
const changed = () => watchers.forEach(watch => watch());

for (const element of $$("[data-media]")) DATA.media[+element.dataset.media] = element.getAttribute("src");

function significant(value, digits = 3) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "\u2013";
  if (value === 0) return "0";
  const size = Math.floor(Math.log10(Math.abs(value)));
  if (size < -4 || size >= 6) return value.toExponential(digits - 1).replace(/-/g, "\u2212");
  const [whole, part] = value.toFixed(Math.max(0, digits - 1 - size)).split(".");
  return (whole.replace(/\B(?=(\d{3})+$)/g, "\u202f") + (part ? "." + part : "")).replace("-", "\u2212");
}

function tickText(value) {
  const size = Math.abs(value);
  if (value && (size < 1e-3 || size >= 1e5)) return significant(value, size < 1e-3 ? 1 : 2);
  return String(+value.toPrecision(6)).replace("-", "\u2212");
}

// an SVG element; `text` is never read as markup
function draw(name, attributes = {}, text = null, ...children) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) if (value !== null && value !== "") element.setAttribute(key, value);
  if (text !== null) element.textContent = text;
  element.append(...children);
  return element;
}

function make(name, text = null, classes = "") {
  const element = document.createElement(name);
  if (text !== null) element.textContent = text;
  if (classes) element.className = classes;
  return element;
}
