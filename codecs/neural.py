"""Tokenizer + prior + bitstream = a codec behind the same contract as the classical ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from smalti.codecs import allocation, films, notes, tone, varied
from smalti.codecs.bitstream import OWN_PRIOR, Entry, File, StreamInfo, check_applied, parse, write, write_chunked
from smalti.tokenizers.contracts import Prior, RegionalTokenizer, Target, Tokenizer, VariedTokenizer
from smalti.tokenizers.errors import ModelError, UsageError
from smalti.tokenizers.signals import Audio, Image, Signal, Video
from smalti.tokenizers.tokens import Tokens

ANY_SIZE = 1 << 40  # bytes


class NeuralCodec:
    """`contracts.Codec` of a tokenizer and a prior.

    default_prior: the prior is the model's own; files then name it by four zeros. name: the tokenizer's by default. tone_passes: how
    often a picture is encoded again so that its brightness and hues come back, see `tone.py`; 0 is fastest. allocate: whether files of a
    given size spend it on the regions of a picture where it lowers distortion most, see `allocation.py`, if the tokenizer has regions.
    sound: of a tokenizer of films, the codec that their soundtracks are written with, whole, into the same file; without it they are left
    out.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        prior: Prior,
        name: str | None = None,
        default_prior: bool = False,
        tone_passes: int = tone.PASSES,
        allocate: bool = True,
        sound: NeuralCodec | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        self.prior = prior
        self.name = tokenizer.name if name is None else name
        self.default_prior = default_prior
        self.tone_passes = tone_passes
        self.allocate = allocate
        self.sound = sound
        self._kept: varied.Choice | None = None

    @property
    def prior_id(self) -> bytes:
        """How files name the prior."""
        return OWN_PRIOR if self.default_prior else self.prior.id

    def compress(self, signal: Signal, target: Target = Target()) -> bytes:
        """The file with as many stages as the target has room for; raises UsageError where even the fewest are too many."""
        target = self.file_target(target)
        (tokens,) = self.encode([signal], target)
        return self.pack(tokens, signal.notes if isinstance(signal, Image) else (), target, signal)

    def encode(self, signals: Sequence[Signal], target: Target = Target()) -> list[Tokens]:
        """What is written to files: the tokenizer's tokens, all stages; of pictures in tone with as many as the target has room for. With
        regions, and a size as the target, the stages that each region keeps; with several ways to say a signal, and bytes as the target,
        the first stages of the best way within it."""
        if isinstance(self.tokenizer, VariedTokenizer) and target.bytes is not None:
            return [self._choice(self.tokenizer, signal).best(target.bytes) for signal in signals]
        signals = [films.at_one_rate(signal) if isinstance(signal, Video) else signal for signal in signals]
        tokens = self._in_tone(signals, self.tokenizer.encode(signals), target)
        return [self._allocated(signal, item, target) for signal, item in zip(signals, tokens, strict=True)]

    def file_target(self, target: Target) -> Target:
        """What a file aims at: as asked, or where nothing was and `encode` does not give the nearest way, that, whatever it takes."""
        free = target == Target() and isinstance(self.tokenizer, VariedTokenizer) and not self.tokenizer.encodes_nearest
        return Target(bytes=ANY_SIZE) if free else target

    def _choice(self, tokenizer: VariedTokenizer, signal: Signal) -> varied.Choice:
        """That of the last signal is kept, so that its files of several sizes cost their search once."""
        if self._kept is None or self._kept.signal is not signal:
            self._kept = varied.Choice(tokenizer, signal, self.prior, self._size_of)
        return self._kept

    def _size_of(self, tokens: Tokens) -> int:
        """Bytes of a shape's file."""
        return len(write(tokens, self.prior, _info(modality_of(tokens), self.tokenizer, tokens, self.prior_id, ())))

    def _in_tone(self, signals: Sequence[Signal], tokens: list[Tokens], target: Target) -> list[Tokens]:
        pictures = all(isinstance(signal, Image) and modality_of(item) == "image" for signal, item in zip(signals, tokens, strict=True))
        if not self.tone_passes or not pictures:
            return tokens
        stages = [self._stages_within(signal, item, target) for signal, item in zip(signals, tokens, strict=True)]
        return tone.improved(self.tokenizer, signals, tokens, self.tone_passes, stages)

    def _allocated(self, signal: Signal, tokens: Tokens, target: Target) -> Tokens:
        sized = target.bytes is not None or target.bits_per_pixel is not None
        if not (self.allocate and sized and isinstance(signal, Image) and isinstance(self.tokenizer, RegionalTokenizer)):
            return tokens
        room = _room(tokens, target, None)

        def fits(item: Tokens) -> bool:
            return len(write(item, self.prior, info_of(self.tokenizer, signal, item, self.prior_id))) <= (room or 0)

        return allocation.allocated(self.tokenizer, signal, tokens, self.prior, fits)

    def _stages_within(self, signal: Signal, tokens: Tokens, target: Target) -> int:
        if target.bytes is None and target.bits_per_pixel is None:
            return target.stages if target.stages in tokens.layout.cuts else len(tokens.arrays)
        info = info_of(self.tokenizer, signal, tokens, self.prior_id)
        try:
            return parse(write_within(tokens, self.prior, info, target)).stages()
        except UsageError:  # said by whoever writes the file
            return tokens.layout.cuts[0]

    def pack(self, tokens: Tokens, noted: tuple[str, ...] = (), target: Target = Target(), signal: Signal | None = None) -> bytes:
        """The file of a signal's tokens, within a target; noted: what a picture had beyond its pixels. signal: where it is a film, its
        times, its aspect and, with a codec for it, its sound go into the file too."""
        info = _info(modality_of(tokens), self.tokenizer, tokens, self.prior_id, noted)
        sounds: list[Entry] = []
        if isinstance(signal, Video):
            info = replace(info, fields=films.fields_of(signal, tokens.layout.size["frames"]))
            sounds = self._sounds(signal)
        return write_within(tokens, self.prior, info, target, seconds_of(tokens), sounds)

    def _sounds(self, film: Video) -> list[Entry]:
        """The soundtrack as a stream of its own."""
        if self.sound is None or film.audio is None:
            return []
        (tokens,) = self.sound.encode([film.audio])
        return [Entry(tokens, self.sound.prior, _info("audio", self.sound.tokenizer, tokens, self.sound.prior_id, ()))]

    def decompress(self, data: bytes) -> Signal:
        """The signal of a file; raises BitstreamError for damage and ModelError for another model's or another prior's file."""
        file = parse(data)
        info = file.streams[0]
        film = info.modality == "video" and len(file.streams) == 2 and file.streams[1].modality == "audio"
        if len(file.streams) != 1 and not (film and self.sound is not None):
            raise UsageError(f"the file holds {len(file.streams)} streams, a codec reads one: use smalti.decompress")
        signal = self._decoded(file, 0)
        if isinstance(signal, Video) and info.modality == "video":
            sound = self.sound._decoded(file, 1) if film and self.sound is not None else None
            assert sound is None or isinstance(sound, Audio)
            return replace(films.dressed(signal, info), audio=sound)
        return replace(signal, notes=notes.from_bits(info.notes)) if isinstance(signal, Image) else signal

    def _decoded(self, file: File, stream: int) -> Signal:
        info = file.streams[stream]
        check_model(info, self.tokenizer)
        check_applied(info, films.APPLIED if info.modality == "video" else ())
        if info.prior_id == OWN_PRIOR and not self.default_prior:
            raise ModelError(f"the file was written with the default prior of {self.tokenizer.name}, this codec has {self.prior.id.hex()}")
        tokens = file.tokens(self.tokenizer.layout(info.signal), self.prior, stream)
        return self.tokenizer.decode([tokens])[0]


