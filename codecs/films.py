"""What a file says of a film beside its tokens: times of frames that keep no rate, and the aspect of a sample, as side fields.

Both are critical: who shows a film without them shows it wrongly. `FORMAT.md` has them byte by byte.
"""

from __future__ import annotations

import itertools
import math
import struct
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

from smalti.codecs.bitstream.streams import FIELDS, Field, StreamInfo
from smalti.codecs.bitstream.wire import Cursor, uvarint
from smalti.codecs.media.video_files.timing import mean_rate
from smalti.tokenizers.errors import BitstreamError, UsageError
from smalti.tokenizers.signals import Video

TIMING, ASPECT = 4, 6
APPLIED = (TIMING, ASPECT)
_U32 = 2**32 - 1
_FINE = 10**6  # ticks of a second for times that share no coarser tick
_TICKS = (_FINE, 90000, 10000, 1000, 100, 10, 1)  # of a second, to be tried in this order


def at_one_rate(film: Video) -> Video:
    """The film as tokenizers take it: times of frames, of which a broken file may announce more than it has, become their mean rate.

    UsageError for times and aspects that no file can hold, before a network has run for them.
    """
    fields_of(film, 1 if isinstance(film.timing, Fraction) else len(film.timing))
    return replace(film, timing=mean_rate(film.timing, len(film.timing))) if not isinstance(film.timing, Fraction) else film


def fields_of(film: Video, frames: int) -> tuple[Field, ...]:
    """The side fields of a film of which so many frames were read; none for square samples at a rate. UsageError for times that descend
    or do not fit."""
    fields = []
    if not isinstance(film.timing, Fraction) and frames > 1:
        if len(film.timing) < frames:
            raise UsageError(f"a film has a time for each frame: found {len(film.timing)} times and {frames} frames")
        fields.append(Field(TIMING, _write_times(film.timing[:frames]), True))
    if film.aspect != 1:
        aspect = Fraction(film.aspect).limit_denominator(2**16)
        if not 0 < aspect < 2**16:
            raise UsageError(f"the aspect of a sample is a positive number below 65536, found {film.aspect}")
        fields.append(Field(ASPECT, struct.pack("<II", aspect.numerator, aspect.denominator), True))
    return tuple(fields)


def timing_of(info: StreamInfo) -> Fraction | tuple[Fraction, ...]:
    """Frames per second, or a time in seconds for each frame of the whole film; BitstreamError where they are not its frames'."""
    size = dict(info.signal)
    field = next((field for field in info.fields if field.id == TIMING), None)
    if field is None:
        return Fraction(size["rate_num"], size["rate_den"])
    cursor = Cursor(field.data, "side field timing")
    top, bottom = cursor.uvarint(_U32), cursor.uvarint(_U32)
    if not top or not bottom or cursor.left < size["frames"] - 1:
        raise BitstreamError(f"side field timing has ticks of {top}/{bottom} s and {cursor.left} bytes for {size['frames']} frames")
    places = [0]
    for _ in range(size["frames"] - 1):
        places.append(places[-1] + cursor.uvarint(_U32))
    cursor.close()
    return tuple(place * Fraction(top, bottom) for place in places)


def aspect_of(info: StreamInfo) -> Fraction:
    """Width over height of a sample."""
    field = next((field for field in info.fields if field.id == ASPECT), None)
    if field is None:
        return Fraction(1)
    top, bottom = struct.unpack("<II", field.data)
    if not top or not bottom:
        raise BitstreamError(f"side field aspect is {top}/{bottom}, expected a positive fraction")
    return Fraction(top, bottom)


def dressed(film: Video, info: StreamInfo, start: int = 0, frames: int | None = None) -> Video:
    """A decoded film, or frames [start, start + frames) of it, with the times and the aspect that its file says."""
    timing = timing_of(info)
    if not isinstance(timing, Fraction):
        own = timing[start:] if frames is None else timing[start : start + frames]
        timing = tuple(time - own[0] for time in own)
    return replace(film, timing=timing, aspect=aspect_of(info))


def _write_times(times: Sequence[Fraction]) -> bytes:
    """The tick in seconds, numerator and denominator, and ticks from each frame to the next; in a coarser tick where the exact one gives
    numbers above 32 bits or more bytes than the field has. UsageError where none fits."""
    steps = [Fraction(b) - Fraction(a) for a, b in itertools.pairwise(times)]
    if min(steps) < 0:
        raise UsageError("times of frames do not descend; sort the frames")
    bottom = math.lcm(*(step.denominator for step in steps))
    if bottom <= _FINE * 1001 and (data := _ticks([int(step * bottom) for step in steps], bottom)):
        return data
    for bottom in _TICKS:
        places = [round((Fraction(time) - Fraction(times[0])) * bottom) for time in times]
        if data := _ticks([b - a for a, b in itertools.pairwise(places)], bottom):
            return data
    over = f"{len(times)} frames over {float(Fraction(times[-1]) - Fraction(times[0])):.0f} s"
    raise UsageError(f"the times of {over} do not fit into {FIELDS[TIMING][2]} bytes in ticks of a second at most; split the film")


def _ticks(counts: Sequence[int], bottom: int) -> bytes:
    """The field of steps in 1/bottom s; none where it is too large for its reader."""
    top = math.gcd(*counts) or 1
    tick = Fraction(top, bottom)
    if max(tick.numerator, tick.denominator, max(counts) // top) > _U32:
        return b""
    data = uvarint(tick.numerator) + uvarint(tick.denominator) + b"".join(uvarint(count // top) for count in counts)
    return data if len(data) <= FIELDS[TIMING][2] else b""
