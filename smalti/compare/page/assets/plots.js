// Curves: drawn as plots.py draws them, again for a piece of the axes, for one item, and larger.
const EDGE = { left: 50, right: 12, top: 12, bottom: 42 };
const NARROW = [420, 300], ENLARGED = [860, 480];

class Plot {
  constructor(figure) {
    this.figure = figure;
    this.judge = +figure.dataset.judge;
    this.info = DATA.judges[this.judge];
    this.svg = $(".canvas svg", figure);
    this.tip = $(".tip", figure);
    this.size = NARROW;
    this.view = null; // [lowest rate, highest, lowest quality, highest], rates as logarithms; null: all
    this.points = [];
    this.at = -1;
    this.listen();
    this.redraw();
  }

  // by codec: [rate, value, low, high, setting]
  curves() {
    if (state.item === null || this.info.task) return DATA.curves[this.judge];
    const found = DATA.codecs.map(() => []), rows = DATA.rows, values = rows.metrics[this.judge];
    rows.item.forEach((item, k) => {
      const value = item === state.item ? values[k] : null;
      if (value === null || !(rows.rate[k] > 0)) return;
      const shown = this.info.db ? -10 * Math.log10(Math.max(1 - value, 1e-12)) : value;
      found[rows.codec[k]].push([rows.rate[k], shown, null, null, DATA.settings[rows.setting[k]]]);
    });
    found.forEach(points => points.sort((a, b) => a[0] - b[0]));
    return found;
  }

  whole(curves) {
    const points = curves.flat(), rates = points.map(p => p[0]);
    const values = points.flatMap(p => [p[1], p[2], p[3]]).filter(v => v !== null);
    if (this.info.ceiling !== null) values.push(this.info.ceiling);
    let [low, high] = rates.length ? [Math.min(...rates), Math.max(...rates)].map(Math.log10) : [0, 1];
    const spread = Math.max(high - low, 0.2) * 0.06;
    let [bottom, top] = values.length ? [Math.min(...values), Math.max(...values)] : [0, 1];
    const room = (top - bottom || Math.abs(top) || 1) * 0.06;
    return [low - spread, high + spread, bottom - room, top + room];
  }

  redraw() {
    const [width, height] = this.size, curves = this.curves();
    const [low, high, bottom, top] = this.domain = this.view ?? this.whole(curves);
    const right = width - EDGE.right, base = height - EDGE.bottom;
    const x = rate => EDGE.left + (Math.log10(rate) - low) / (high - low) * (right - EDGE.left);
    const y = value => base + (value - bottom) / (top - bottom) * (EDGE.top - base);
    const grid = draw("g", { class: "grid" });
    for (const value of linearTicks(bottom, top, height > 400 ? 8 : 5)) {
      grid.append(draw("line", { x1: EDGE.left, x2: right, y1: y(value), y2: y(value) }));
      grid.append(draw("text", { x: EDGE.left - 6, y: y(value) + 4, "text-anchor": "end" }, tickText(value)));
    }
    for (const value of logTicks(10 ** low, 10 ** high, width > 600 ? 11 : 6)) {
      grid.append(draw("line", { x1: x(value), x2: x(value), y1: EDGE.top, y2: base }));
      grid.append(draw("text", { x: x(value), y: base + 16, "text-anchor": "middle" }, tickText(value)));
    }
    const middle = { x: (EDGE.left + right) / 2, y: height - 6, "text-anchor": "middle", class: "axis" };
    grid.append(draw("text", middle, `${DATA.unit}, logarithmic`));
    const inside = draw("rect", { x: EDGE.left, y: EDGE.top, width: right - EDGE.left, height: base - EDGE.top });
    const clip = draw("clipPath", { id: `clip-${this.judge}` }, null, inside);
    const group = draw("g", { class: "curves", "clip-path": `url(#clip-${this.judge})` });
    if (this.info.ceiling !== null) {
      const at = y(this.info.ceiling);
      group.append(draw("g", { class: "ceiling" }, null, draw("line", { x1: EDGE.left, x2: right, y1: at, y2: at }),
        draw("text", { x: EDGE.left + 6, y: at < EDGE.top + 20 ? at + 13 : at - 5 }, "uncompressed")));
    }
    this.points = [];
    curves.forEach((points, codec) => {
      if (!points.length) return;
      const look = DATA.codecs[codec];
      const curve = draw("g", { class: "curve", "data-codec": codec, style: `--c:var(--c${look.colour})` });
      const bars = points.filter(p => p[2] !== null && p[3] !== null).map(p => `M${x(p[0])} ${y(p[2])}V${y(p[3])}`).join("");
      if (bars) curve.append(draw("path", { d: bars, class: "whisk" }));
      const places = points.map(p => [x(p[0]), y(p[1])]);
      const line = "M" + places.map(place => place.map(v => +v.toFixed(2)).join(" ")).join("L");
      if (points.length > 1) curve.append(draw("path", { d: line, class: "line", "stroke-dasharray": look.dash }));
      places.forEach(([px, py], k) => {
        curve.append(draw("path", { d: look.marker, class: "mark", transform: `translate(${px} ${py})` }));
        this.points.push({ codec, x: px, y: py, point: points[k], curve });
      });
      group.append(curve);
    });
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.svg.replaceChildren(draw("defs", {}, null, clip), grid, group);
    if (!this.points.length) this.svg.append(draw("text", { x: width / 2, y: height / 2, "text-anchor": "middle" }, "no values"));
    this.figure.classList.toggle("zoomed", this.view !== null);
    this.unmark();
    veil(this.svg);
  }

