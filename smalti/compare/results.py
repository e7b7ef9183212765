"""What a comparison found, as frozen values that `report.json` holds; `SCHEMA.md` explains every key.

The page, the tables and `--diff` are made from these alone. Numbers that are no finite ones are null; equal signals count as 100 dB.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import PurePosixPath
from typing import Any

from smalti.codecs.media.files import read_bytes, write_atomically
from smalti.tokenizers.configs import from_dict, to_dict
from smalti.tokenizers.errors import UsageError

SCHEMA = "smalti-compare/1"
KINDS = ("image", "audio", "video", "shape")
FILE = "report.json"
MEDIA = "media"  # the folder beside it
MAX_REPORT_BYTES = 2**28


@dataclass(frozen=True)
class Machine:
    """cpu: its model's name. cores: that the system shows. system: name and release of it."""

    cpu: str
    cores: int
    system: str


@dataclass(frozen=True)
class Manifest:
    """What a run was made by. arguments: of the command. models: name to fingerprint, of those that were loaded."""

    smalti: str
    python: str
    packages: dict[str, str]
    machine: Machine
    arguments: dict[str, Any]
    models: dict[str, str]


@dataclass(frozen=True)
class Item:
    """A signal. id: path below what was named. sha256: of its file. units: what its rate is divided by. media: its preview."""

    id: str
    sha256: str
    size: dict[str, float]
    units: float
    media: str | None = None


@dataclass(frozen=True)
class Rate:
    """rate = bytes * scale / units."""

    unit: str
    formula: str
    scale: float


@dataclass(frozen=True)
class MetricInfo:
    """better: "higher" or "lower". transform: "db" where -10 log10(1 - mean) is what curves and BD rates use."""

    name: str
    unit: str
    better: str
    convention: str
    transform: str | None = None


@dataclass(frozen=True)
class TaskInfo:
    """ceiling: the score on the originals. protocol: what was trained and tested on what."""

    name: str
    unit: str
    better: str
    convention: str
    ceiling: float | None
    protocol: str = ""


@dataclass(frozen=True)
class CodecInfo:
    """kind: "ours", "classical", "learned" or "lossless". settings: ascending in rate. bd: whether it has rates enough; else `reason`."""

    name: str
    title: str
    kind: str
    settings: tuple[str, ...]
    fixed_rate: bool
    version: str
    bd: bool
    reason: str = ""


@dataclass(frozen=True)
class Absent:
    """A codec, metric or task that was asked for or belongs here, and is not at hand."""

    name: str
    reason: str
    remedy: str


@dataclass(frozen=True)
class Failure:
    """stage: "read", "compress", "decompress", "metric NAME", "task NAME", "preview" or "worker"."""

    codec: str | None
    setting: str | None
    item: str | None
    stage: str
    error: str


@dataclass(frozen=True)
class Row:
    """One file: an item by a codec in a setting. Seconds are of the processor. file, decoded: paths beside the report, or null."""

    codec: str
    setting: str
    item: str
    bytes: int
    header_bytes: int | None
    payload_bytes: int | None
    entropy_gap_bytes: float | None
    encode_seconds: float
    decode_seconds: float
    lag_samples: int | None
    metrics: dict[str, float | None]
    file: str | None = None
    decoded: str | None = None


@dataclass(frozen=True)
class TaskScore:
    """per_item: outcomes in the order of the items, null for those without a row; null where the task has none."""

    task: str
    codec: str
    setting: str
    value: float | None
    per_item: tuple[float | None, ...] | None = None


@dataclass(frozen=True)
class Point:
    """low, high: the 95 % interval of the value by bootstrap over items."""

    setting: str
    rate: float
    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Curve:
    """Means over items, ascending in rate. metric: of a metric or of a task."""

    codec: str
    metric: str
    points: tuple[Point, ...]


@dataclass(frozen=True)
class BD:
    """How many percent more (fewer, below 0) bytes `codec` takes than `anchor` for equal quality.

    envelope: points of each that were dropped to make its curve monotone. overlap: share of the two metric intervals. points: of each.
    undefined_share: of bootstrap replicates. verdict: "better", "worse", "no verdict" or "undefined".
    """

    metric: str
    anchor: str
    codec: str
    percent: float | None
    low: float | None
    high: float | None
    akima_percent: float | None
    overlap: float
    points: tuple[int, int]
    envelope: tuple[int, int]
    undefined_share: float
    verdict: str
    reason: str = ""


@dataclass(frozen=True)
class Paired:
    """Bytes of `codec` over those of `anchor` at equal quality, item by item: the median and its interval."""

    metric: str
    anchor: str
    codec: str
    median: float | None
    low: float | None
    high: float | None
    items: int


