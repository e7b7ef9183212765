"""The page as a person uses it, in headless Chromium: no complaint in its console, and every switch does what it says."""

from __future__ import annotations

import dataclasses
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from smalti.codecs.media.audio import write_audio
from smalti.codecs.media.video import write_video
from smalti.compare.page import write_page
from smalti.tokenizers.signals import Audio, Video

HOSTILE = '</script><script>window.taken = 1</script><img src=x onerror="window.taken = 1">'


@pytest.fixture(scope="module")
def page(make_in: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with names that would do harm."""
    folder = tmp_path_factory.mktemp("page")
    report = make_in(folder, {"ours": 3.0, "classic": 0.0, "classic/2": -2.0})
    codecs = (report.codecs[0], dataclasses.replace(report.codecs[1], title=HOSTILE), report.codecs[2])
    return write_page(folder, dataclasses.replace(report, codecs=codecs))


@pytest.fixture(params=[390, 1440])
def opened(request: pytest.FixtureRequest, browser: Any, page: Path) -> Any:
    """The page anew at the width of a phone and of a desk; afterwards the console must be silent."""
    browser.open(page, request.param)
    yield browser
    assert browser.complaints() == []
    assert browser.js("window.taken === undefined")


def shown(selector: str) -> str:
    return f"[...document.querySelectorAll({selector!r})].filter(e => e.getClientRects().length).length"


def test_nothing_sticks_out(opened: Any) -> None:
    assert opened.js("document.documentElement.scrollWidth <= innerWidth")
    assert opened.js(shown("section")) == 11
    assert opened.js("document.querySelector('h1').textContent") == "OURS takes the fewest bytes by PSNR, MS-SSIM and LPIPS AlexNet"
    assert HOSTILE in opened.js("document.querySelector('.summary').textContent")


def test_scripts_draw_what_the_page_came_with(opened: Any, page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    written = re.findall(r'<path d="(M[^"]*)" class="line"', text.partition('id="curves"')[2].partition("</section>")[0])
    drawn = opened.js("[...document.querySelectorAll('#curves .line')].map(e => e.getAttribute('d'))")
    assert len(written) == 3 * 4
    assert [numbers(path) for path in drawn] == [pytest.approx(numbers(path), abs=0.02) for path in written]
    ticks = opened.js("[...document.querySelectorAll('#plot-0 .grid text')].map(e => e.textContent)")
    first = text.partition('id="plot-0"')[2].partition("</svg></div>")[0].partition("</figcaption>")[2].partition("</figure>")[0]
    assert ticks == re.findall(r"<text[^>]*>([^<]*)</text>", first.partition('class="curves"')[0])


def numbers(path: str) -> list[float]:
    return [float(number) for number in re.findall(r"-?[\d.]+", path)]


def test_the_slider_shares_the_picture_out(opened: Any) -> None:
    side = "getComputedStyle(document.querySelector('.stage .left')).clipPath"
    assert "50%" in opened.js(side)
    opened.js("document.querySelector('.slider').focus()")
    opened.press("ArrowRight", 10)
    assert "40%" in opened.js(side), "the original reaches to 60 %"
    x, y = opened.middle(".stage")
    width = opened.js("document.querySelector('.stage').getBoundingClientRect().width")
    opened.drag((x, y), (x - width * 0.3, y))
    assert opened.js("+document.querySelector('.slider').value") == pytest.approx(20, abs=3)


def test_versions_and_differences(opened: Any) -> None:
    source = "document.querySelector('img.right').src"
    before = opened.js(source)
    opened.choose(".pick-codec", 1)
    assert opened.js(source) != before
    assert HOSTILE[:20] in opened.js("document.querySelector('.badge.r').textContent")
    opened.choose(".pick-rate", opened.js("document.querySelector('.pick-rate').lastElementChild.value"))
    assert "4.00 bpp" in opened.js("document.querySelector('.badge.r').textContent")
    opened.choose(".pick-view", "x8")
    opened.until("document.querySelector('canvas').ariaLabel.endsWith('times 8')")
    pixel = "[...document.querySelector('canvas').getContext('2d').getImageData(3, 3, 1, 1).data].join()"
    assert opened.js(pixel) == "48,48,48,255", "six steps, times eight"
    opened.choose(".pick-left", 1)
    opened.until("!document.querySelector('canvas').ariaLabel.includes('Original')")
    assert opened.js(pixel) == "0,0,0,255", "one version beside itself"


def test_another_anchor(opened: Any) -> None:
    caption = "[...document.querySelectorAll('.summary caption')].find(e => e.getClientRects().length).textContent"
    assert "OURS" in opened.js(caption), "the first"
    opened.choose("#anchor", 1)
    assert HOSTILE in opened.js(caption)
    assert opened.js(shown("#verdict .summary")) == 1
    assert opened.js(shown("#bytes .forest")) == 3
    opened.choose("#matrix-judge", 2)
    assert "LPIPS" in opened.js("[...document.querySelectorAll('.matrix caption')].find(e => e.getClientRects().length).textContent")


def test_filters(opened: Any) -> None:
    assert opened.js(shown("#curves .curve")) == 12
    opened.click("[data-chip='1']")
    assert opened.js(shown("#curves .curve")) == 8
    assert opened.js(shown("#verdict .summary tbody tr")) == 2
    assert HOSTILE not in opened.js("document.querySelector('#files-table').textContent")
    opened.click("[data-measure='0']")
    assert opened.js(shown("#curves .plot")) == 3
    assert "PSNR" not in opened.js("document.querySelector('#verdict .ribbons').innerText")
    opened.choose("#item", 2)
    assert opened.js("[...document.querySelectorAll('#files-table tbody td:nth-child(3)')].every(e => e.textContent === 'c.png')")
    assert opened.js("document.querySelectorAll('#files-table tbody tr').length") == 10
    opened.click("#reset")
    assert opened.js(shown("#curves .curve")) == 12
    assert opened.js("document.querySelectorAll('[aria-pressed=false]').length") == 0


def test_a_plot_under_the_pointer_and_the_keys(opened: Any) -> None:
    x, y = opened.middle("#plot-0 .curve[data-codec='0'] .mark")
    opened.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    tip = "document.querySelector('#plot-0 .tip').innerText"
    assert opened.js(tip).split("\n")[:2] == ["OURS", "q0"]
    opened.js("document.querySelector('#plot-0 svg[tabindex]').focus()")
    opened.press("ArrowRight", 2)
    assert opened.js(tip).split("\n")[:2] == ["OURS", "q2"]
    opened.press("ArrowDown")
    assert opened.js(tip).startswith(HOSTILE[:9])
    line = "document.querySelector('#plot-0 .line').getAttribute('d')"
    whole = opened.js(line)
    opened.click("#plot-0 [data-act=in]")
    assert opened.js(line) != whole
    opened.click("#plot-0 [data-act=out]")
    assert opened.js(line) == whole
    x, y = opened.middle("#plot-0 .canvas")
    opened.drag((x - 60, y - 40), (x + 60, y + 40))
    assert opened.js("document.querySelector('#plot-0').classList.contains('zoomed')")
    assert opened.js(line) != whole
    opened.js("document.querySelector('#plot-0 svg[tabindex]').dispatchEvent(new MouseEvent('dblclick'))")
    assert opened.js(line) == whole


def test_one_item_has_its_own_curves(opened: Any) -> None:
    line = "document.querySelector('#plot-0 .line').getAttribute('d')"
    whole = opened.js(line)
    assert opened.js(shown("#plot-0 .whisk")) == 3
    opened.choose("#item", 0)
    assert opened.js(line) != whole
    assert opened.js(shown("#plot-0 .whisk")) == 0, "one item has no interval"
    opened.choose("#item", "")
    assert opened.js(line) == whole


def test_the_table_of_files_sorts(opened: Any) -> None:
    bytes_ = "[...document.querySelectorAll('#files-table tbody td:nth-child(4)')].map(e => +e.textContent)"
    opened.click("[data-sort=bytes]")
    found = opened.js(bytes_)
    assert found == sorted(found)
    opened.click("[data-sort=bytes]")
    found = opened.js(bytes_)
    assert found == sorted(found, reverse=True)
    assert found[0] == 653
    assert opened.js("document.querySelector('[aria-sort=descending]').textContent") == "Bytes"
    assert len(found) == 25
    opened.click("#more")
    assert len(opened.js(bytes_)) == 100


@pytest.mark.parametrize("kind", ["audio", "video", "shape"])
def test_signals_of_other_kinds(browser: Any, make: Any, of_kind: Any, tmp_path: Path, kind: str) -> None:
    report = make({"ours": 3.0, "classic": 0.0}, pictures=False)
    (tmp_path / "media").mkdir()
    suffix = {"audio": "flac", "video": "mp4", "shape": "png"}[kind]
    for k in range(4):
        path = tmp_path / "media" / f"{k}.{suffix}"
        if kind == "audio":
            write_audio(Audio(np.full((1, 4000), 0.1 * k, np.float32), 8000), path)
        elif kind == "video":
            write_video(Video([np.full((32, 48, 3), 50 * k, np.uint8)] * 3, Fraction(25)), path)
        else:
            PIL.Image.fromarray(np.full((24, 96, 3), 50 * k, np.uint8)).save(path)
    page = write_page(tmp_path, of_kind(report, kind, {k: f"media/{k}.{suffix}" for k in range(4)}))
    browser.open(page, 390)
    source = "[...document.querySelectorAll('.exhibit :is(audio, video, .strip).right')].map(e => e.src)[0]"
    before = browser.js(source)
    browser.choose(".pick-rate", 3)
    assert browser.js(source) != before
    assert "q3" in browser.js("document.querySelector('.pick-rate').selectedOptions[0].textContent")
    if kind == "shape":
        browser.js("document.querySelector('.turner').focus()")
        browser.press("ArrowRight", 2)
        shift = "document.querySelector('.strip.right').offsetLeft / document.querySelector('.turn').offsetWidth"
        assert browser.js(shift) == pytest.approx(-2, abs=0.02), "the third view"
    assert browser.js("document.documentElement.scrollWidth <= innerWidth")
    assert browser.complaints() == []
