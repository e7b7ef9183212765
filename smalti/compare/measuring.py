"""What is measured of one item by one codec, as a pure function of a job: worker processes import this module.

compress -> bytes, decompress, metrics; processor time of both ways after a warm-up; where the bytes go. Nothing that a codec or a metric
raises leaves it: it becomes a failure in the outcome.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from smalti.codecs.bitstream import parse
from smalti.codecs.bitstream.report import inspect
from smalti.codecs.neural import NeuralCodec
from smalti.compare import judging
from smalti.compare.cache import keep_file, kept_file
from smalti.compare.items import Source, describe
from smalti.compare.lineup import Contender, Setting, open_codec
from smalti.compare.results import Failure, Item, finite
from smalti.compare.small import pair
from smalti.compare.timing import CHEAP_SECONDS, TimedFrames, timed
from smalti.tokenizers.contracts import Codec, Score, Target
from smalti.tokenizers.errors import BitstreamError, SignalError, SmaltiError
from smalti.tokenizers.signals import Audio, Image, Shape, Signal, Video

LAG_SECONDS = 1.0  # that a decoded sound is looked for, before and after
LAG_HEARD_SECONDS = 20.0
WARM_UP_SIDE, WARM_UP_SECONDS, WARM_UP_FRAMES = 192, 1, 4


@dataclass(frozen=True)
class Want:
    """One setting, and the metrics that are missing. digest: of the compressed file, where that is known and only metrics are missing."""

    setting: Setting
    metrics: tuple[str, ...]
    digest: str = ""


@dataclass(frozen=True)
class Job:
    """An item by a codec. folder: of the cache, where compressed files go."""

    source: Source
    contender: Contender
    wants: tuple[Want, ...]
    folder: str


@dataclass(frozen=True)
class Outcome:
    """Of one setting. record: of the file, None where it failed or was there already. scores: by metric: value, unit, better, convention;
    `error` instead where it cannot be scored."""

    setting: str
    record: dict[str, Any] | None = None
    scores: dict[str, dict[str, Any]] = field(default_factory=dict)
    failures: tuple[Failure, ...] = ()


@dataclass(frozen=True)
class Described:
    """An item, or why it cannot be read."""

    item: Item | None
    error: str = ""


def scan(source: Source) -> Described:
    """Size and hash of an item."""
    try:
        return Described(describe(source))
    except Exception as error:  # whatever a library makes of a damaged file: it is said, and the others are read
        return Described(None, said(error))


_read: tuple[Source, Signal] | None = None
_codecs: dict[str, Codec] = {}
_warm: set[tuple[str, Target]] = set()


def forget() -> None:
    """What this process keeps: before another run, since files, weights and modules may have changed under their names."""
    global _read
    _read = None
    _codecs.clear()
    _warm.clear()


def signal_of(source: Source) -> Signal:
    """The signal; that of the last source is kept, films aside, whose frames pass anew each time."""
    global _read
    if _read is None or _read[0] != source:
        _read = None
        _read = (source, source.read())
    return _read[1]


def codec_of(contender: Contender) -> Codec:
    """One for each process."""
    if contender.codec not in _codecs:
        _codecs[contender.codec] = open_codec(contender.codec)
    return _codecs[contender.codec]


def measure(job: Job) -> list[Outcome]:
    """An outcome for each setting that is wanted."""
    failure = Failure(job.contender.name, None, job.source.id, "read", "")
    try:
        signal = signal_of(job.source)
        failure = replace(failure, stage="compress")
        codec = codec_of(job.contender)
        targets = [want.setting.target for want in job.wants if not want.digest]  # what is timed
        for target in targets if isinstance(signal, Image) else targets[:1]:  # of pictures some cluster tables for a setting
            use = (job.contender.codec, target if isinstance(signal, Image) else Target())
            if use not in _warm:
                _warm_up(codec, signal, target)
                _warm.add(use)
    except Exception as error:  # whatever a codec of others raises: it is said, and the rest goes on
        return [
            Outcome(want.setting.label, failures=(replace(failure, setting=want.setting.label, error=said(error)),)) for want in job.wants
        ]
    files = _Files(codec, signal)
    return [_one(job, want, files) for want in job.wants]


def _one(job: Job, want: Want, files: _Files) -> Outcome:
    label, failure = want.setting.label, Failure(job.contender.name, want.setting.label, job.source.id, "compress", "")
    try:
        record, data = None, kept_file(job.folder, want.digest) if want.digest else None
        if data is None:
            made = files.make(want.setting.target)
            data = made.value
            if not data:
                raise BitstreamError("a file of no bytes")
            record = {"bytes": len(data), "digest": keep_file(job.folder, data), "encode_seconds": made.seconds}
        failure = replace(failure, stage="decompress")
        back = _Decoded(files.codec, data, files.signal)
        failure = replace(failure, stage="metric")
        scores, unscored = _scored(files.signal, back, want.metrics, failure)
        if record is not None:
            record |= {"decode_seconds": back.finish(), "lag_samples": lag_of(files.signal, back.signal), **split(files.codec, data)}
        return Outcome(label, record, scores, unscored)
    except Exception as error:
        return Outcome(label, failures=(replace(failure, error=said(error)),))


class _Files:
    """Files of one signal by one codec; what all settings share is encoded once."""

    def __init__(self, codec: Codec, signal: Signal) -> None:
        self.codec, self.signal = codec, signal
        self._tokens: Any = None
        self._search = 0.0

    def make(self, target: Target) -> Any:
        """The file and the processor time that it takes from the signal on."""
        if isinstance(self.signal, Video):
            frames = TimedFrames(self.signal.frames)
            film = replace(self.signal, frames=frames)
            made = timed(lambda: self.codec.compress(film, target), repeat=False)
            return replace(made, seconds=max(0.0, made.seconds - frames.seconds))
        if isinstance(self.signal, Audio) and target.stages is not None and isinstance(self.codec, NeuralCodec):
            codec = self.codec
            if self._tokens is None:
                self._tokens = timed(lambda: codec.encode([self.signal])[0])
            packed = timed(lambda: codec.pack(self._tokens.value, (), target))
            return replace(packed, seconds=packed.seconds + self._tokens.seconds)
        if isinstance(self.signal, Shape):
            return self._searched(target)
        return timed(lambda: self.codec.compress(self.signal, target))

    def _searched(self, target: Target) -> Any:
        """Codecs of shapes keep what they searched through for the last one, so that its next file costs little: a file made alone takes
        the search too. How long that was shows in making the same file again."""
        made = timed(lambda: self.codec.compress(self.signal, target), repeat=False)
        if made.seconds < CHEAP_SECONDS and not self._search:
            return timed(lambda: self.codec.compress(self.signal, target))
        again = timed(lambda: self.codec.compress(self.signal, target))
        self._search = max(self._search, made.seconds - again.seconds)
        return replace(made, seconds=again.seconds + self._search)


class _Decoded:
    """What came back. A film's frames pass once: `signal` is decoded anew where it is asked for again."""

    def __init__(self, codec: Codec, data: bytes, reference: Signal) -> None:
        self.codec, self.data = codec, data
        self.is_film = isinstance(reference, Video)
        self._first = timed(lambda: codec.decompress(data), repeat=not self.is_film)
        self._frames: TimedFrames | None = None

    @property
    def signal(self) -> Signal:
        """The decoded signal; each time a film is asked for, its frames pass from the start."""
        if not self.is_film:
            return self._first.value
        film = self._first.value if self._frames is None else self.codec.decompress(self.data)
        if not isinstance(film, Video):
            raise SignalError(f"a film decoded to a {type(film).__name__}, expected a film")
        frames = TimedFrames(film.frames)
        if self._frames is None:
            self._frames = frames
        return replace(film, frames=frames)

    def finish(self) -> float:
        """Processor time of decoding all of it."""
        if self.is_film and self._frames is None:
            for _ in self.signal.frames:  # type: ignore[union-attr]
                pass
        return self._first.seconds + (self._frames.seconds if self._frames is not None else 0.0)