def info_of(tokenizer: Tokenizer, signal: Signal, tokens: Tokens, prior_id: bytes = OWN_PRIOR) -> StreamInfo:
    """What a file says about a signal and its tokens."""
    return _info(modality_of(tokens), tokenizer, tokens, prior_id, signal.notes if isinstance(signal, Image) else ())


def modality_of(tokens: Tokens) -> str:
    """What tokens came from, by the names in their signal's size."""
    size = tokens.layout.size
    return "shape" if "scale" in size else "audio" if "samples" in size else "video" if "frames" in size else "image"


def _info(modality: str, tokenizer: Tokenizer, tokens: Tokens, prior_id: bytes, noted: tuple[str, ...]) -> StreamInfo:
    bits = notes.to_bits(noted)
    return StreamInfo(modality, fingerprint_bytes(tokenizer), prior_id, len(tokens.arrays), tokens.layout.signal, bits)


def fingerprint_bytes(tokenizer: Tokenizer) -> bytes:
    """The first 6 bytes of the fingerprint (hex), as files carry them."""
    return bytes.fromhex(tokenizer.fingerprint)[:6]


def check_model(info: StreamInfo, tokenizer: Tokenizer) -> None:
    """Raises ModelError where a file was written with other weights than the tokenizer's."""
    own = fingerprint_bytes(tokenizer)
    if info.fingerprint != own:
        raise ModelError(
            f"the file was written with model {info.fingerprint.hex()}, this is {own.hex()} ({tokenizer.name}): "
            "load the model it names, `smalti models` lists fingerprints"
        )


