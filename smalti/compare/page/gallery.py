"""What people look at and listen to: for each chosen item its original beside every version of it that the report kept."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smalti.compare.page import previews
from smalti.compare.page.facts import Facts
from smalti.compare.page.markup import Html, join, tag
from smalti.compare.page.numbers import counted, significant
from smalti.compare.page.previews import Preview, Store
from smalti.compare.results import Crop, Item, Row
from smalti.tokenizers.errors import SmaltiError

MOST = 12  # exhibits
ORIGINAL = "Original"


@dataclass(frozen=True)
class Version:
    """One way an item is seen. row: None of the original."""

    row: Row | None
    preview: Preview


@dataclass(frozen=True)
class Exhibit:
    """A chosen item with its versions, the original first. start: the version shown first. context: a small picture of the whole."""

    crop: Crop
    item: Item
    versions: tuple[Version, ...]
    start: int
    context: Preview | None = None


def exhibits(facts: Facts, folder: Path, limit: int = previews.LIMIT) -> tuple[list[Exhibit], Store]:
    """Those whose original and at least one version can be shown, and the media that they need."""
    store = Store(folder, 0)
    found = []
    items = {item.id: item for item in facts.report.items}
    crops = [crop for crop in facts.report.crops[:MOST] if crop.item in items and items[crop.item].media is not None]
    for k, crop in enumerate(crops):
        store.limit = store.spent + (limit - store.spent) // (len(crops) - k)  # an equal share of what is left
        try:
            exhibit = _exhibit(facts, store, crop, items[crop.item])
        except SmaltiError as error:
            store.left_out.append(f"{crop.item}: {error}")
            continue
        if exhibit is not None:
            found.append(exhibit)
    if len(facts.report.crops) > MOST:
        store.left_out.append(f"{counted(len(facts.report.crops) - MOST, 'chosen item')} beyond the first {MOST}")
    return found, store


def _exhibit(facts: Facts, store: Store, crop: Crop, item: Item) -> Exhibit | None:
    assert item.media is not None
    show = _shower(facts, store, crop, item)
    original = show(item.media)
    if original is None:
        store.left_out.append(f"{item.id}: the page is full")
        return None
    context = None
    if crop.box is not None and facts.report.kind == "image":
        context = previews.thumbnail(store, item.media)
    versions = [Version(None, original)]
    full = 0
    for row in _by_need(facts, crop):
        try:
            preview = show(row.decoded or "")
        except SmaltiError as error:
            store.left_out.append(f"{item.id}, {row.codec} {row.setting}: {error}")
            continue
        if preview is None:
            full += 1
        else:
            versions.append(Version(row, preview))
    if full:
        store.left_out.append(f"{item.id}: {counted(full, 'version')}, the page is full")
    if len(versions) < 2:
        return None
    start = versions[1]
    order = sorted(versions[1:], key=lambda v: (facts.index[v.row.codec], facts.rate(v.row)) if v.row else (-1, 0.0))
    return Exhibit(crop, item, (versions[0], *order), 1 + order.index(start), context)


def _by_need(facts: Facts, crop: Crop) -> list[Row]:
    """Rows with a preview: the one that the choice speaks of, then each codec's nearest to it in rate, then its next, and so on."""
    rows = [row for row in facts.report.rows if row.item == crop.item and row.decoded is not None and facts.rate(row) > 0]
    chosen = next((row for row in rows if (row.codec, row.setting) == (crop.codec, crop.setting)), rows[0] if rows else None)
    if chosen is None:
        return []
    aim = math.log(facts.rate(chosen))
    rows.sort(key=lambda row: abs(math.log(facts.rate(row)) - aim))
    ranks = dict.fromkeys(facts.names, 0)
    ranked = []
    for row in rows:
        ranked.append((ranks[row.codec], facts.index[row.codec] if row is not chosen else -1, row))
        ranks[row.codec] += 1
    return [row for _, _, row in sorted(ranked, key=lambda entry: entry[:2])]


def _shower(facts: Facts, store: Store, crop: Crop, item: Item) -> Callable[[str], Preview | None]:
    """How a file of this kind becomes a preview."""
    kind, size = facts.report.kind, item.size
    assert item.media is not None
    whole = (int(size.get("height", 1)), int(size.get("width", 1)))
    if kind == "image":
        return lambda name: previews.cropped(store, name, crop.box, whole)
    if kind == "video":
        return lambda name: previews.filmed(store, name, crop.box, whole)
    if kind == "audio":
        from smalti.recipes.listening.spectrogram import loudest_of

        loudest = loudest_of(previews.sound_of(store, item.media))
        return lambda name: previews.heard(store, name, loudest)
    if Path(item.media).suffix.lower() in previews.IMAGE_SUFFIXES:
        return lambda name: previews.turned(store, name, None)
    from smalti.recipes.turntables.rendering import frame_of

    ball = frame_of(previews.shape_of(store, item.media))
    return lambda name: previews.turned(store, name, ball)