def _scored(
    reference: Signal, back: _Decoded, names: Sequence[str], failure: Failure
) -> tuple[dict[str, dict[str, Any]], tuple[Failure, ...]]:
    found: dict[str, dict[str, Any]] = {}
    failures: list[Failure] = []
    for name, score in _pass(reference, back, names):
        if isinstance(score, Score):
            found[name] = {"value": _counted(score), "unit": score.unit, "better": score.better, "convention": score.convention}
        else:
            failures.append(replace(failure, stage=f"metric {name}", error=said(score)))
            if isinstance(score, SignalError):
                found[name] = {"value": None, "error": said(score)}
    return found, tuple(failures)


def _counted(score: Score) -> float | None:
    """Equal signals have infinitely many decibels, which no mean could take: they count as MOST_DECIBELS, as equal frames of films do."""
    from smalti.metrics.video import MOST_DECIBELS

    value = float(score.value)
    return MOST_DECIBELS if score.unit == "dB" and value == math.inf else finite(value)


def _pass(reference: Signal, back: _Decoded, names: Sequence[str]) -> Iterator[tuple[str, Score | Exception]]:
    """Each metric's score, or what it raised. Metrics of films share one pass, unless that fails."""
    if isinstance(reference, Video) and len(names) > 1:
        from smalti.metrics.video import measure as measure_film

        try:
            judges: dict[str, Any] = {name: judging.metric(name) for name in names}
            if all(hasattr(judge, "tally") for judge in judges.values()):
                yield from measure_film(judges, reference, back.signal).items()
                return
        except Exception:  # each by itself shows whose fault it was
            pass
    for name in names:
        try:
            yield name, judging.metric(name)(reference, back.signal)
        except Exception as error:
            yield name, error


