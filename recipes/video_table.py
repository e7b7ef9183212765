"""Video models beside x264, x265 and SVT-AV1 at equal bytes: real files of a folder of clips, judged on lossless frames.

    python -m smalti.recipes.video_table CLIPS --bpp .01 --bpp .02 --model video-causal --cache table.jsonl

A rate is bits per pixel of all frames, sound left out. Of a rival it is the elementary stream (see `codecs.classical.video`: no
container, no options written into it), in the best of its sizes, the full one, a half and a quarter of each side, at the lowest CRF that
fits: the best is the one whose LPIPS is lowest. Of ours it is the whole file. A codec that cannot go so low is left out of that clip; means
are over the clips that all codecs of a rate have. LPIPS (AlexNet), SSIM, PSNR and temporal LPIPS are means over each `--every`-th frame,
the difference of frames is over all.

Markdown goes to standard output. With --cache what was measured is kept, a line each, and a run that was stopped goes on from there.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import math
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from smalti.codecs.classical.video import FACTORS, SVT_AV1, X264, X265, VideoCodec
from smalti.codecs.media.files import FILM_SUFFIXES, check_place, list_files, read_bytes, write_atomically
from smalti.codecs.media.video import read_video
from smalti.codecs.media.video_files.timing import mean_rate
from smalti.metrics.registry import resolve
from smalti.metrics.video import VideoMetric, measure
from smalti.recipes import models
from smalti.tokenizers.contracts import Codec, Target
from smalti.tokenizers.errors import SmaltiError, UsageError
from smalti.tokenizers.signals import Video

METRICS = ("video-lpips-alex", "video-psnr", "video-ssim", "temporal-lpips", "temporal-difference")
JUDGE = METRICS[0]
RIVALS = {encoder.name: encoder for encoder in (X264, X265, SVT_AV1)}
VERSION = 1  # of what is in a cache; a new one where codecs or judges change


@dataclass(frozen=True)
class Clip:
    """Held whole: `frames` pass many times. digest: of what is judged."""

    name: str
    film: Video
    pixels: int
    digest: str


@dataclass(frozen=True)
class Cell:
    """What a codec made of a clip at a rate. setting: which of its sizes. bytes: of the whole file; None: none is so small.
    bits_per_pixel: of the elementary stream, or of ours the whole file."""

    clip: str
    codec: str
    rate: float
    setting: str = ""
    bytes: int | None = None
    bits_per_pixel: float = math.nan
    scores: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0


class Cache:
    """Cells by what they are of, in a file of JSON lines; in memory alone without a path."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.cells: dict[str, Cell] = {}
        if path is None:
            return
        check_place(path)
        for line in read_bytes(path).decode(errors="replace").splitlines() if path.exists() else []:
            try:
                record = json.loads(line)
                self.cells[record["key"]] = Cell(**record["cell"])
            except (ValueError, KeyError, TypeError):  # cut short when a run was stopped
                continue

    def put(self, key: str, cell: Cell) -> Cell:
        self.cells[key] = cell
        if self.path is not None:
            with self.path.open("a", encoding="utf-8") as file:
                file.write("\n" + json.dumps({"key": key, "cell": asdict(cell)}))
        return cell


def read_clip(path: Path, frames: int) -> Clip:
    """The first `frames` of a film (0: all), without sound. Its times, if they are uneven, become a rate: they are not compared."""
    film = read_video(path, sound=False)
    held = list(itertools.islice(film.frames, frames or None))
    digest = hashlib.sha256(b"".join(frame.tobytes() for frame in held)).hexdigest()[:16]
    pixels = sum(frame.shape[0] * frame.shape[1] for frame in held)
    return Clip(path.stem, Video(held, mean_rate(film.timing, len(held)), film.aspect), pixels, digest)


def rival_cell(clip: Clip, name: str, rate: float, judges: Mapping[str, VideoMetric], every: int) -> Cell:
    """The best of a rival's sizes by LPIPS."""
    best = Cell(clip.name, name, rate)
    started = time.monotonic()
    for factor in FACTORS:
        codec = VideoCodec(RIVALS[name], factor)
        try:
            data = codec.compress(clip.film, Target(bytes=int(rate * clip.pixels / 8)))
        except UsageError:  # not even the worst quality fits
            continue
        cell = _judged(clip, name, rate, f"1/{factor}", data, codec.payload_bytes(data), codec, judges, every)
        if best.bytes is None or cell.scores[JUDGE] < best.scores[JUDGE]:
            best = cell
    return Cell(**{**asdict(best), "seconds": time.monotonic() - started})


def model_cell(clip: Clip, name: str, codec: Codec, rate: float, judges: Mapping[str, VideoMetric], every: int) -> Cell:
    """Ours, as many stages as the rate has room for."""
    started = time.monotonic()
    try:
        data = codec.compress(clip.film, Target(bytes=int(rate * clip.pixels / 8)))
    except UsageError:
        return Cell(clip.name, name, rate)
    cell = _judged(clip, name, rate, "", data, len(data), codec, judges, every)
    return Cell(**{**asdict(cell), "seconds": time.monotonic() - started})


def _judged(
    clip: Clip, name: str, rate: float, setting: str, data: bytes, payload: int, codec: Codec, judges: Mapping[str, VideoMetric], every: int
) -> Cell:
    decoded = codec.decompress(data)
    assert isinstance(decoded, Video)
    held = Video(list(decoded.frames), decoded.timing)
    slow = {key: judge for key, judge in judges.items() if key != "temporal-difference"}
    fast = {key: judge for key, judge in judges.items() if key not in slow}
    found = {**measure(slow, clip.film, held, every), **measure(fast, clip.film, held)}
    scores = {key: found[key].value for key in judges}
    return Cell(clip.name, name, rate, setting, len(data), 8 * payload / clip.pixels, scores)