def seconds_of(tokens: Tokens) -> float | None:
    """Duration of the sound or film that tokens came from; None of pictures and shapes."""
    size = tokens.layout.size
    if "samples" in size:
        return size["samples"] / size["rate"]
    return size["frames"] * size["rate_den"] / size["rate_num"] if "frames" in size else None


def write_within(
    tokens: Tokens,
    prior: Prior,
    info: StreamInfo,
    target: Target = Target(),
    seconds: float | None = None,
    others: Sequence[Entry] = (),
) -> bytes:
    """The file of the longest decodable prefix that the target has room for; bits are those of the whole file.

    Bits per pixel are 8 * bytes / (height * width), of a film also / frames. others: streams that go into the file as they are. Raises
    UsageError, naming the smallest possible size where nothing fits.
    """

    def written(prefix: Tokens) -> bytes:
        return write_chunked([Entry(prefix, prior, info), *others]) if others else write(prefix, prior, info)

    if target.quality is not None:
        raise UsageError(f"this codec knows no quality scale (found quality {target.quality}); give bytes, a rate or stages")
    if target.stages is not None:
        return written(tokens.prefix(target.stages))
    room = _room(tokens, target, seconds)
    best = b""
    for k in tokens.layout.cuts if room is not None else tokens.layout.cuts[-1:]:
        data = written(tokens.prefix(k))
        if room is not None and len(data) > room:
            if not best:
                more = _least(target, len(data) / room)
                raise UsageError(
                    f"the smallest file of this signal has {len(data)} bytes, the target allows {int(room)}; ask for {more}{_finer(info)}"
                )
            break
        best = data
    return best


def _least(target: Target, times: float) -> str:
    """A target that is so many times as large, in the unit that was asked in, rounded up."""
    if target.kbps is not None:
        return f"{math.ceil(target.kbps * times * 1000) / 1000:g} kbps or more"
    if target.bits_per_pixel is not None:
        return f"{math.ceil(target.bits_per_pixel * times * 10000) / 10000:g} bits per pixel or more"
    return "more"


def _finer(info: StreamInfo) -> str:
    return ", or take a model with more stages: of pictures image-line" if info.modality == "image" and info.stages < 8 else ""


def _room(tokens: Tokens, target: Target, seconds: float | None) -> float | None:
    if target.bytes is not None:
        return target.bytes
    if target.bits_per_pixel is not None:
        size = tokens.layout.size
        if "height" not in size or "width" not in size:
            raise UsageError(f"bits per pixel are a target for images and films; give bytes{', kbps' if seconds else ''} or stages")
        return target.bits_per_pixel * size["height"] * size["width"] * size.get("frames", 1) / 8
    if target.kbps is not None:
        if not seconds:
            pixels = ", bits per pixel" if "height" in tokens.layout.size else ""
            raise UsageError(f"kbps are a target for sound and films; give bytes{pixels} or stages")
        return target.kbps * 1000 / 8 * seconds
    return None