@dataclass(frozen=True)
class Correlation:
    """Spearman's rank correlation of a task's scores with a metric's means, over all codecs and settings."""

    task: str
    metric: str
    spearman: float | None
    low: float | None
    high: float | None
    points: int


@dataclass(frozen=True)
class Crop:
    """What the gallery shows. box: x, y, width, height in pixels, or null for the whole item. why: "worst", "median" or "best"."""

    item: str
    box: tuple[int, int, int, int] | None
    why: str
    metric: str
    codec: str
    setting: str
    value: float | None


@dataclass(frozen=True)
class Report:
    """All of it."""

    schema: str
    kind: str
    created: str
    seed: int
    manifest: Manifest
    rate: Rate
    items: tuple[Item, ...]
    metrics: tuple[MetricInfo, ...]
    tasks: tuple[TaskInfo, ...]
    codecs: tuple[CodecInfo, ...]
    absent: tuple[Absent, ...] = ()
    failures: tuple[Failure, ...] = ()
    rows: tuple[Row, ...] = ()
    task_scores: tuple[TaskScore, ...] = ()
    curves: tuple[Curve, ...] = ()
    bd: tuple[BD, ...] = ()
    paired: tuple[Paired, ...] = ()
    correlations: tuple[Correlation, ...] = ()
    crops: tuple[Crop, ...] = field(default=())


def to_json(report: Report) -> str:
    """The text of `report.json`."""
    return json.dumps(to_dict(_finite(report)), indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def save(report: Report, path: str | os.PathLike[str]) -> None:
    """Write it, whole or not at all; UsageError where the place cannot be written."""
    write_atomically(path, to_json(report).encode(errors="backslashreplace"))


def load(path: str | os.PathLike[str]) -> Report:
    """A report from its file; UsageError where it is none, of another schema, or does not hold together."""
    try:
        found = json.loads(read_bytes(path, MAX_REPORT_BYTES))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: no JSON ({' '.join(str(error).split())}), expected a {FILE} of smalti compare") from None
    schema = found.get("schema") if isinstance(found, dict) else None
    if schema != SCHEMA:
        raise UsageError(f"{path}: schema {schema!r}, expected {SCHEMA!r}; name a {FILE} that this release of smalti compare wrote")
    report = from_dict(Report, found, str(path))
    check(report, str(path))
    return report


def check(report: Report, where: str = "report") -> None:
    """UsageError where names do not refer to each other, or a path leads out of the report's folder."""
    if report.kind not in KINDS:
        raise UsageError(f"{where}: kind {report.kind!r}, expected one of {', '.join(KINDS)}")
    items = {item.id for item in report.items}
    settings = {(codec.name, setting) for codec in report.codecs for setting in codec.settings}
    judged = {metric.name for metric in report.metrics} | {task.name for task in report.tasks}
    codecs = {codec.name for codec in report.codecs}
    for row in report.rows:
        if row.item not in items or (row.codec, row.setting) not in settings:
            raise UsageError(f"{where}: a row of {row.codec} {row.setting} on {row.item}, which are not in its lists; make it again")
    for curve in report.curves:
        if curve.codec not in codecs or curve.metric not in judged:
            raise UsageError(f"{where}: a curve of {curve.codec} by {curve.metric}, which are not in its lists; make it again")
    paths = [item.media for item in report.items] + [path for row in report.rows for path in (row.file, row.decoded)]
    for path in paths:
        if path is not None and not is_media(path):
            raise UsageError(f"{where}: path {path!r}, expected one below {MEDIA}/; make the report again")


def is_media(path: str) -> bool:
    """Whether a path is one below the folder of media, and stays there."""
    parts = PurePosixPath(path).parts
    return len(parts) > 1 and parts[0] == MEDIA and ".." not in parts and "\\" not in path and "\0" not in path


def rate_of(report: Report, row: Row, units: dict[str, float] | None = None) -> float:
    """The rate of one file, in the report's unit. units: by item, where it is asked for many rows."""
    by_item = units if units is not None else {item.id: item.units for item in report.items}
    return row.bytes * report.rate.scale / by_item[row.item]


def finite(value: float | None) -> float | None:
    """None for what is no finite number."""
    return value if value is not None and math.isfinite(value) else None


def _finite(value: Any) -> Any:
    """Values with None for floats that are no finite numbers, at any depth."""
    if isinstance(value, float):
        return finite(value)
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return tuple(_finite(item) for item in value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{f.name: _finite(getattr(value, f.name)) for f in fields(value)})
    return value
