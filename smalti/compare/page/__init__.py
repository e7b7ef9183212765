"""The page of a comparison: one HTML file, made from `report.json` and the media beside it, that needs neither network nor server."""

from __future__ import annotations

import os
from pathlib import Path

from smalti.compare.results import FILE, Report, load

NAME = "report.html"


def write_page(folder: str | os.PathLike[str], report: Report | None = None) -> Path:
    """Write `report.html` into the folder of a report, whole or not at all, and say where it is.

    report: by default that of `report.json` in the folder. UsageError where it is none or the page cannot be written.
    """
    from smalti.codecs.media.files import write_atomically
    from smalti.compare.page.document import render

    place = Path(folder)
    found = report if report is not None else load(place / FILE)
    write_atomically(place / NAME, render(found, place).encode())
    return place / NAME
