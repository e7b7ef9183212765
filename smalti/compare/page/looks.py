"""What tells codecs apart in every picture: a colour that people with any eyes can tell from its neighbours, a dash and a marker.

Colours are those of Okabe and Ito (2008), darker on white and lighter on black (the style sheet holds both); of a family (jpeg, jpeg/2) all
have one colour and differ in dash, and from the tenth family on colours return with another dash and marker.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

COLOURS = 9
DASHES = ("", "6 3", "2 3", "8 3 2 3")
MARKERS = ("circle", "square", "triangle", "diamond", "down", "cross", "plus")


@dataclass(frozen=True)
class Look:
    """colour: of the style sheet's --c0 .. --c8."""

    colour: int
    dash: str
    marker: str

    @property
    def stroke(self) -> str:
        return f"var(--c{self.colour})"


def looks(names: Sequence[str]) -> dict[str, Look]:
    """One for each codec."""
    families = list(dict.fromkeys(map(_family, names)))
    found, seen = {}, dict.fromkeys(families, 0)
    for name in names:
        family = families.index(_family(name))
        dash = (family // COLOURS + seen[_family(name)]) % len(DASHES)
        found[name] = Look(family % COLOURS, DASHES[dash], MARKERS[(family + seen[_family(name)]) % len(MARKERS)])
        seen[_family(name)] += 1
    return found


def _family(name: str) -> str:
    return name.partition("/")[0]


def marker(shape: str, size: float = 4) -> str:
    """The path of a marker about (0, 0)."""
    a = size
    return {
        "circle": f"M{-a} 0a{a} {a} 0 1 0 {2 * a} 0a{a} {a} 0 1 0 {-2 * a} 0z",
        "square": f"M{-0.88 * a:g} {-0.88 * a:g}h{1.76 * a:g}v{1.76 * a:g}h{-1.76 * a:g}z",
        "triangle": f"M0 {-1.15 * a:g}L{1.1 * a:g} {0.8 * a:g}H{-1.1 * a:g}z",
        "diamond": f"M0 {-1.25 * a:g}L{1.25 * a:g} 0L0 {1.25 * a:g}L{-1.25 * a:g} 0z",
        "down": f"M0 {1.15 * a:g}L{1.1 * a:g} {-0.8 * a:g}H{-1.1 * a:g}z",
        "cross": f"M{-a} {-a}L0 {-0.4 * a:g}L{a} {-a}L{0.4 * a:g} 0L{a} {a}L0 {0.4 * a:g}L{-a} {a}L{-0.4 * a:g} 0z",
        "plus": f"M{-0.35 * a:g} {-1.1 * a:g}h{0.7 * a:g}v{0.75 * a:g}h{0.75 * a:g}v{0.7 * a:g}h{-0.75 * a:g}v{0.75 * a:g}"
        f"h{-0.7 * a:g}v{-0.75 * a:g}h{-0.75 * a:g}v{-0.7 * a:g}h{0.75 * a:g}z",
    }[shape]