  listen() {
    const svg = this.svg;
    svg.addEventListener("pointermove", event => this.moved(event));
    svg.addEventListener("pointerleave", () => this.unmark());
    svg.addEventListener("blur", () => this.unmark());
    svg.addEventListener("pointerdown", event => {
      this.moved(event);
      if (event.pointerType === "touch" || event.button) return;
      this.from = this.place(event);
      svg.setPointerCapture(event.pointerId);
    });
    svg.addEventListener("pointerup", event => this.dropped(event));
    svg.addEventListener("dblclick", () => this.look(null));
    svg.addEventListener("keydown", event => this.pressed(event));
    for (const button of $$("[data-act]", this.figure)) button.addEventListener("click", () => this.act(button.dataset.act));
  }

  act(what) {
    if (what === "wide") {
      const wide = this.figure.classList.toggle("enlarged");
      this.size = wide ? ENLARGED : NARROW;
      this.redraw();
      return;
    }
    this.zoom(what === "in" ? 0.6 : 1 / 0.6);
  }

  // about the point that is marked, or the middle; out beyond everything shows all
  zoom(factor) {
    const [low, high, bottom, top] = this.domain, [l, h, b, t] = this.whole(this.curves());
    const marked = this.points[this.at]?.point;
    const [cx, cy] = marked ? [Math.log10(marked[0]), marked[1]] : [(low + high) / 2, (bottom + top) / 2];
    const wider = [cx + (low - cx) * factor, cx + (high - cx) * factor, cy + (bottom - cy) * factor, cy + (top - cy) * factor];
    const all = wider[1] - wider[0] >= h - l && wider[3] - wider[2] >= t - b;
    this.look(all ? null : wider);
  }

  look(view) {
    this.view = view;
    this.redraw();
  }