def split(codec: Codec, data: bytes) -> dict[str, Any]:
    """Where the bytes of a file go, as far as its format tells."""
    from smalti.compare import ours

    payload: int | None = None
    gap: float | None = None
    by = ours.writer(codec, data)
    if by is not None:
        payload, gap = _own_split(by, data)
    elif hasattr(codec, "payload_bytes"):
        payload = int(codec.payload_bytes(data))
    header = None if payload is None else len(data) - payload
    return {"header_bytes": header, "payload_bytes": payload, "entropy_gap_bytes": gap}


def _own_split(by: NeuralCodec, data: bytes) -> tuple[int | None, float | None]:
    found = inspect(data)
    if found.status != "whole":
        return None, None
    payload = sum(count for name, count in found.bytes if name == "payload")
    file = parse(data)
    if len(file.streams) != 1:
        return payload, None  # a film with its sound
    tokens = file.tokens(by.tokenizer.layout(file.streams[0].signal), by.prior)
    return payload, payload - math.fsum(by.prior.price(tokens)) / 8


def lag_of(reference: Signal, decoded: Signal) -> int | None:
    """Samples by which a decoded sound comes late (early, below 0), by cross-correlation of the channels' sum; None of other signals, of
    silence, and where nothing agrees."""
    if not isinstance(reference, Audio) or not isinstance(decoded, Audio):
        return None
    from scipy.signal import correlate

    heard = round(LAG_HEARD_SECONDS * reference.rate)
    a, b = (sound.samples[:, :heard].sum(0, dtype=np.float64) for sound in (reference, decoded))
    if not a.any() or not b.any():
        return None
    most = min(round(LAG_SECONDS * reference.rate), len(a) - 1, len(b) - 1)
    products = correlate(b, a, method="fft")[len(a) - 1 - most : len(a) + most]
    best = int(np.argmax(products))
    near = 0.2 * math.sqrt(float(a @ a) * float(b @ b))
    return best - most if products[best] > near else None


def _warm_up(codec: Codec, signal: Signal, target: Target) -> None:
    """Let it load and compile what it needs, on little; what fails here is said when it counts."""
    little: Signal = signal
    if isinstance(signal, Image):
        little = Image(np.ascontiguousarray(signal.pixels[:WARM_UP_SIDE, :WARM_UP_SIDE]))
    elif isinstance(signal, Audio):
        little = Audio(signal.samples[:, : WARM_UP_SECONDS * signal.rate], signal.rate)
    elif isinstance(signal, Video):
        little = Video(
            tuple(itertools.islice(signal.frames, WARM_UP_FRAMES)),
            signal.timing if not isinstance(signal.timing, tuple) else signal.timing[:WARM_UP_FRAMES],
        )
    elif isinstance(signal, Shape):
        little = pair("shape")[0]
    for aim in dict.fromkeys((target, Target())):
        try:
            back = codec.decompress(codec.compress(little, aim))
            for _ in back.frames if isinstance(back, Video) else ():
                pass
            return
        except Exception:
            continue


def said(error: BaseException) -> str:
    """One line."""
    text = " ".join(str(error).split())
    return text if isinstance(error, SmaltiError) and text else f"{type(error).__name__}: {text}".rstrip(": ")
