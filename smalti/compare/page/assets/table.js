// Every file: as many rows as filters let through, sorted by any column.
const STEP = 25;
const files = { key: null, down: false, shown: STEP };

function column(key) {
  const rows = DATA.rows;
  if (key[0] === "m") return k => rows.metrics[+key.slice(1)][k];
  if (key === "codec" || key === "item") {
    const names = key === "codec" ? DATA.codecs.map(codec => codec.title) : DATA.items;
    return k => names[rows[key][k]];
  }
  // settings have an order of their own: the codec's, which is that of rates
  return key === "setting" ? k => rows.codec[k] * 1e6 + rows.setting[k] : k => rows[key][k];
}

function listFiles() {
  const table = $("#files-table"), rows = DATA.rows;
  let found = rows.codec.map((_, k) => k);
  found = found.filter(k => !state.hidden.has(rows.codec[k]) && (state.item === null || rows.item[k] === state.item));
  if (files.key) {
    const value = column(files.key), sign = files.down ? -1 : 1;
    found.sort((a, b) => {
      const [x, y] = [value(a), value(b)];
      if (x === null || y === null) return (x === null) - (y === null) || a - b; // what has no value stands last
      return (x < y ? -1 : x > y ? 1 : 0) * sign || a - b;
    });
  }
  const metrics = DATA.judges.map((judge, k) => k).filter(k => !DATA.judges[k].task);
  $("tbody", table).replaceChildren(...found.slice(0, files.shown).map(k => {
    const line = make("tr");
    const size = rows.bytes[k].toLocaleString("en").replace(/,/g, "\u202f");
    line.append(make("th", DATA.codecs[rows.codec[k]].title), make("td", DATA.settings[rows.setting[k]]));
    line.append(make("td", DATA.items[rows.item[k]]), make("td", size, "num"), make("td", significant(rows.rate[k]), "num"));
    for (const m of metrics) {
      const cell = make("td", significant(rows.metrics[m][k], 4), "num");
      cell.dataset.judge = m;
      line.append(cell);
    }
    line.append(make("td", significant(rows.encode[k]), "num"), make("td", significant(rows.decode[k]), "num"));
    return line;
  }));
  const more = $("#more");
  more.hidden = found.length <= files.shown;
  more.textContent = `Show more of ${found.length.toLocaleString("en").replace(/,/g, "\u202f")}`;
  for (const button of $$("[data-sort]", table)) {
    const sorted = button.dataset.sort === files.key ? (files.down ? "descending" : "ascending") : "none";
    button.parentElement.setAttribute("aria-sort", sorted);
  }
  veil(table);
}

for (const button of $$("[data-sort]"))
  button.addEventListener("click", () => {
    files.down = files.key === button.dataset.sort && !files.down;
    files.key = button.dataset.sort;
    listFiles();
  });
$("#more").addEventListener("click", () => {
  files.shown *= 4;
  listFiles();
});
watchers.push(() => {
  files.shown = STEP;
  listFiles();
});