  place(event) {
    const box = this.svg.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width * this.size[0], (event.clientY - box.top) / box.height * this.size[1]];
  }

  moved(event) {
    const [px, py] = this.place(event);
    if (this.from) {
      this.frame ??= this.svg.appendChild(draw("rect", { class: "frame" }));
      const [fx, fy] = this.from;
      const place = { x: Math.min(px, fx), y: Math.min(py, fy), width: Math.abs(px - fx), height: Math.abs(py - fy) };
      for (const [key, value] of Object.entries(place)) this.frame.setAttribute(key, value);
      return;
    }
    let best = -1, nearest = 30 ** 2;
    this.points.forEach((p, k) => {
      const distance = (p.x - px) ** 2 + (p.y - py) ** 2;
      if (distance < nearest && this.seen(p)) [best, nearest] = [k, distance];
    });
    if (best < 0) this.unmark(); else this.mark(best);
  }

  dropped(event) {
    const from = this.from, to = this.place(event);
    this.from = null;
    this.frame?.remove();
    this.frame = null;
    if (!from || Math.abs(from[0] - to[0]) < 8 || Math.abs(from[1] - to[1]) < 8) return;
    const [low, high, bottom, top] = this.domain, [width, height] = this.size;
    const rate = px => low + (px - EDGE.left) / (width - EDGE.right - EDGE.left) * (high - low);
    const value = py => bottom + (height - EDGE.bottom - py) / (height - EDGE.bottom - EDGE.top) * (top - bottom);
    const [x1, x2] = [from[0], to[0]].sort((a, b) => a - b), [y1, y2] = [from[1], to[1]].sort((a, b) => a - b);
    this.look([rate(x1), rate(x2), value(y2), value(y1)]);
  }

  pressed(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key], jump = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const shown = this.points.map((p, k) => k).filter(k => this.seen(this.points[k]));
    if ((step || jump) && shown.length) {
      const here = Math.max(shown.indexOf(this.at), 0);
      if (step) this.mark(this.at < 0 ? shown[0] : shown[(here + step + shown.length) % shown.length]);
      if (jump) {
        const codecs = [...new Set(shown.map(k => this.points[k].codec))], now = this.points[shown[here]];
        const next = codecs[(codecs.indexOf(now.codec) + jump + codecs.length) % codecs.length];
        const own = shown.filter(k => this.points[k].codec === next);
        this.mark(own.reduce((a, b) => Math.abs(this.points[a].x - now.x) <= Math.abs(this.points[b].x - now.x) ? a : b));
      }
    } else if (event.key === "+" || event.key === "=") this.zoom(0.6);
    else if (event.key === "-") this.zoom(1 / 0.6);
    else if (event.key === "0") this.look(null);
    else if (event.key === "Escape") this.unmark();
    else return;
    event.preventDefault();
  }

  seen(p) {
    const [width, height] = this.size;
    const inside = p.x >= EDGE.left - 1 && p.x <= width - EDGE.right + 1 && p.y >= EDGE.top - 1 && p.y <= height - EDGE.bottom + 1;
    return inside && !state.hidden.has(p.codec);
  }

  mark(k) {
    this.unmark();
    this.at = k;
    const { codec, x, y, point, curve } = this.points[k];
    curve.classList.add("hot");
    this.svg.classList.add("dim");
    const [rate, value, low, high, setting] = point;
    const range = low === null ? "" : ` [${significant(low)}, ${significant(high)}]`;
    this.tip.replaceChildren(make("b", DATA.codecs[codec].title), make("span", setting),
      make("span", `${significant(rate)} ${DATA.short}`), make("span", `${significant(value, 4)} ${this.info.unit}${range}`));
    this.tip.hidden = false;
    const [width, height] = this.size;
    this.tip.style.left = `${x / width * 100}%`;
    this.tip.style.top = `${y / height * 100}%`;
    this.tip.classList.toggle("to-left", x > width * 0.6);
    this.tip.classList.toggle("above", y > height * 0.55);
  }

  unmark() {
    this.points[this.at]?.curve.classList.remove("hot");
    this.svg.classList.remove("dim");
    this.tip.hidden = true;
    this.at = -1;
  }
}

function linearTicks(low, high, count) {
  const raw = (high - low) / count, unit = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map(k => unit * k).find(s => s >= raw * 0.999), found = [];
  for (let k = Math.ceil(low / step - 1e-9); k <= high / step + 1e-9; k++) found.push(+(k * step).toPrecision(12));
  return found;
}

function logTicks(low, high, count) {
  let found = [];
  for (const digits of [[1, 1.5, 2, 3, 4, 5, 6, 8], [1, 2, 3, 5], [1, 2, 5], [1, 3], [1]]) {
    found = [];
    for (let p = Math.floor(Math.log10(low)) - 1; p <= Math.ceil(Math.log10(high)); p++)
      for (const d of digits) if (d * 10 ** p >= low && d * 10 ** p <= high) found.push(+(d * 10 ** p).toPrecision(12));
    if (found.length <= count + 1) return found.length ? found : [Math.sqrt(low * high)];
  }
  const every = Math.ceil(found.length / count);
  return found.filter((_, k) => k % every === 0);
}
