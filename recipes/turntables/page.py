"""The page: plain HTML that works offline, its pictures within it, in light and in dark."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape


@dataclass(frozen=True)
class Version:
    """One way a shape is seen. picture: bytes of a PNG or WebP strip of all views. about: scores, in words."""

    label: str
    picture: bytes
    about: str = ""


@dataclass(frozen=True)
class Item:
    """A shape, its original first."""

    name: str
    about: str
    versions: Sequence[Version]


def page(title: str, items: Sequence[Item], views: int) -> str:
    """HTML; all strips have so many views."""
    return (
        HEAD.replace("TITLE", escape(title)).replace("VIEWS", str(views)) + "".join(map(_item, items)) + TAIL.replace("VIEWS", str(views))
    )


def _item(item: Item) -> str:
    cards = "".join(
        f'<figure><figcaption>{escape(v.label)}</figcaption><div class=turn role=img aria-label="{escape(item.name)}, {escape(v.label)}" '
        f'style="background-image:url(data:image/webp;base64,{base64.b64encode(v.picture).decode()})"></div><p>{escape(v.about)}</p></figure>\n'
        for v in item.versions
    )
    return f"<section><h2>{escape(item.name)}</h2><p>{escape(item.about)}</p>\n<div class=cards>\n{cards}</div></section>\n"


HEAD = """<!doctype html>
<html lang=en><head><meta charset=utf-8><meta name=viewport content="width=device-width, initial-scale=1"><title>TITLE</title>
<style>
:root { color-scheme: light dark; --ink: #1c1e22; --page: #fbfaf7; --card: #fff; --line: #d9d6cf; --soft: #5d616a; --at: 0; }
@media (prefers-color-scheme: dark) { :root { --ink: #e9e7e2; --page: #17181b; --card: #202226; --line: #3a3d44; --soft: #a3a7b0; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem; max-width: 84rem; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { margin: 0 0 .25rem; font-size: 1.5rem; } h2 { margin: 2rem 0 0; font-size: 1.1rem; overflow-wrap: anywhere; }
p { margin: 0 0 .75rem; color: var(--soft); } figure p { margin: .4rem 0 0; font-size: .85rem; font-variant-numeric: tabular-nums; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(13rem, 100%), 1fr)); gap: 1rem; }
figure { margin: 0; padding: .75rem; border: 1px solid var(--line); border-radius: .5rem; background: var(--card); }
figcaption { margin-bottom: .5rem; font-weight: 500; }
.turn { aspect-ratio: 1; width: 100%; border-radius: .25rem; background-size: calc(100% * VIEWS) 100%;
  background-position: calc(100% * var(--at) / (VIEWS - 1)) 0; cursor: ew-resize; touch-action: pan-y; }
.bar { position: sticky; top: 0; z-index: 1; padding: .6rem 0; background: var(--page); display: flex; gap: 1rem; align-items: center; }
.bar input { flex: 1; accent-color: currentcolor; }
</style></head><body>
<h1>TITLE</h1>
<p>Bytes are those of whole files. Drag the bar, or a shape, to turn all of them.</p>
<label class=bar>turn <input type=range min=0 max=1 step=1 value=0 aria-label="turn all shapes"></label>
"""

TAIL = """<script>
const views = VIEWS, bar = document.querySelector(".bar input");
bar.max = views - 1;
const show = at => { at = (at % views + views) % views; bar.value = at; document.documentElement.style.setProperty("--at", at); };
bar.addEventListener("input", () => show(+bar.value));
let from = null;
document.addEventListener("pointerdown", e => { if (e.target.classList.contains("turn")) from = { x: e.clientX, at: +bar.value }; });
document.addEventListener("pointermove", e => { if (from) show(from.at + Math.round((e.clientX - from.x) / 18)); });
document.addEventListener("pointerup", () => from = null);
</script></body></html>
"""
