// Exhibits: which version stands left and right, the slider, amplified differences, turning, and sounds that take over.
class Exhibit {
  constructor(card) {
    this.card = card;
    this.data = DATA.exhibits[+card.dataset.exhibit];
    this.versions = this.data.versions;
    this.right = this.data.start;
    this.left = 0;
    this.codec = $(".pick-codec", card);
    this.rate = $(".pick-rate", card);
    this.beside = $(".pick-left", card);
    this.view = $(".pick-view", card);
    this.stage = $(".stage", card);
    this.codec.addEventListener("change", () => this.choose(this.nearest(+this.codec.value)));
    this.rate.addEventListener("change", () => this.choose(+this.rate.value));
    this.beside.addEventListener("change", () => this.show());
    this.view?.addEventListener("change", () => this.show());
    this.slider = $(".slider", card);
    this.slider?.addEventListener("input", () => this.slide());
    this.turner = $(".turner", card);
    this.turner?.addEventListener("input", () => this.turn());
    if (this.slider) this.slide();
    this.drag();
    this.show();
  }

  // of a codec, the version whose rate is nearest to that on the right
  nearest(codec) {
    const now = Math.log(this.versions[this.right].rate), far = k => Math.abs(Math.log(this.versions[k].rate) - now);
    const own = this.versions.map((v, k) => k).filter(k => this.versions[k].codec === codec);
    return own.reduce((a, b) => far(b) < far(a) ? b : a);
  }

  choose(version) {
    this.right = version;
    const codec = this.versions[version].codec;
    this.codec.value = codec;
    this.rate.replaceChildren(...this.versions.flatMap((v, k) => {
      if (v.codec !== codec) return [];
      const option = make("option", v.name);
      option.value = k;
      return [option];
    }));
    this.rate.value = version;
    this.show();
  }

  show() {
    const other = +this.beside.value;
    this.left = other < 0 ? 0 : this.nearest(other);
    this.fill("left", this.versions[this.left]);
    this.fill("right", this.versions[this.right]);
    const view = this.view?.value ?? "slide", gain = +(/^x(\d+)$/.exec(view)?.[1] ?? 0);
    if (this.stage) {
      this.stage.classList.toggle("pair", view === "pair");
      this.stage.classList.toggle("difference", gain > 0);
      $("canvas", this.stage).hidden = !gain;
      if (gain) this.difference(gain);
    }
    this.scores();
  }

  fill(side, version) {
    const set = (selector, number) => {
      const element = $(`${selector}.${side}`, this.card);
      if (!element) return;
      const source = number === null || number === undefined ? null : DATA.media[number];
      element.hidden = source === null;
      if (source !== null && element.getAttribute("src") !== source) element.setAttribute("src", source);
      if (element.tagName === "IMG") element.alt = `${this.data.item}: ${version.badge}`;
    };
    set("img:not(.sheet)", version.picture);
    set("img.sheet", version.sheet);
    set("video", version.played);
    set("audio", version.played);
    for (const label of $$(`.name.${side}, .badge.${side[0]}`, this.card)) label.textContent = version.badge;
    $(`img.strip.${side}`, this.card)?.parentElement.style.setProperty("--views", version.views);
    if (this.slider) this.slider.setAttribute("aria-label", `how much of ${this.data.item} is ${this.versions[this.left].badge}`);
  }

  slide() {
    this.stage.style.setProperty("--at", `${this.slider.value}%`);
  }

  turn() {
    for (const turned of $$(".turn", this.card)) turned.style.setProperty("--turn", this.turner.value);
  }

  // shapes turn under the pointer too
  drag() {
    let from = null;
    for (const turned of $$(".turn", this.card)) {
      turned.addEventListener("pointerdown", event => {
        from = { x: event.clientX, at: +this.turner.value };
        turned.setPointerCapture(event.pointerId);
      });
      turned.addEventListener("pointermove", event => {
        if (!from || !this.turner) return;
        const views = +this.turner.max + 1;
        this.turner.value = (((from.at + Math.round((event.clientX - from.x) / 16)) % views) + views) % views;
        this.turn();
      });
      turned.addEventListener("pointerup", () => from = null);
    }
  }

  async difference(gain) {
    const turn = this.turns = (this.turns ?? 0) + 1; // a later one overtakes it
    const pictures = ["left", "right"].map(side => $(`img.${side}:not(.sheet)`, this.stage));
    await Promise.all(pictures.map(picture => picture.decode().catch(() => {})));
    const canvas = $("canvas", this.stage), width = pictures[0].naturalWidth, height = pictures[0].naturalHeight;
    if (!width || turn !== this.turns) return;
    const [a, b] = pictures.map(picture => {
      const sheet = make("canvas");
      Object.assign(sheet, { width, height });
      const context = sheet.getContext("2d", { willReadFrequently: true });
      context.drawImage(picture, 0, 0, width, height);
      return context.getImageData(0, 0, width, height);
    });
    for (let k = 0; k < a.data.length; k += 4)
      for (let c = k; c < k + 3; c++) a.data[c] = Math.min(255, gain * Math.abs(a.data[c] - b.data[c]));
    Object.assign(canvas, { width, height });
    canvas.getContext("2d", { willReadFrequently: true }).putImageData(a, 0, 0);
    const [one, other] = [this.left, this.right].map(k => this.versions[k].badge);
    canvas.setAttribute("aria-label", `difference of ${one} and ${other}, times ${gain}`);
  }

  scores() {
    const line = $(".numbers", this.card);
    if (!line) return;
    const sides = [this.versions[this.left], this.versions[this.right]].filter(version => version.row >= 0);
    line.replaceChildren(...sides.flatMap(version => [make("b", version.badge), ...DATA.judges.flatMap((judge, k) => {
      const value = judge.task ? null : DATA.rows.metrics[k][version.row];
      if (value === null || state.muted.has(k)) return [];
      const pair = make("div");
      pair.append(make("dt", judge.title), make("dd", significant(value, 4)));
      return [pair];
    })]));
  }
}

// a player takes over where another one of its exhibit was
let playing = null;
document.addEventListener("play", event => {
  const now = event.target;
  if (playing && playing !== now) {
    if (playing.closest(".exhibit") === now.closest(".exhibit") && !playing.ended) now.currentTime = playing.currentTime;
    playing.pause();
  }
  playing = now;
}, true);
