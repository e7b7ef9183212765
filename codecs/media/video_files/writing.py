"""Films to files: FFV1 in Matroska (lossless), H.264 in MP4 (for people), GIF, or a folder of numbered PNG files.

A rate is written exactly, or times of frames to the container's tick: a millisecond in Matroska, 1/90000 s in MP4, 10 ms in GIF. Frames
pass one by one; sound goes in beside them. Of equal
frames in a row a GIF holds one. H.264 has halved chroma where sides are even, as players want it, else full chroma.
"""

from __future__ import annotations

import itertools
import json
import os
import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image as Pil

from smalti.codecs.media.audio import write_audio
from smalti.codecs.media.files import reason
from smalti.codecs.media.video_files.containers import ASPECT_TAG, package
from smalti.codecs.media.video_files.timing import MAX_TERM, mean_rate, time_of
from smalti.tokenizers.errors import UsageError
from smalti.tokenizers.signals import Array, Video

WRITTEN_SUFFIXES = (".mkv", ".mp4", ".gif")
X264 = {"crf": "12", "preset": "medium"}
MAX_GIF_TIME = 65535  # 10 ms that a picture is shown
MAX_GIF_PIXELS = 2**28  # Pillow holds all frames
_LAYOUTS = ("mono", "stereo", "3.0", "4.0", "5.0", "5.1", "6.1", "7.1")
_AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)
_BT709 = 1
_FRAME = re.compile(r"frame-[0-9]{6,}\.png")  # in folders


def encode_into(file: BinaryIO, video: Video, suffix: str, name: str = "film") -> int:
    """Write a film of this suffix into an open file that can seek; returns the number of frames. UsageError for an unknown suffix, a film
    without frames, and what the format cannot hold."""
    if suffix.lower() not in WRITTEN_SUFFIXES:
        raise UsageError(f"{name}: unknown suffix {suffix!r} for a film, expected one of {', '.join(WRITTEN_SUFFIXES)}; change the name")
    if suffix.lower() == ".gif":
        return _write_gif(file, video, name)
    av = package(name)
    frames = iter(video.frames)
    first = next(frames, None)
    if first is None:
        raise UsageError(f"{name}: no frames to write, expected at least one")
    try:
        with av.open(file, "w", format="matroska" if suffix.lower() == ".mkv" else "mp4") as film:
            return _Writer(av, film, video, first, suffix.lower() == ".mkv").write(first, frames)
    except (av.FFmpegError, ValueError) as error:
        what = f"{first.shape[1]} x {first.shape[0]} pixels"
        raise UsageError(
            f"{name}: {suffix} cannot hold frames of {what} ({reason(error)}); write PNG files into a folder instead"
        ) from None
    except OverflowError:  # numbers of FFmpeg have 32 bits, times 64
        what = f"a rate or an aspect of terms above {MAX_TERM}, or times so late"
        raise UsageError(f"{name}: {suffix} cannot hold {what}; write PNG files into a folder instead") from None


def losses(video: Video, suffix: str) -> tuple[str, ...]:
    """A line for each thing of a film that files of this suffix cannot hold and leave out."""
    if suffix.lower() != ".gif":
        return ()
    sound = () if video.audio is None else ("its sound is left out: a GIF has none; write .mkv or .mp4 for it",)
    aspect = f"samples {video.aspect} as wide as high are shown as square: a GIF has no aspect; write .mkv or .mp4 for it"
    return (*sound, *((aspect,) if video.aspect != 1 else ()))


