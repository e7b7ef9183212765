"""What a report shows: the items that one codec does worst, middling and best on at a rate that all reach, and previews of their files.

Of a picture it is the whole, lossless WebP, with a box where the chosen codec errs most; of one above `MOST_PIXELS` the box alone. Of a
sound at most `SAMPLES` samples from where it is loudest, FLAC; of a film its first `FRAMES` frames, MP4; of a shape all, PLY. Previews lie
under the hash of their content.
"""

from __future__ import annotations

import hashlib
import io
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from smalti.codecs.media.files import write_atomically
from smalti.codecs.media.shapes import encode_shape
from smalti.codecs.media.video import take, write_video
from smalti.compare.cache import kept_file
from smalti.compare.items import Source
from smalti.compare.lineup import Contender
from smalti.compare.measuring import codec_of, said, signal_of
from smalti.compare.results import MEDIA, Crop, Failure, Report, rate_of
from smalti.tokenizers.signals import Array, Audio, Image, Shape, Signal

SIDE = 320  # of a box
MOST_PIXELS = 2**22
SAMPLES, SECONDS = 192_000, 8.0
FRAMES = 48

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class PreviewJob:
    """An item, and its files by one codec: (setting, digest). No contender: the original alone. part: of a picture that is too large."""

    source: Source
    part: Box | None
    folder: str
    media: str
    contender: Contender | None = None
    files: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Previews:
    """paths: by setting ("" is the original), below the report."""

    paths: dict[str, str]
    failures: tuple[Failure, ...] = ()