def section(facts: Facts, found: list[Exhibit], store: Store) -> Html:
    """All exhibits, and what was left out."""
    parts: list[object] = (
        [tag("div", *(_card(facts, exhibit, k, store) for k, exhibit in enumerate(found)), class_="gallery")] if found else []
    )
    if not found:
        parts.append(tag("p", "No decoded previews lie beside this report.", class_="soft"))
    if store.left_out:
        shown = store.left_out[:40]
        lines = [tag("li", line) for line in shown]
        if len(store.left_out) > len(shown):
            lines.append(tag("li", f"and {len(store.left_out) - len(shown)} more"))
        parts.append(tag("details", tag("summary", f"Left out of the gallery: {counted(len(store.left_out), 'thing')}"), tag("ul", *lines)))
    return join(*parts)


def _card(facts: Facts, exhibit: Exhibit, index: int, store: Store) -> Html:
    crop, judge = exhibit.crop, next((j for j in facts.judges if j.name == exhibit.crop.metric), None)
    by = (
        f"{judge.title if judge else crop.metric} {significant(crop.value)} by {facts.title_of.get(crop.codec, crop.codec)}, {crop.setting}"
    )
    head = tag(
        "header",
        tag("h3", tag("span", crop.why.capitalize(), class_="why"), " ", exhibit.item.id),
        tag("p", f"{by}", class_="soft small"),
        _context(exhibit, store),
    )
    kind = facts.report.kind
    body = {"image": _stage, "video": _film, "audio": _sounds, "shape": _turntables}[kind](facts, exhibit, store)
    return tag(
        "article",
        head,
        _picks(facts, exhibit, kind),
        body,
        class_=f"exhibit card {kind}",
        data_exhibit=index,
        data_item=facts.item_index[exhibit.item.id],
    )


def _context(exhibit: Exhibit, store: Store) -> Html:
    """The whole picture, small, with the crop's place in it."""
    small, box = exhibit.context, exhibit.crop.box
    if small is None or box is None:
        return Html("")
    height, width = exhibit.item.size.get("height", 1), exhibit.item.size.get("width", 1)
    mark = tag("rect", x=box[0], y=box[1], width=box[2], height=box[3])
    picture = _img(store, small.picture, f"{exhibit.item.id}, whole", small.width, small.height)
    return tag("div", picture, tag("svg", mark, viewBox=f"0 0 {width:g} {height:g}", aria_hidden="true"), class_="context")


def _picks(facts: Facts, exhibit: Exhibit, kind: str) -> Html:
    """What stands left and right; scripts fill in the settings."""
    codecs = list(dict.fromkeys(v.row.codec for v in exhibit.versions if v.row is not None))
    start = exhibit.versions[exhibit.start].row
    assert start is not None
    options = [
        tag("option", facts.title_of[name], value=facts.index[name], selected=name == start.codec, data_codec=facts.index[name])
        for name in codecs
    ]
    others = [tag("option", facts.title_of[name], value=facts.index[name], data_codec=facts.index[name]) for name in codecs]
    rates = [
        tag("option", _named(facts, v.row), value=k, selected=k == exhibit.start)
        for k, v in enumerate(exhibit.versions)
        if v.row is not None and v.row.codec == start.codec
    ]
    parts = [
        tag("label", tag("span", "Codec"), tag("select", *options, class_="pick-codec")),
        tag("label", tag("span", "Rate"), tag("select", *rates, class_="pick-rate")),
        tag("label", tag("span", "Beside"), tag("select", tag("option", ORIGINAL, value="-1"), *others, class_="pick-left")),
    ]
    if kind in ("image", "video"):
        views = (("slide", "Slider"), ("pair", "Side by side"), *((f"x{k}", f"Difference \N{MULTIPLICATION SIGN}{k}") for k in (4, 8, 16)))
        parts.append(
            tag("label", tag("span", "View"), tag("select", *(tag("option", text, value=v) for v, text in views), class_="pick-view"))
        )
    return tag("div", *parts, class_="picks")


def _named(facts: Facts, row: Row) -> str:
    return f"{row.setting} \N{MIDDLE DOT} {significant(facts.rate(row))} {short_unit(facts)}"


def short_unit(facts: Facts) -> str:
    return {"bits per pixel": "bpp", "bytes per shape": "bytes"}.get(facts.report.rate.unit, facts.report.rate.unit)


def _badge(facts: Facts, version: Version) -> str:
    if version.row is None:
        return ORIGINAL
    return f"{facts.title_of[version.row.codec]}, {significant(facts.rate(version.row))} {short_unit(facts)}"


def _img(store: Store, number: int, alt: str, width: int, height: int, class_: str = "") -> Html:
    return tag("img", src=store.show(number), alt=alt, width=width, height=height, class_=class_ or None, data_media=number)


