"""Small reports with known curves, and a browser that opens their pages."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import math
import os
import select
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from smalti.compare import results

Make = Callable[..., results.Report]
SIDE = (24, 32)


NAMES = tuple(f"{letter}.png" for letter in "abcdefgh")


@pytest.fixture(scope="session")
def make_in() -> Make:
    """As `make`, with the folder as its first argument."""
    return report_of


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A report whose media lie in `tmp_path`: psnr = 30 + 6 log2(rate) + gain of the codec + ease of the item, and so on."""
    return functools.partial(report_of, tmp_path)


def report_of(folder: Path, gains: dict[str, float], names: Sequence[str] = NAMES, rates: int = 5, pictures: bool = True) -> results.Report:
    units = SIDE[0] * SIDE[1]
    settings = tuple(f"q{k}" for k in range(rates))
    items = tuple(
        results.Item(name, f"{k:064x}", {"height": SIDE[0], "width": SIDE[1]}, float(units), picture(folder, k, 0) if pictures else None)
        for k, name in enumerate(names)
    )
    rows = []
    for (c, (codec, gain)), (s, setting), (k, item) in itertools.product(enumerate(gains.items()), enumerate(settings), enumerate(items)):
        size = round(units / 8 * 0.25 * 2**s * (1 + k / 10))
        psnr = 30 + 6 * math.log2(8 * size / units) + gain + 3 * k
        told = {"psnr": psnr, "ms-ssim": 1 - 10 ** (-psnr / 20), "lpips-alex": 1 / psnr}
        decoded = picture(folder, k, 1 + c + s) if pictures and k == 0 else None
        ours = (4, size - 4, 0.5) if c == 0 else (None, None, None)
        rows.append(results.Row(codec, setting, item.id, size, *ours, 0.01 * (c + 1), 0.02 * (s + 1), None, told, None, decoded))
    metrics = (
        results.MetricInfo("psnr", "dB", "higher", "RGB, 8 bits"),
        results.MetricInfo("ms-ssim", "", "higher", "luma", "db"),
        results.MetricInfo("lpips-alex", "", "lower", "AlexNet"),
    )
    task = results.TaskInfo("classification-agreement", "share", "higher", "top 1", 0.95, "trained on clean, tested on compressed")
    scores = tuple(
        results.TaskScore(task.name, codec, setting, s / rates, tuple(float(s / rates) for _ in items))
        for codec in gains
        for s, setting in enumerate(settings)
    )
    curves = [curve(rows, items, codec, metric, settings) for codec in gains for metric in metrics]
    for codec in gains:
        own = [score for score in scores if score.codec == codec]
        points = tuple(results.Point(score.setting, 0.1 * 2**k, score.value, score.value, score.value) for k, score in enumerate(own))
        curves.append(results.Curve(codec, task.name, points))
    report = results.Report(
        results.SCHEMA,
        "image",
        "2026-11-28T23:12:00+00:00",
        7,
        results.Manifest(
            "0.1", "3.11", {"numpy": "2.4"}, results.Machine("a processor", 2, "Linux"), {"codecs": list(gains)}, {"m": "abc"}
        ),
        results.Rate("bits per pixel", "8 * bytes / (height * width)", 8.0),
        items,
        metrics,
        (task,),
        tuple(
            results.CodecInfo(name, name.upper(), "ours" if k == 0 else "classical", settings, False, "1.0", True)
            for k, name in enumerate(gains)
        ),
        (results.Absent("jxl", "imagecodecs is not installed", "pip install imagecodecs"),),
        (results.Failure(next(iter(gains), None), settings[0], names[-1], "compress", "no bytes came"),) if gains else (),
        tuple(rows),
        scores,
        tuple(curves),
        tuple(bd(metric.name, a, c, gains) for metric in metrics for a, c in itertools.permutations(gains, 2)),
        (),
        (results.Correlation(task.name, "psnr", 0.9, 0.8, 0.95, 15), results.Correlation(task.name, "lpips-alex", -0.1, -0.4, 0.2, 15)),
        (results.Crop(names[0], (4, 4, 16, 12), "worst", "lpips-alex", next(iter(gains)), "q1", 0.03),) if gains else (),
    )
    results.check(report)
    return report