def write_folder(video: Video, folder: str | os.PathLike[str]) -> int:
    """frame-000000.png and so on, sound.wav where there is sound, and timing.json: `rate` or `times` (fractions as text), `aspect`.

    What a longer film, or one with sound, left of these in the folder is removed. UsageError where frames without a timing.json lie there:
    nobody knows whose they are.
    """
    place = Path(folder)
    try:
        place.mkdir(parents=True, exist_ok=True)
        own = (place / "timing.json").exists()
        before = {path for path in place.iterdir() if _FRAME.fullmatch(path.name)}
        if before and not own:
            raise UsageError(f"{folder}: holds frames such as {min(before).name} and no timing.json, so not a whole film; empty it first")
        count = 0
        for pixels in video.frames:
            Pil.fromarray(pixels).save(place / f"frame-{count:06d}.png", compress_level=1)
            count += 1
        for path in before:
            if int(path.stem[6:]) >= count:
                path.unlink()
        if own and video.audio is None:
            (place / "sound.wav").unlink(missing_ok=True)
        timing = video.timing
        shown = {"rate": str(timing)} if isinstance(timing, Fraction) else {"times": [str(time) for time in timing[:count]]}
        (place / "timing.json").write_text(json.dumps({**shown, "aspect": str(video.aspect)}) + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{folder}: cannot be written ({reason(error)}); choose another place") from None
    if video.audio is not None:
        write_audio(video.audio, place / "sound.wav")
    return count


class _Writer:
    """One film on its way into a container."""

    def __init__(self, av: Any, film: Any, video: Video, first: Array, lossless: bool) -> None:
        self.av, self.film, self.video, self.lossless = av, film, video, lossless
        height, width = first.shape[:2]
        exact = isinstance(video.timing, Fraction)
        rate = video.timing if isinstance(video.timing, Fraction) else mean_rate(video.timing, len(video.timing))
        self.track = film.add_stream("ffv1" if lossless else "libx264", rate=rate)
        context = self.track.codec_context
        context.width, context.height = width, height
        context.pix_fmt = "bgr0" if lossless else "yuv444p" if width % 2 or height % 2 else "yuv420p"
        context.sample_aspect_ratio = video.aspect
        context.time_base = self.tick = 1 / rate if exact else Fraction(1, 1000 if lossless else 90000)
        if lossless:
            context.options = {"level": "3", "slicecrc": "1"}
        else:
            context.options = X264
            context.colorspace = context.color_primaries = context.color_trc = _BT709
            context.color_range = 1
        self.sound = self._sound_track()
        self.shaped = None
        if lossless and video.aspect != 1:
            self.shaped = self._shaper()
            film.metadata[ASPECT_TAG] = str(video.aspect)

    def write(self, first: Array, rest: Iterator[Array]) -> int:
        count, frames = 0, self._all(first, rest)
        sound = self._sound_frames()
        block = next(sound, None)
        for pixels in frames:
            time = time_of(self.video.timing, count)
            while block is not None and Fraction(block.pts, block.sample_rate) <= time:
                self._mux(self.sound, block)
                block = next(sound, None)
            frame = self._frame(pixels)
            frame.pts, frame.time_base = round(time / self.tick), self.tick
            self._mux(self.track, frame)
            count += 1
        while block is not None:
            self._mux(self.sound, block)
            block = next(sound, None)
        for track in filter(None, (self.track, self.sound)):
            self._mux(track, None)
        return count

    def _all(self, first: Array, rest: Iterator[Array]) -> Iterator[Array]:
        yield first
        for pixels in rest:
            if pixels.shape != first.shape:
                raise UsageError(f"frames of a film have one size, found {pixels.shape} after {first.shape}")
            yield pixels

    def _frame(self, pixels: Array) -> Any:
        frame = self.av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
        if self.shaped is not None:
            self.shaped.push(frame.reformat(format="bgr0", threads=1))
            return self.shaped.pull()
        if self.lossless:
            return frame.reformat(format="bgr0", threads=1)
        matrix = {"dst_colorspace": _BT709, "dst_color_range": 1}
        return frame.reformat(format=self.track.codec_context.pix_fmt, interpolation=4 | 8192 | 262144, threads=1, **matrix)

    def _shaper(self) -> Any:
        """What gives frames their sample aspect, which FFV1 keeps beside each, for players; PyAV tells neither Matroska nor whoever
        reads it (so there is the tag)."""
        context, aspect = self.track.codec_context, self.video.aspect
        graph = self.av.filter.Graph()
        source = graph.add_buffer(width=context.width, height=context.height, format="bgr0", time_base=self.tick)
        graph.link_nodes(source, graph.add("setsar", f"{aspect.numerator}/{aspect.denominator}"), graph.add("buffersink")).configure()
        return graph

    def _mux(self, track: Any, frame: Any) -> None:
        for packet in track.encode(frame):
            self.film.mux(packet)

    def _sound_track(self) -> Any:
        sound = self.video.audio
        if sound is None:
            return None
        rate = sound.rate if self.lossless else next((r for r in _AAC_RATES if r <= sound.rate), 8000)
        track = self.film.add_stream("pcm_f32le" if self.lossless else "aac", rate=rate)
        track.codec_context.layout = _LAYOUTS[sound.samples.shape[0] - 1]
        if not self.lossless:
            track.codec_context.bit_rate = 96000 * min(2, sound.samples.shape[0])
        return track

    def _sound_frames(self) -> Iterator[Any]:
        """Blocks of sound with their places in samples, as the track takes them."""
        sound = self.video.audio
        if sound is None:
            return
        context = self.sound.codec_context
        to = self.av.AudioResampler(
            format="flt" if self.lossless else "fltp", layout=context.layout.name, rate=context.sample_rate, frame_size=1024
        )
        for start in range(0, sound.samples.shape[1], 4096):
            block = np.ascontiguousarray(sound.samples[:, start : start + 4096])
            frame = self.av.AudioFrame.from_ndarray(block, "fltp", context.layout.name)
            frame.sample_rate, frame.pts, frame.time_base = sound.rate, start, Fraction(1, sound.rate)
            yield from to.resample(frame)
        yield from to.resample(None)


def _write_gif(file: BinaryIO, video: Video, name: str) -> int:
    pictures, held = [], 0
    for pixels in video.frames:
        held += pixels.shape[0] * pixels.shape[1]
        if held > MAX_GIF_PIXELS:
            raise UsageError(f"{name}: more than {MAX_GIF_PIXELS} pixels in all, too many for a GIF; write .mkv or .mp4 instead")
        pictures.append(Pil.fromarray(pixels).quantize(256, Pil.Quantize.MEDIANCUT, dither=Pil.Dither.NONE))
    if not pictures:
        raise UsageError(f"{name}: no frames to write, expected at least one")
    count = len(pictures)
    last = time_of(video.timing, count - 1) + 1 / mean_rate(video.timing, count)
    times = [round(100 * time) for time in (*(time_of(video.timing, i) for i in range(count)), last)]
    shown = [10 * max(1, b - a) for a, b in itertools.pairwise(times)]
    if max(shown) > 10 * MAX_GIF_TIME:
        longest = f"up to {MAX_GIF_TIME / 100} s, found {max(shown) / 1000} s"
        raise UsageError(f"{name}: a GIF shows a frame for {longest}; write .mkv or .mp4 instead")
    pictures[0].save(file, "GIF", save_all=True, append_images=pictures[1:], duration=shown, loop=0, disposal=1, optimize=False)
    return count