def _stage(facts: Facts, exhibit: Exhibit, store: Store) -> Html:
    """Two pictures on each other with a slider between them."""
    original, start = exhibit.versions[0], exhibit.versions[exhibit.start]
    width, height = original.preview.width, original.preview.height
    sides = [
        _img(store, v.preview.picture, f"{exhibit.item.id}: {_badge(facts, v)}", v.preview.width, v.preview.height, side)
        for v, side in ((start, "right"), (original, "left"))
    ]
    slider = tag(
        "input",
        type="range",
        min=0,
        max=100,
        value=50,
        step=1,
        class_="slider",
        aria_label=f"how much of {exhibit.item.id} is the original",
    )
    return join(
        tag(
            "div",
            *sides,
            tag("canvas", hidden=True, width=width, height=height, role="img", aria_label="amplified difference"),
            tag("i", class_="handle", aria_hidden="true"),
            slider,
            tag("span", ORIGINAL, class_="badge l"),
            tag("span", _badge(facts, start), class_="badge r"),
            class_="stage",
            style=f"--w:{width};--h:{height}",
        ),
        _numbers(),
    )


def _numbers() -> Html:
    return tag("dl", class_="numbers small soft", aria_live="polite")


def _film(facts: Facts, exhibit: Exhibit, store: Store) -> Html:
    parts: list[Html] = [_stage(facts, exhibit, store)]
    for version, side in ((exhibit.versions[0], "left"), (exhibit.versions[exhibit.start], "right")):
        shown = version.preview
        sheet = (
            tag(
                "img",
                src=store.show(shown.sheet),
                alt=f"{exhibit.item.id}, {previews.MOMENTS} moments: {_badge(facts, version)}",
                class_=f"sheet {side}",
                data_media=shown.sheet,
            )
            if shown.sheet is not None
            else ""
        )
        film = tag(
            "video",
            controls=True,
            muted=True,
            loop=True,
            playsinline=True,
            preload="metadata",
            class_=f"film {side}",
            hidden=shown.played is None,
        )
        parts.append(tag("figure", tag("figcaption", _badge(facts, version), class_=f"name {side}"), sheet, film, class_="side"))
    return join(parts[0], tag("div", *parts[1:], class_="sides"))


def _sounds(facts: Facts, exhibit: Exhibit, store: Store) -> Html:
    parts = []
    for version, side in ((exhibit.versions[0], "left"), (exhibit.versions[exhibit.start], "right")):
        shown = version.preview
        picture = _img(
            store, shown.picture, f"spectrogram of {exhibit.item.id}: {_badge(facts, version)}", shown.width, shown.height, f"sound {side}"
        )
        player = tag(
            "audio",
            controls=True,
            preload="metadata",
            src=store.show(shown.played) if shown.played is not None else None,
            class_=side,
            data_media=shown.played,
        )
        parts.append(tag("figure", tag("figcaption", _badge(facts, version), class_=f"name {side}"), picture, player, class_="side"))
    return join(tag("div", *parts, class_="sides"), _numbers())


def _turntables(facts: Facts, exhibit: Exhibit, store: Store) -> Html:
    parts = []
    for version, side in ((exhibit.versions[0], "left"), (exhibit.versions[exhibit.start], "right")):
        shown = version.preview
        picture = _img(
            store, shown.picture, f"{exhibit.item.id}: {_badge(facts, version)}", shown.width * shown.views, shown.height, f"strip {side}"
        )
        turn = tag("div", picture, class_="turn", style=f"--views:{shown.views}")
        parts.append(tag("figure", tag("figcaption", _badge(facts, version), class_=f"name {side}"), turn, class_="side"))
    views = exhibit.versions[0].preview.views
    bar = tag("input", type="range", min=0, max=views - 1, value=0, step=1, class_="turner", aria_label=f"turn {exhibit.item.id}")
    return join(tag("div", *parts, class_="sides"), tag("label", "Turn", bar, class_="bar") if views > 1 else "", _numbers())


def as_data(facts: Facts, found: list[Exhibit]) -> list[dict[str, Any]]:
    """For scripts: versions with codec (-1: the original), setting, rate, badge, scores, and numbers of media."""
    places = {(row.codec, row.setting, row.item): k for k, row in enumerate(facts.report.rows)}
    return [
        {
            "versions": [
                {
                    "codec": facts.index[v.row.codec] if v.row else -1,
                    "row": places[v.row.codec, v.row.setting, v.row.item] if v.row else -1,
                    "rate": facts.rate(v.row) if v.row else None,
                    "name": _named(facts, v.row) if v.row else ORIGINAL,
                    "badge": _badge(facts, v),
                    "picture": v.preview.picture,
                    "sheet": v.preview.sheet,
                    "played": v.preview.played,
                    "views": v.preview.views,
                }
                for v in exhibit.versions
            ],
            "start": exhibit.start,
            "item": exhibit.item.id,
        }
        for exhibit in found
    ]