def curve(
    rows: Sequence[results.Row], items: Sequence[results.Item], codec: str, metric: results.MetricInfo, settings: Sequence[str]
) -> results.Curve:
    points = []
    for setting in settings:
        own = [row for row in rows if (row.codec, row.setting) == (codec, setting)]
        value = float(np.mean([row.metrics[metric.name] for row in own]))
        value = -10 * math.log10(1 - value) if metric.transform == "db" else value
        rate = float(np.mean([8 * row.bytes / items[0].units for row in own]))
        points.append(results.Point(setting, rate, value, value * 0.98, value * 1.02))
    return results.Curve(codec, metric.name, tuple(points))


def bd(metric: str, anchor: str, codec: str, gains: dict[str, float]) -> results.BD:
    percent = 100 * (2 ** ((gains[anchor] - gains[codec]) / 6) - 1)
    low, high = percent - 3, percent + 3
    verdict = "better" if high < 0 else "worse" if low > 0 else "no verdict"
    return results.BD(metric, anchor, codec, percent, low, high, percent + 0.1, 0.8, (5, 5), (0, 0), 0.0, verdict)


def picture(folder: Path, seed: int, damage: int) -> str:
    pixels = np.random.default_rng(seed).integers(60, 180, (*SIDE, 3), np.uint8) + np.uint8(damage)
    path = folder / "media" / f"{seed}-{damage}.png"
    path.parent.mkdir(exist_ok=True)
    if not path.exists():
        PIL.Image.fromarray(pixels).save(path)
    return f"media/{path.name}"


@pytest.fixture(scope="session")
def of_kind() -> Callable[..., results.Report]:
    """A report as one of another kind, with previews of the first item: media[0] is the original, media[k] what the first codec made of it
    in its k-th setting."""
    return changed


def changed(report: results.Report, kind: str, media: dict[int, str]) -> results.Report:
    first = report.items[0].id
    items = tuple(dataclasses.replace(item, media=media[0] if item.id == first else None) for item in report.items)
    names = {f"q{k}": name for k, name in media.items() if k}
    rows = tuple(
        dataclasses.replace(row, decoded=names.get(row.setting) if (row.codec, row.item) == (report.codecs[0].name, first) else None)
        for row in report.rows
    )
    crops = tuple(dataclasses.replace(crop, box=None) for crop in report.crops)
    return dataclasses.replace(report, kind=kind, items=items, rows=rows, crops=crops)


PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
# a starter of its own, since the browser wants its pipe as files 3 and 4
STARTER = """
import os, sys
read, write = (os.dup(int(number)) for number in sys.argv[1:3])
os.dup2(read, 203); os.dup2(write, 204)
os.dup2(203, 3); os.dup2(204, 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
PATIENCE = 120  # seconds without a word after which the browser counts as dead


class Browser:
    """Headless Chromium, spoken to in the words of its DevTools protocol over a pipe."""

    def __init__(self, program: str, profile: Path) -> None:
        read, self.write = os.pipe()
        self.read, write = os.pipe()
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
        flags += ["--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--remote-debugging-pipe"]
        command = [sys.executable, "-c", STARTER, str(read), str(write), program, *flags, f"--user-data-dir={profile}", "about:blank"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(command, pass_fds=(read, write), **quiet)  # type: ignore[call-overload]
        os.close(read)
        os.close(write)
        self.rest, self.count, self.session = b"", 0, None
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> Any:
        """The result of a command; what else happens meanwhile goes to `events`."""
        self.count += 1
        message = {"id": self.count, "method": method, "params": parameters} | ({"sessionId": self.session} if self.session else {})
        os.write(self.write, json.dumps(message).encode() + b"\0")
        while True:
            found = self._next()
            if found.get("id") == self.count:
                assert "error" not in found, (method, found)
                return found["result"]
            self.events.append(found)

    def wait(self, method: str) -> dict[str, Any]:
        """The next event of that name."""
        while True:
            for k, event in enumerate(self.events):
                if event.get("method") == method:
                    return self.events.pop(k)
            self.events.append(self._next())

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self.rest:
            ready, _, _ = select.select([self.read], [], [], PATIENCE)
            data = os.read(self.read, 2**20) if ready else b""
            assert data, "the browser is silent or gone"
            self.rest += data
        line, _, self.rest = self.rest.partition(b"\0")
        return json.loads(line)

    def open(self, path: Path, width: int, height: int = 900) -> None:
        """Show a file in a window of so many pixels."""
        self.events.clear()
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        self.call("Page.navigate", url=path.as_uri())
        self.wait("Page.loadEventFired")

    def js(self, expression: str) -> Any:
        """The value of an expression, of a promise what it comes to."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def until(self, expression: str) -> None:
        """Wait until an expression is true, frame by frame; the test fails where it never is."""
        look = "const look = left => EXPRESSION || !left ? done(left > 0) : requestAnimationFrame(() => look(left - 1)); look(3000)"
        assert self.js(f"new Promise(done => {{ {look.replace('EXPRESSION', f'({expression})')} }})"), expression

    def click(self, selector: str, times: int = 1) -> None:
        """With the pointer, in the middle of an element, which is scrolled to."""
        x, y = self.middle(selector)
        for kind in ("mousePressed", "mouseReleased") * times:
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def middle(self, selector: str) -> tuple[float, float]:
        quoted = json.dumps(selector)
        self.js(f"document.querySelector({quoted}).scrollIntoView({{block: 'center', behavior: 'instant'}})")
        self.frames()  # the pointer meets what is painted, not what will be
        box = self.js(f"(b => [b.x, b.y, b.width, b.height])(document.querySelector({quoted}).getBoundingClientRect())")
        return box[0] + box[2] / 2, box[1] + box[3] / 2

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        for kind, (x, y) in (("mousePressed", start), ("mouseMoved", end), ("mouseReleased", end)):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)

    def press(self, key: str, times: int = 1) -> None:
        """A key, in whatever has the focus."""
        codes = {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Tab": 9, "Escape": 27}
        for kind in ("rawKeyDown", "keyUp") * times:
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=codes[key])

    def choose(self, selector: str, value: object) -> None:
        """An option of a select, as if a person had."""
        change = f"e.value = {json.dumps(str(value))}; e.dispatchEvent(new Event('change', {{bubbles: true}}))"
        self.js(f"(e => {{ {change} }})(document.querySelector({json.dumps(selector)}))")

    def frames(self) -> None:
        """Until what has changed is painted."""
        self.js("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done))))")

    def complaints(self) -> list[str]:
        """What stands in the console as a warning or an error, exceptions, and requests beyond the page itself."""
        self.frames()
        found = []
        for event in self.events:
            method, told = event.get("method"), event.get("params", {})
            if method == "Runtime.exceptionThrown":
                found.append(str(told["exceptionDetails"]))
            elif method == "Runtime.consoleAPICalled" and told["type"] in ("error", "warning", "assert"):
                found.append(str(told["args"]))
            elif method == "Log.entryAdded" and told["entry"]["level"] in ("error", "warning"):
                found.append(told["entry"]["text"])
            elif method == "Network.requestWillBeSent" and not told["request"]["url"].startswith(("data:", "file:")):
                found.append(told["request"]["url"])
        return found

    def close(self) -> None:
        os.close(self.write)
        os.close(self.read)
        self.process.terminate()
        self.process.wait()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        pytest.skip(f"needs a browser: none of {', '.join(PROGRAMS)} is on the path; install the package chromium")
    opened = Browser(program, tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()