def crops(report: Report) -> tuple[Crop, ...]:
    """Worst, median and best items, without boxes; fewer where there are fewer than three."""
    metric = next((m for m in report.metrics if m.name.startswith(("lpips", "video-lpips"))), None)
    metric = metric or next(iter(report.metrics), None)
    if metric is None or (chosen := _subject(report)) is None:
        return ()
    codec, setting = chosen
    values = {row.item: row.metrics.get(metric.name) for row in report.rows if (row.codec, row.setting) == chosen}
    scored = sorted((value, item) for item, value in values.items() if value is not None)
    if not scored:
        return ()
    if metric.better == "lower":
        scored = scored[::-1]
    last = len(scored) - 1
    places = {"median": 0} if not last else {"worst": 0, "best": last} if last == 1 else {"worst": 0, "median": last // 2, "best": last}
    return tuple(Crop(scored[k][1], None, why, metric.name, codec, setting, scored[k][0]) for why, k in places.items())


def _subject(report: Report) -> tuple[str, str] | None:
    """The first of our codecs, or the first of all, at the setting nearest to a rate that most codecs reach."""
    units = {item.id: item.units for item in report.items}
    rates: dict[tuple[str, str], list[float]] = {}
    for row in report.rows:
        rates.setdefault((row.codec, row.setting), []).append(rate_of(report, row, units))
    logs = {key: float(np.log(np.mean(found))) for key, found in rates.items()}
    names = [codec.name for codec in report.codecs if any(key[0] == codec.name for key in logs)]
    if not names:
        return None
    ends = {name: [value for key, value in logs.items() if key[0] == name] for name in names}
    low, high = max(min(found) for found in ends.values()), min(max(found) for found in ends.values())
    aim = (low + high) / 2  # where ranges do not overlap it lies between them
    ours = [codec.name for codec in report.codecs if codec.kind == "ours" and codec.name in names]
    subject = (ours or names)[0]
    return min((key for key in logs if key[0] == subject), key=lambda key: abs(logs[key] - aim))


@dataclass(frozen=True)
class BoxJob:
    """What `boxed` takes: a crop, its item, the codec and the file that chose it."""

    crop: Crop
    source: Source
    contender: Contender
    digest: str
    folder: str


def boxed(job: BoxJob) -> Crop:
    """The crop with the part of a picture where the file errs most; as it is of other signals, and where the file does not decode."""
    try:
        return replace(job.crop, box=_box_of(job.source, job.contender, job.digest, job.folder))
    except Exception:  # said where the file was measured
        return job.crop


def _box_of(source: Source, contender: Contender, digest: str, folder: str) -> Box | None:
    original = signal_of(source)
    if not isinstance(original, Image):
        return None
    height, width = min(SIDE, original.height), min(SIDE, original.width)
    data = kept_file(folder, digest)
    decoded = codec_of(contender).decompress(data) if data is not None else original
    if not isinstance(decoded, Image):
        return None
    error = np.square(original.eight_bits.astype(np.float32) - decoded.eight_bits).mean(-1)
    sums = np.pad(error.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    step = 16
    ys, xs = np.arange(0, original.height - height + 1, step), np.arange(0, original.width - width + 1, step)
    inside = sums[np.ix_(ys + height, xs + width)] - sums[np.ix_(ys, xs + width)] - sums[np.ix_(ys + height, xs)] + sums[np.ix_(ys, xs)]
    y, x = np.unravel_index(int(inside.argmax()), inside.shape)
    return int(xs[x]), int(ys[y]), width, height


def preview(job: PreviewJob) -> Previews:
    """Write the previews of a job; nothing is raised."""
    paths: dict[str, str] = {}
    failures = []
    name = job.contender.name if job.contender is not None else None
    for setting, digest in job.files if job.contender is not None else (("", ""),):
        try:
            paths[setting] = _write(_signal(job, digest), signal_of(job.source), job)
        except Exception as error:
            failures.append(Failure(name, setting or None, job.source.id, "preview", said(error)))
    return Previews(paths, tuple(failures))


def _signal(job: PreviewJob, digest: str) -> Signal:
    if job.contender is None:
        return signal_of(job.source)
    data = kept_file(job.folder, digest)
    if data is None:
        raise FileNotFoundError(f"compressed file {digest[:12]}")
    return codec_of(job.contender).decompress(data)


def _write(signal: Signal, original: Signal, job: PreviewJob) -> str:
    if isinstance(signal, Image):
        x, y, width, height = job.part or (0, 0, signal.width, signal.height)
        return _keep(_webp(signal.eight_bits[y : y + height, x : x + width]), ".webp", job.media)
    if isinstance(signal, Audio):
        return _keep(_flac(signal, original), ".flac", job.media)
    if isinstance(signal, Shape):
        return _keep(encode_shape(signal, ".ply"), ".ply", job.media)
    with tempfile.TemporaryDirectory(dir=job.media) as folder:
        path = Path(folder) / "film.mp4"
        write_video(take(signal, FRAMES), path)
        return _keep(path.read_bytes(), ".mp4", job.media)


def _webp(pixels: Array) -> bytes:
    from PIL import Image as Pil

    buffer = io.BytesIO()
    Pil.fromarray(np.ascontiguousarray(pixels)).save(buffer, "WEBP", lossless=True, quality=20, method=0, exact=True)
    return buffer.getvalue()


def _flac(sound: Audio, original: Signal) -> bytes:
    from smalti.codecs.media.audio import encode_audio

    assert isinstance(original, Audio)
    channels, samples = original.samples.shape
    length = min(samples, SAMPLES // channels, round(SECONDS * original.rate))
    energy = np.concatenate([[0.0], np.square(original.samples, dtype=np.float64).sum(0).cumsum()])
    starts = np.arange(0, samples - length + 1, max(1, original.rate // 10))
    start = int(starts[int((energy[starts + length] - energy[starts]).argmax())]) * sound.rate // original.rate
    return encode_audio(Audio(np.ascontiguousarray(sound.samples[:, start : start + length]), sound.rate), ".flac")


def _keep(data: bytes, suffix: str, media: str) -> str:
    """Its path below the report."""
    name = hashlib.sha256(data).hexdigest()[:24] + suffix
    place = Path(media) / name
    if not place.is_file() or place.stat().st_size != len(data):
        write_atomically(place, data)
    return f"{MEDIA}/{name}"


def jobs(
    shown: Sequence[Crop], parts: dict[str, Box], sources: dict[str, Source], contenders: Sequence[Contender],
    digests: dict[tuple[str, str, str], str], folder: Path, out: Path,
) -> list[PreviewJob]:  # fmt: skip
    """One for each original and for each codec on each item that is shown.

    parts: of large pictures. digests: of compressed files, by codec, setting and item. folder: of the cache. out: of the report.
    """
    found = []
    for crop in shown:
        source, part = sources[crop.item], parts.get(crop.item)
        found.append(PreviewJob(source, part, str(folder), str(out / MEDIA)))
        for contender in contenders:
            places = [(setting.label, (contender.name, setting.label, crop.item)) for setting in contender.settings]
            files = tuple((label, digests[place]) for label, place in places if place in digests)
            if files:
                found.append(PreviewJob(source, part, str(folder), str(out / MEDIA), contender, files))
    return found
