"""What files are made of, and what coding costs: bars of bytes and the plane of processor seconds."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from smalti.compare.page.axes import Axis, axis, tick_text
from smalti.compare.page.facts import Facts
from smalti.compare.page.looks import marker
from smalti.compare.page.markup import Html, join, tag
from smalti.compare.page.numbers import NONE, listed, share, significant, size
from smalti.compare.page.rates import named
from smalti.compare.results import Row

WIDTH, HEIGHT = 420, 340
LABEL = 18  # letters of a label in the plane
LEFT, RIGHT, TOP, BOTTOM = 54, 14, 12, 42
PER = {"image": (1e6, "megapixel"), "audio": (1.0, "second of sound"), "video": (1e6, "million pixels of frames"), "shape": (1.0, "shape")}


@dataclass(frozen=True)
class Split:
    """Mean bytes of files in one setting: of headers, of what the tokens' probabilities ask for, and what coding took beyond that.

    gap: None where no file tells it; entropy is the whole payload then.
    """

    header: float
    entropy: float
    gap: float | None

    @property
    def beyond(self) -> float:
        return max(self.gap or 0.0, 0.0)

    @property
    def total(self) -> float:
        return self.header + self.entropy + self.beyond


def split_of(rows: Sequence[Row]) -> Split | None:
    """Means over the files that tell; None where none does."""
    told = [row for row in rows if row.header_bytes is not None and row.payload_bytes is not None]
    if not told:
        return None
    gaps = [row.entropy_gap_bytes for row in told if row.entropy_gap_bytes is not None]
    gap = statistics.fmean(gaps) if gaps else None
    payload = statistics.fmean(row.payload_bytes or 0 for row in told)
    return Split(statistics.fmean(row.header_bytes or 0 for row in told), payload - max(gap or 0.0, 0.0), gap)


def bits(facts: Facts) -> Html:
    """A bar for each codec and setting whose files tell what they are made of."""
    rows, silent = [], []
    for codec in facts.report.codecs:
        found = [(setting, split_of(facts.rows_of.get((codec.name, setting), []))) for setting in codec.settings]
        if not any(split for _, split in found):
            silent.append(facts.title_of[codec.name])
            continue
        words = [tag("span", word, class_="num") for word in ("file", "header", "gap")]
        head = tag("div", tag("span"), tag("span"), *words, class_="bar-row soft small", aria_hidden="true")
        lines = [_bar(setting, split) for setting, split in found if split is not None]
        rows.append(tag("div", tag("h3", named(facts, codec.name)), head, *lines, class_="bars", data_codec=facts.index[codec.name]))
    key = tag(
        "p",
        *(part for name in ("header", "payload", "gap") for part in (tag("i", class_=f"key b-{name}"), _NAMES[name] + "  ")),
        class_="small",
    )
    note = tag("p", f"Formats that do not tell: {listed(silent)}. All their bytes count as well.", class_="soft small") if silent else ""
    if not rows:
        return tag("p", "No format in this report tells what its bytes are for.", class_="soft")
    return join(key, tag("div", *rows, class_="columns"), note)


_NAMES = {
    "header": "headers and container",
    "payload": "coded tokens, as many bytes as their probabilities ask for",
    "gap": "what coding took beyond that",
}


def _bar(setting: str, split: Split) -> Html:
    total = split.total or 1.0
    x, parts = 0.0, []
    for name, value in (("header", split.header), ("payload", split.entropy), ("gap", split.beyond)):
        width = 100 * max(value, 0.0) / total
        said = f"{_NAMES[name]}: {significant(value)} bytes, {share(value / total)}"
        parts.append(tag("rect", tag("title", said), x=f"{x:.2f}", y=0, width=f"{width:.2f}", height=10, class_=f"b-{name}"))
        x += width
    label = f"{share(split.header / total)} header, {share(split.beyond / total)} gap"
    bar = tag(
        "svg", *parts, viewBox="0 0 100 10", preserveAspectRatio="none", role="img", aria_label=f"{setting}: {label} of {size(total)}"
    )
    told = split.beyond / total if split.gap is not None else None
    shares = [tag("span", share(part), class_="num soft") for part in (split.header / total, told)]
    return tag("div", tag("span", setting), bar, tag("span", size(total), class_="num"), *shares, class_="bar-row")


@dataclass(frozen=True)
class Speed:
    """Medians over files of processor seconds for each unit of signal, and the least and most over settings."""

    encode: float
    decode: float
    encode_span: tuple[float, float]
    decode_span: tuple[float, float]


def speed_of(facts: Facts, name: str) -> Speed | None:
    """None without rows, or where nothing took any time."""
    scale = PER[facts.report.kind][0]
    by_setting: dict[str, list[tuple[float, float]]] = {}
    for row in facts.report.rows:
        if row.codec == name and facts.units[row.item] > 0:
            per = scale / facts.units[row.item]
            by_setting.setdefault(row.setting, []).append((row.encode_seconds * per, row.decode_seconds * per))
    medians = [tuple(statistics.median(pair[k] for pair in pairs) for k in (0, 1)) for pairs in by_setting.values()]
    encodes, decodes = ([m[k] for m in medians] for k in (0, 1))
    if not medians or min(*encodes, *decodes) <= 0:
        return None
    middle = (statistics.median(encodes), statistics.median(decodes))
    return Speed(*middle, (min(encodes), max(encodes)), (min(decodes), max(decodes)))


def speeds(facts: Facts) -> Html:
    """The plane, and the same numbers as a table."""
    found = {name: speed for name in facts.names if (speed := speed_of(facts, name)) is not None}
    if not found:
        return tag("p", "No times were measured.", class_="soft")
    per = f"processor seconds per {PER[facts.report.kind][1]}"
    across = axis([v for s in found.values() for v in s.encode_span], LEFT, WIDTH - RIGHT, True, 0.1)
    up = axis([v for s in found.values() for v in s.decode_span], HEIGHT - BOTTOM, TOP, True, 0.1)
    taken: list[tuple[float, float, float]] = []
    marks = [_spot(facts, name, speed, across, up, taken) for name, speed in found.items()]
    picture = tag(
        "svg",
        tag("g", _grid(across, up, f"s per {PER[facts.report.kind][1]}"), class_="grid"),
        *marks,
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_label=f"encoding and decoding, {per}, both logarithmic; the table beside has the numbers",
    )
    rows = [
        tag(
            "tr",
            tag("th", named(facts, name), scope="row"),
            *(tag("td", significant(v) if v is not None else NONE, class_="num") for v in _pair(found.get(name))),
            data_codec=facts.index[name],
        )
        for name in facts.names
    ]
    head = tag("tr", tag("th", "Codec", scope="col"), *(tag("th", word, scope="col", class_="num") for word in ("Encode", "Decode")))
    table = tag("table", tag("caption", f"{per.capitalize()}; medians over files and settings"), tag("thead", head), tag("tbody", *rows))
    return tag("div", tag("figure", picture, class_="card plot"), tag("div", table, class_="wide"), class_="plots")


def _pair(speed: Speed | None) -> tuple[float | None, float | None]:
    return (speed.encode, speed.decode) if speed is not None else (None, None)


def _grid(across: Axis, up: Axis, unit: str) -> Html:
    parts = []
    for value in up.ticks(6):
        y = round(up.at(value), 2)
        parts += [tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y), tag("text", tick_text(value), x=LEFT - 6, y=y + 4, text_anchor="end")]
    for value in across.ticks(6):
        x = round(across.at(value), 2)
        parts += [tag("line", x1=x, x2=x, y1=TOP, y2=HEIGHT - BOTTOM)]
        parts += [tag("text", tick_text(value), x=x, y=HEIGHT - BOTTOM + 16, text_anchor="middle")]
    parts.append(tag("text", f"encode, {unit}", x=(LEFT + WIDTH - RIGHT) / 2, y=HEIGHT - 6, text_anchor="middle", class_="axis"))
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(
        tag("text", f"decode, {unit}", x=12, y=middle, text_anchor="middle", class_="axis", transform=f"rotate(-90 12 {middle:g})")
    )
    return join(*parts)


def _spot(facts: Facts, name: str, speed: Speed, across: Axis, up: Axis, taken: list[tuple[float, float, float]]) -> Html:
    """taken: places of labels so far (left, right, base line), to which this one's is added."""
    x, y = across.at(speed.encode), up.at(speed.decode)
    spans = f"M{across.at(speed.encode_span[0]):.1f} {y:.1f}H{across.at(speed.encode_span[1]):.1f}"
    spans += f"M{x:.1f} {up.at(speed.decode_span[0]):.1f}V{up.at(speed.decode_span[1]):.1f}"
    said = f"{facts.title_of[name]}: encode {significant(speed.encode)} s, decode {significant(speed.decode)} s"
    title = facts.title_of[name]
    title = title if len(title) <= LABEL else f"{title[: LABEL - 1]}\N{HORIZONTAL ELLIPSIS}"
    left, base = _free(x, y, 6.6 * len(title), taken)
    return tag(
        "g",
        tag("title", said),
        tag("path", d=spans, class_="whisk"),
        tag("path", d=marker(facts.look_of[name].marker, 5), class_="mark", transform=f"translate({x:.1f} {y:.1f})"),
        tag("text", title, x=f"{left:.1f}", y=f"{base:.1f}") if left else "",
        class_="curve spot",
        data_codec=facts.index[name],
        style=f"--c:{facts.look_of[name].stroke}",
    )


def _free(x: float, y: float, width: float, taken: list[tuple[float, float, float]]) -> tuple[float, float]:
    """Where a label beside a mark hides no other one; (0, 0) where there is no such place."""
    for down in (-6, 14, -19, 27):
        for left in (x + 8, x - 8 - width):
            base = y + down
            inside = left > LEFT and left + width < WIDTH and TOP + 8 < base < HEIGHT - BOTTOM
            if inside and all(left > end or left + width < start or abs(base - other) > 12 for start, end, other in taken):
                taken.append((left, left + width, base))
                return left, base
    return 0.0, 0.0
