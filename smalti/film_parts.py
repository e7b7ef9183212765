"""A stretch of a film without decoding the rest: which groups of frames it needs, and which frames of them it is."""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice
from typing import Any

from smalti.codecs import films
from smalti.codecs.bitstream import File, StreamInfo
from smalti.codecs.media.video_files.timing import seconds, time_of
from smalti.tokenizers.contracts import Prior, Tokenizer
from smalti.tokenizers.errors import UsageError
from smalti.tokenizers.signals import Audio, Video
from smalti.tokenizers.tokens import Layout, Tokens


@dataclass(frozen=True)
class FilmPart:
    """tokens: of the groups that are decoded, a film by themselves. first: the number of its first frame in the whole. start, stop: the
    frames that are wanted. info: of the stream."""

    tokens: Tokens
    first: int
    start: int
    stop: int
    info: StreamInfo

    @property
    def preroll(self) -> int:
        """Frames that are decoded before the first that is wanted."""
        return self.start - self.first

    def said(self) -> str:
        """What is decoded, for people."""
        size = self.tokens.layout.size
        ahead = f", {self.preroll} of them ahead of the first that is wanted" if self.preroll else ""
        return f"frames {self.start} to {self.stop - 1}: decoded {size['frames']} from frame {self.first}{ahead}"

    def of(self, tokenizer: Tokenizer, sound: Audio | None = None) -> Video:
        """The stretch, decoded as its frames are gone through."""
        (film,) = tokenizer.decode([self.tokens])
        assert isinstance(film, Video)
        frames = _Stretch(film.frames, self.start - self.first, self.stop - self.first)
        return replace(films.dressed(replace(film, frames=frames), self.info, self.start, self.stop - self.start), audio=sound)


@dataclass(frozen=True, eq=False)
class _Stretch:
    """Frames [start, stop) of others, as often as those can be gone through."""

    frames: Any
    start: int
    stop: int

    def __iter__(self) -> Any:
        return islice(iter(self.frames), self.start, self.stop)


def film_part(
    file: File,
    stream: int,
    info: StreamInfo,
    tokenizer: Tokenizer,
    prior: Prior,
    start: float | None,
    end: float | None,
    stages: int | None,
) -> FilmPart:
    """What is needed of a film from `start` to `end` seconds (None: its ends); UsageError where there is nothing."""
    group = getattr(tokenizer.config, "group", 0)
    if info.modality != "video" or not group:
        raise UsageError("start and end are times of a film, and this holds none that can be cut in time; leave them out")
    total = dict(info.signal)["frames"]
    first, stop = _frames(films.timing_of(info), total, start, end)
    layout = tokenizer.layout(info.signal)
    step = max(0, _step_of(first, group) - reach_of(tokenizer))
    after = _step_of(stop - 1, group) + 1
    held = info.stages if info.grouped else file.stages(stream)
    wanted = stages or max((cut for cut in layout.cuts if cut <= held), default=layout.cuts[0])
    region = file.region(layout, prior, step, after, stream, wanted)
    begin = step * group  # of frames: a step that begins a film is its first frame alone, the last of those it otherwise stands for
    count = min(total, (after - 1) * group + 1) - begin
    return FilmPart(_renamed(region, "frames", count), begin, first, stop, info)


def shown_since(info: StreamInfo, start: float) -> float:
    """When the frame that is shown at a time began, in seconds: a stretch of a film begins with all of that frame."""
    timing = films.timing_of(info)
    first, _ = _frames(timing, dict(info.signal)["frames"], start, None)
    return float(time_of(timing, first))


def there(tokens: Tokens, tokenizer: Tokenizer) -> Tokens:
    """The tokens with the number of frames or samples that they hold: of a file that ends after some groups, fewer than it says."""
    size, config = tokens.layout.size, tokenizer.config
    steps = dict(tokens.layout.stages[0].axes).get("time", 0)
    if "frames" in size and (group := getattr(config, "group", 0)):
        name, held = "frames", max(steps - 1, 0) * group + min(steps, 1)
    elif "samples" in size and steps:
        name, held = "samples", steps * config.hop * size["rate"] // config.rate
    else:
        return tokens
    return _renamed(tokens, name, held) if held < size[name] else tokens


def reach_of(tokenizer: Any) -> int:
    """Steps before a frame's own that its decoder sees."""
    reach = getattr(tokenizer, "reach", None)
    return int(reach if reach is not None else tokenizer.net.reach)


def _renamed(tokens: Tokens, what: str, count: int) -> Tokens:
    signal = tuple((name, count if name == what else value) for name, value in tokens.layout.signal)
    return Tokens(Layout(tokens.layout.stages, tokens.layout.cuts, signal), tokens.arrays, tokens.present)


def _step_of(frame: int, group: int) -> int:
    """The step of time that stands for a frame."""
    return -(-frame // group)


def _frames(timing: Fraction | tuple[Fraction, ...], total: int, start: float | None, end: float | None) -> tuple[int, int]:
    """(first, one after the last) of the frames that are shown at some time from start to end."""
    if not (math.isfinite(start or 0.0) and math.isfinite(end or 0.0)):
        raise UsageError(f"times of a film are finite numbers of seconds, found {start} and {end}")
    if isinstance(timing, Fraction):
        first = math.floor(Fraction(start or 0.0).limit_denominator(10**6) * timing)
        stop = total if end is None else min(total, math.ceil(Fraction(end).limit_denominator(10**6) * timing))
        length = float(total / timing)
    else:
        first = max(0, bisect_left(timing, Fraction(start or 0.0) + Fraction(1, 10**6)) - 1)
        stop = total if end is None else bisect_left(timing, Fraction(end))
        length = seconds(timing, total)
        first = first if (start or 0.0) < length else total
    if not 0 <= first < stop <= total:
        raise UsageError(f"nothing lies from {start or 0:g} s to {'the end' if end is None else f'{end:g} s'} of a film of {length:.3f} s")
    return first, stop
