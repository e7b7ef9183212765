"""The page itself: plain HTML that works offline, with its sounds and pictures beside it, in light and in dark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from smalti.recipes.sounds import TITLES
from smalti.tokenizers.contracts import Score


@dataclass(frozen=True)
class Version:
    """One way a sound is heard. sound, picture: file names beside the page. kbps: of the whole file, None for the original. scores: None
    where a metric cannot score it."""

    label: str
    sound: str
    picture: str
    kbps: float | None = None
    scores: Mapping[str, Score | None] | None = None


@dataclass(frozen=True)
class Item:
    """A sound, its original first. about: its length and rate."""

    name: str
    about: str
    versions: Sequence[Version]


@dataclass(frozen=True)
class Total:
    """A setting over all sounds: kbps of all bytes over all seconds, means of scores."""

    label: str
    kbps: float
    scores: Mapping[str, float]


def page(items: Sequence[Item], totals: Sequence[Total], better: Mapping[str, str]) -> str:
    """HTML. better: by metric, in the order of columns, "higher" or "lower"."""
    return HEAD + _table(totals, better) + "".join(map(_item, items)) + TAIL


def _table(totals: Sequence[Total], better: Mapping[str, str]) -> str:
    arrows = {"higher": "\N{UPWARDS ARROW}", "lower": "\N{DOWNWARDS ARROW}"}
    heads = "".join(f"<th>{escape(TITLES.get(name, name))} {arrows[direction]}</th>" for name, direction in better.items())
    rows = "".join(
        f"<tr><th scope=row>{escape(total.label)}</th><td>{total.kbps:.2f}</td>"
        + "".join(f"<td>{_number(total.scores.get(name))}</td>" for name in better)
        + "</tr>\n"
        for total in totals
    )
    return f"<div class=wide><table><tr><th>codec</th><th>kbps</th>{heads}</tr>\n{rows}</table></div>\n"


def _item(item: Item) -> str:
    cards = "".join(map(_card, item.versions))
    return f"<section><h2>{escape(item.name)}</h2><p>{escape(item.about)}</p>\n<div class=cards>\n{cards}</div></section>\n"


def _card(version: Version) -> str:
    rate = "" if version.kbps is None else f" <b>{version.kbps:.2f} kbps</b>"
    lines = "".join(
        f"<div><dt>{escape(TITLES.get(name, name))}</dt><dd>{_number(score.value if score else None)}</dd></div>"
        for name, score in (version.scores or {}).items()
    )
    scores = f"<dl>{lines}</dl>" if lines else ""
    return (
        f'<figure><figcaption>{escape(version.label)}{rate}</figcaption><img src="{escape(version.picture)}" alt="spectrogram of '
        f'{escape(version.label)}" loading=lazy><audio controls preload=metadata src="{escape(version.sound)}"></audio>{scores}</figure>\n'
    )


def _number(value: float | None) -> str:
    return "\N{EN DASH}" if value is None else f"{value:.3f}".replace("-", "\N{MINUS SIGN}")


HEAD = """<!doctype html>
<html lang=en><head><meta charset=utf-8><meta name=viewport content="width=device-width, initial-scale=1"><title>Listening</title>
<style>
:root { color-scheme: light dark; --ink: #1c1e22; --page: #fbfaf7; --card: #fff; --line: #d9d6cf; --soft: #5d616a; }
@media (prefers-color-scheme: dark) { :root { --ink: #e9e7e2; --page: #17181b; --card: #202226; --line: #3a3d44; --soft: #a3a7b0; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem; max-width: 84rem; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { margin: 0 0 .25rem; font-size: 1.5rem; } h2 { margin: 2.5rem 0 0; font-size: 1.1rem; overflow-wrap: anywhere; }
p { margin: 0 0 .75rem; color: var(--soft); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .8rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th:first-child { text-align: left; padding-left: 0; } tr:first-child th { color: var(--soft); font-weight: 500; }
[scope=row] { font-weight: 500; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(19rem, 100%), 1fr)); gap: 1rem; }
figure { margin: 0; padding: .75rem; border: 1px solid var(--line); border-radius: .5rem; background: var(--card); }
figcaption { display: flex; justify-content: space-between; gap: 1rem; margin-bottom: .5rem; }
figcaption b { white-space: nowrap; }
img { display: block; width: 100%; height: auto; border-radius: .25rem; }
audio { display: block; width: 100%; margin: .5rem 0 0; }
dl { display: flex; flex-wrap: wrap; gap: .2rem 1rem; margin: .5rem 0 0; font-size: .85rem; font-variant-numeric: tabular-nums; }
dl div { display: flex; gap: .35rem; } dt { color: var(--soft); } dd { margin: 0; }
</style></head><body>
<h1>Listening</h1>
<p>kbps of whole files; over all sounds, all bits over all seconds, and means of scores. Spectrograms: time to the right, up to half the
sample rate, equally bright where equally loud as in the original. A player takes over where another one of its row was.</p>
"""

TAIL = """<script>
let last = null;
document.addEventListener("play", event => {
  const now = event.target;
  if (last && last !== now) {
    if (last.closest("section") === now.closest("section") && !last.ended) now.currentTime = last.currentTime;
    last.pause();
  }
  last = now;
}, true);
</script></body></html>
"""
