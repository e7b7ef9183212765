"""A report with its names looked up: what every part of the page asks of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from smalti.compare.page.looks import Look, looks
from smalti.compare.page.numbers import counted
from smalti.compare.results import BD, Curve, Point, Report, Row, finite

TITLES = {
    "psnr": "PSNR", "psnr-y": "PSNR of luma", "ssim": "SSIM", "ms-ssim": "MS-SSIM", "ms-ssim-db": "MS-SSIM", "lpips-alex": "LPIPS AlexNet",
    "lpips-vgg": "LPIPS VGG", "stoi": "STOI", "pesq-wb": "PESQ wideband", "pesq-nb": "PESQ narrowband", "si-sdr": "SI-SDR",
    "d1-psnr": "D1-PSNR", "video-psnr": "PSNR", "video-psnr-y": "PSNR of luma", "video-ssim": "SSIM", "video-ms-ssim": "MS-SSIM",
    "video-lpips-alex": "LPIPS AlexNet", "temporal-lpips": "Temporal LPIPS", "stft-distance": "STFT distance",
}  # fmt: skip
THINGS = {"image": ("picture", "pictures"), "audio": ("sound", "sounds"), "video": ("film", "films"), "shape": ("shape", "shapes")}
ARROWS = {"higher": "\N{UPWARDS ARROW}", "lower": "\N{DOWNWARDS ARROW}"}


@dataclass(frozen=True)
class Judge:
    """A metric or a task. unit: of its curves, after the transform. ceiling: a task's score on the originals."""

    name: str
    title: str
    unit: str
    better: str
    convention: str
    transform: str | None = None
    is_task: bool = False
    ceiling: float | None = None
    protocol: str = ""

    @property
    def direction(self) -> str:
        return f"{ARROWS.get(self.better, '')} {self.better} is better"

    @property
    def label(self) -> str:
        return f"{self.title}, {self.unit}" if self.unit else self.title


@dataclass(frozen=True)
class Facts:
    """The report, and lists by name made on first use."""

    report: Report

    @cached_property
    def judges(self) -> tuple[Judge, ...]:
        """Metrics, then tasks."""
        metrics = [
            Judge(m.name, _title(m.name), "dB" if m.transform == "db" else m.unit, m.better, m.convention, m.transform)
            for m in self.report.metrics
        ]
        return (
            *metrics,
            *(Judge(t.name, _title(t.name), t.unit, t.better, t.convention, None, True, t.ceiling, t.protocol) for t in self.report.tasks),
        )

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(codec.name for codec in self.report.codecs)

    @cached_property
    def index(self) -> dict[str, int]:
        return {name: k for k, name in enumerate(self.names)}

    @cached_property
    def title_of(self) -> dict[str, str]:
        """By codec; its name too where two have one title."""
        titles = [codec.title or codec.name for codec in self.report.codecs]
        return {
            codec.name: title if titles.count(title) == 1 else f"{title} ({codec.name})"
            for codec, title in zip(self.report.codecs, titles, strict=True)
        }

    @cached_property
    def look_of(self) -> dict[str, Look]:
        return looks(self.names)

    @cached_property
    def units(self) -> dict[str, float]:
        return {item.id: item.units for item in self.report.items}

    @cached_property
    def item_index(self) -> dict[str, int]:
        return {item.id: k for k, item in enumerate(self.report.items)}

    @cached_property
    def rows_of(self) -> dict[tuple[str, str], list[Row]]:
        """By codec and setting, in the order of the report."""
        found: dict[tuple[str, str], list[Row]] = {}
        for row in self.report.rows:
            found.setdefault((row.codec, row.setting), []).append(row)
        return found

    @cached_property
    def curve_of(self) -> dict[tuple[str, str], Curve]:
        return {(curve.codec, curve.metric): curve for curve in self.report.curves}

    @cached_property
    def bd_of(self) -> dict[tuple[str, str, str], BD]:
        """By judge, anchor and codec."""
        return {(bd.metric, bd.anchor, bd.codec): bd for bd in self.report.bd}

    @cached_property
    def with_bd(self) -> tuple[str, ...]:
        """Codecs that can be anchors, in order."""
        known = {name for bd in self.report.bd for name in (bd.anchor, bd.codec)}
        return tuple(codec.name for codec in self.report.codecs if codec.bd and codec.name in known)

    @cached_property
    def anchor(self) -> str | None:
        """The one that was asked for, or the first that can be one."""
        asked = self.report.manifest.arguments.get("anchor")
        return str(asked) if asked in self.with_bd else next(iter(self.with_bd), None)

    @cached_property
    def things(self) -> str:
        """As in "24 pictures"."""
        return counted(len(self.report.items), *THINGS[self.report.kind])

    def points(self, codec: str, judge: str) -> list[Point]:
        """Of a curve, those with a value, ascending in rate; no number of them is infinite or none at all."""
        curve = self.curve_of.get((codec, judge))
        found = [Point(p.setting, p.rate, finite(p.value), finite(p.low), finite(p.high)) for p in curve.points] if curve else []
        return sorted((p for p in found if p.value is not None and p.rate > 0), key=lambda point: point.rate)

    def rate(self, row: Row) -> float:
        """In the report's unit."""
        units = self.units[row.item]
        return row.bytes * self.report.rate.scale / units if units else 0.0


def _title(name: str) -> str:
    return TITLES.get(name) or name.replace("-", " ").capitalize()