def table(cells: Sequence[Cell], rates: Sequence[float], every: int, frames: int) -> str:
    """Markdown: per rate the means of each codec, then each clip's."""
    titles = ["LPIPS", "PSNR dB", "SSIM", "tLPIPS", "difference"]
    head = f"| {{}} | size | bits/pixel | {' | '.join(titles)} |\n|---|---|---|{'---|' * len(titles)}"
    out = []
    for rate in rates:
        own = [cell for cell in cells if cell.rate == rate]
        codecs = list(dict.fromkeys(cell.codec for cell in own))
        there = {name: {cell.clip for cell in own if cell.codec == name and cell.bytes is not None} for name in codecs}
        common = set.intersection(*there.values()) if there else set()
        of = f"{len(common)} clips, {frames or 'all'} frames each, judged on every {every}." if common else "no clip that all codecs have."
        out += [f"### At most {rate:g} bits per pixel", "", f"Means over {of}", "", head.format("codec")]
        for name in codecs:
            row = [cell for cell in own if cell.codec == name and cell.clip in common]
            if row:
                means = [math.fsum(cell.scores[key] for cell in row) / len(row) for key in METRICS]
                bits = math.fsum(cell.bits_per_pixel for cell in row) / len(row)
                out.append(_row(name, ", ".join(sorted({cell.setting for cell in row} - {""})), bits, means))
        out += ["", head.format("clip, codec")]
        for clip in dict.fromkeys(cell.clip for cell in own):
            for cell in own:
                if cell.clip == clip and cell.bytes is not None:
                    out.append(_row(f"{clip}, {cell.codec}", cell.setting, cell.bits_per_pixel, [cell.scores[key] for key in METRICS]))
                elif cell.clip == clip:
                    out.append(f"| {clip}, {cell.codec} | none is so small |{' |' * (1 + len(METRICS))}")
        out.append("")
    return "\n".join(out)


def _row(name: str, setting: str, bits: float, scores: Sequence[float]) -> str:
    lpips, psnr, ssim, temporal, difference = scores
    return f"| {name} | {setting} | {bits:.4f} | {lpips:.4f} | {psnr:.2f} | {ssim:.4f} | {temporal:.4f} | {difference:.2f} |"


def which(name: str, ours: Mapping[str, Codec]) -> str:
    """A codec with all that its files hang on: of ours model and prior, of a rival its options, its sizes and the FFmpeg that has it."""
    if name in RIVALS:
        import av

        return json.dumps([asdict(RIVALS[name]) | {"letter": ""}, FACTORS, av.__version__, av.library_versions], sort_keys=True)
    codec = ours[name]
    return f"{name} {codec.tokenizer.fingerprint[:12]} {codec.prior.id.hex()}"  # type: ignore[attr-defined]


def measured(
    clips: Sequence[Clip], rivals: Sequence[str], ours: Mapping[str, Codec], rates: Sequence[float], every: int, cache: Cache
) -> list[Cell]:
    """All cells, those of a cache as they are; progress on standard error."""
    judges: dict[str, VideoMetric] = {name: resolve(name) for name in METRICS}  # type: ignore[misc]
    cells = []
    for rate, clip in itertools.product(rates, clips):
        for name in (*ours, *rivals):
            key = json.dumps([VERSION, clip.digest, which(name, ours), rate, every])
            if (cell := cache.cells.get(key)) is None:
                made = (
                    rival_cell(clip, name, rate, judges, every)
                    if name in RIVALS
                    else model_cell(clip, name, ours[name], rate, judges, every)
                )
                cell = cache.put(key, made)
                found = f"LPIPS {cell.scores[JUDGE]:.4f} at {cell.bits_per_pixel:.4f}, {cell.setting}" if cell.scores else "nothing fits"
                print(f"{clip.name} {name} {rate:g}: {found} ({cell.seconds:.0f} s)", file=sys.stderr, flush=True)
            cells.append(cell)
    return cells


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+", type=Path, help="clips, or folders of them")
    parser.add_argument("--bpp", action="append", type=float, required=True, help="bits per pixel; may be given again")
    parser.add_argument("--model", action="append", default=[], help="a model of ours; may be given again")
    parser.add_argument("--rival", action="append", choices=list(RIVALS), help="by default all; may be given again")
    parser.add_argument("--frames", type=int, default=0, help="of each clip only its first so many")
    parser.add_argument("--every", type=int, default=5, help="judge each so-many-th frame")
    parser.add_argument("--leave-out", action="append", default=[], help="part of a file's name; may be given again")
    parser.add_argument("--cache", type=Path, help="JSON lines of what was measured")
    parser.add_argument("-o", "--out", type=Path, help="write the table here too")
    given = parser.parse_args(arguments)
    try:
        files = [path for item in given.data for path in (list_files(item, FILM_SUFFIXES) if item.is_dir() else [item])]
        clips = [read_clip(path, given.frames) for path in files if not any(part in path.name for part in given.leave_out)]
        if not clips:
            raise UsageError(f"{', '.join(map(str, given.data))}: no films in there; name others")
        ours = {codec.name: codec for codec in map(models.codec, given.model)}
        cells = measured(clips, given.rival or list(RIVALS), ours, given.bpp, given.every, Cache(given.cache))
        text = table(cells, given.bpp, given.every, given.frames)
        print(text)
        if given.out:
            write_atomically(given.out, text.encode())
    except SmaltiError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
