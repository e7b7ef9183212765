// Switches: codecs and measures that are shown, the anchor, and the item; everything starts here.
function veil(root = document) {
  const off = (key, set) => $$(`[data-${key}]`, root).forEach(element => element.classList.toggle("off", set.has(+element.dataset[key])));
  off("codec", state.hidden);
  off("versus", state.hidden);
  off("judge", state.muted);
}

function toggles(selector, key, set) {
  for (const chip of $$(selector)) {
    chip.addEventListener("click", () => {
      const k = +chip.dataset[key];
      if (set.has(k)) set.delete(k); else set.add(k);
      changed();
    });
    // twice: this one alone
    chip.addEventListener("dblclick", () => {
      set.clear();
      for (const other of $$(selector)) if (other !== chip) set.add(+other.dataset[key]);
      changed();
    });
  }
  watchers.push(() => $$(selector).forEach(chip => chip.setAttribute("aria-pressed", String(!set.has(+chip.dataset[key])))));
}

toggles("[data-chip]", "chip", state.hidden);
toggles("[data-measure]", "measure", state.muted);
watchers.push(() => veil());

const anchor = $("#anchor");
anchor?.addEventListener("change", () => $$("[data-anchor]").forEach(part => part.hidden = part.dataset.anchor !== anchor.value));
const matrix = $("#matrix-judge");
matrix?.addEventListener("change", () => $$("[data-matrix]").forEach(part => part.hidden = part.dataset.matrix !== matrix.value));

const curves = $$("figure[data-judge].plot").map(figure => new Plot(figure));
const exhibits = $$("[data-exhibit]").map(card => new Exhibit(card));
const item = $("#item");
item.addEventListener("change", () => {
  state.item = item.value === "" ? null : +item.value;
  curves.forEach(plot => plot.look(null));
  changed();
});
watchers.push(() => {
  // an item without an exhibit leaves all of them
  const chosen = exhibits.some(exhibit => +exhibit.card.dataset.item === state.item);
  for (const exhibit of exhibits) {
    exhibit.card.classList.toggle("off", chosen && +exhibit.card.dataset.item !== state.item);
    exhibit.scores();
  }
});
$("#reset").addEventListener("click", () => {
  state.hidden.clear();
  state.muted.clear();
  state.item = null;
  item.value = "";
  curves.forEach(plot => plot.look(null));
  changed();
});
changed();
