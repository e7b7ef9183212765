"""HTML and SVG as values: what is no `Html` yet is text and gets escaped, so that no name, however hostile, becomes markup."""

from __future__ import annotations

import json
import re
from html import escape
from typing import Any

# characters that HTML forbids, and those that turn the direction of what follows
_UNSEEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufdd0-\ufdef\ufffe\uffff\ud800-\udfff]")
_EMPTY = frozenset(("img", "input", "meta", "link"))  # elements of HTML without an end; those of SVG all have one


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


def plain(value: object) -> str:
    """Text with a sign in place of what cannot be shown."""
    return _UNSEEN.sub("\N{REPLACEMENT CHARACTER}", str(value))


def text(value: object) -> Html:
    """Markup of anything: itself where it is markup, escaped otherwise; nothing of None."""
    return value if isinstance(value, Html) else Html("" if value is None else escape(plain(value)))


def join(*parts: object) -> Html:
    return Html("".join(map(text, parts)))


def tag(name: str, /, *children: object, **attributes: object) -> Html:
    """An element. Attributes: `class_` is class, `data_codec` data-codec; None and False leave one out, True gives it without a value."""
    found = [name]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        named = key.rstrip("_").replace("_", "-")
        found.append(named if value is True else f'{named}="{escape(plain(value))}"')
    head = f"<{' '.join(found)}>"
    return Html(head if name in _EMPTY and not children else f"{head}{join(*children)}</{name}>")


def data(value: Any, identity: str) -> Html:
    """A script element that holds a value as JSON, without what could end the element or open a comment in it."""
    found = json.dumps(value, allow_nan=False, separators=(",", ":"))
    for sign in "<>&":
        found = found.replace(sign, f"\\u{ord(sign):04x}")
    return Html(f'<script type="application/json" id="{escape(identity)}">{found}</script>')
