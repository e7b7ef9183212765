"""A parsed file of one picture, sound, film or shape with what its tokens need: all, a stretch, or what damage left."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from smalti.codecs import films
from smalti.codecs import notes as note_bits
from smalti.codecs.bitstream import File, StreamInfo, check_applied
from smalti.codecs.bitstream.chunked import Chunked
from smalti.codecs.bitstream.salvage import Loss, Salvage, salvage
from smalti.codecs.conceal import conceal as with_neighbours
from smalti.film_parts import FilmPart, film_part, shown_since, there
from smalti.priors import brings_masked, prior_named
from smalti.tokenizers.audio.excerpt import Stretch, excerpt, goes_on
from smalti.tokenizers.audio.sounds import size_of
from smalti.tokenizers.contracts import Prior, Tokenizer
from smalti.tokenizers.errors import DamageWarning, ModelError, UsageError
from smalti.tokenizers.signals import Audio, Image, Shape, Video
from smalti.tokenizers.tokens import Tokens

if TYPE_CHECKING:
    from smalti.tokenizers.zoo import ModelInfo


@dataclass(frozen=True)
class Opened:
    """A stream of a parsed file with what its tokens need. made_by, tokenizer: None for raw tokens, which carry their layout. device: of
    networks. stream: its number. sound: of a film's pictures, the stream of its sound; silent: why there is none though the file has one.
    """

    file: File
    info: StreamInfo
    made_by: ModelInfo | None
    tokenizer: Tokenizer | None
    prior: Prior
    device: str
    stream: int = 0
    sound: Opened | None = None
    silent: str = ""

    @property
    def cuts(self) -> tuple[int, ...]:
        """How many first stages decode: of the model's, or of raw tokens' own."""
        layout = self.info.layout if self.tokenizer is None else self.tokenizer.layout(self.info.signal)
        assert layout is not None  # of raw tokens, which alone have no tokenizer
        return layout.cuts

    def tokens(self, stages: int | None = None) -> Tokens:
        """All tokens that the file holds, or those of its first `stages`."""
        layout = None if self.tokenizer is None else self.tokenizer.layout(self.info.signal)
        return self.file.tokens(layout, self.prior, self.stream, stages)

    def stretch(self, start: float | None, end: float | None, stages: int | None = None) -> Stretch:
        """What is needed of a sound between two times in seconds (None: its ends); of long files no more than that is decoded.

        UsageError where the file holds no sound, or nothing lies between.
        """
        tokenizer, layout = self.decoder(), self.decoder().layout(self.info.signal)
        if self.info.modality != "audio" or not hasattr(tokenizer, "margins"):
            raise UsageError("start and end are times of a sound, and this holds none that can be cut in time; leave them out")
        config, margins = tokenizer.config, tokenizer.margins
        whole = size_of(self.info.signal, config.rate, tokenizer.name)
        held = self.info.stages if self.info.grouped else self.file.stages(self.stream)  # of groups, damage elsewhere costs no stage here
        wanted = stages or max((cut for cut in layout.cuts if cut <= held), default=layout.cuts[0])
        while True:
            found = excerpt(whole, config.rate, config.hop, margins, start, end)
            region = self.file.region(layout, self.prior, found.frames.start, found.frames.stop, self.stream, wanted)
            if not (margins.pause and found.frames.start and goes_on(region.arrays[0], margins.pause)):
                break
            margins = replace(margins, pause=2 * margins.pause)  # where a voice's pulses lie began before
        own = tokenizer.layout(found.size.signal).prefix(len(region.arrays))
        region.check_unmasked(tokenizer.name)
        return Stretch(Tokens(own, region.arrays), found.samples)

    def concealed(self, stages: int | None = None) -> Salvage:
        """What is left of a damaged file's tokens, or of those of its first `stages`; in the place of what was lost stands what the masked
        prior beside the model expects, or neighbours where there is none.
        """
        layout = None if self.tokenizer is None else self.tokenizer.layout(self.info.signal)
        found = salvage(self.file, layout, self.prior, self.stream, stages)
        return replace(found, tokens=self._filled(found))

    def lost(self, found: Salvage) -> tuple[str, ...]:
        """A line on each thing that is wrong with the file, and on what `concealed` did about it; of a film's sound on the latter only."""
        losses = [_lost(loss, self.info.stages) for loss in found.losses]
        return tuple(f"sound: {line}" for line in losses) if self.stream else (*self.file.problems, *losses)

    def film(self, start: float | None, end: float | None, stages: int | None = None) -> FilmPart:
        """What is needed of a film between two times in seconds: the groups of frames that hold it, and those before that its first frames
        depend on. UsageError where the file holds no film, or nothing lies between."""
        return film_part(self.file, self.stream, self.info, self.decoder(), self.prior, start, end, stages)

    def signal(
        self, stages: int | None = None, start: float | None = None, end: float | None = None, conceal: bool = False
    ) -> Image | Audio | Video | Shape:
        """The picture, sound, film or shape, as `decompress` gives it. conceal, start and end want a file that was parsed not strictly."""
        timed = start is not None or end is not None
        if timed and conceal:
            raise UsageError("conceal goes with neither start nor end: a stretch is decoded as it was written, or not at all")
        if timed and self.info.modality == "video":
            return self.film(start, end, stages).of(self.decoder(), self.heard(start, end))
        if timed:
            part = self.stretch(start, end, stages)
            (whole,) = self.decoder().decode([part.tokens])
            assert isinstance(whole, Audio)
            return part.of(whole)
        decoded, lost = self.whole(stages, conceal)
        if lost:
            warnings.warn(DamageWarning(lost), stacklevel=5)  # where decompress was called
        return decoded

    def whole(self, stages: int | None = None, conceal: bool = False) -> tuple[Image | Audio | Video | Shape, tuple[str, ...]]:
        """The whole signal, of a film with its sound, and a line on each thing that is wrong, left out or concealed."""
        tokenizer, lost = self.decoder(), tuple[str, ...]()
        if conceal:
            found = self.concealed(stages)
            tokens, lost = found.tokens, self.lost(found)
        else:
            tokens = self.tokens(stages)
        (decoded,) = tokenizer.decode([there(tokens, tokenizer)])
        assert isinstance(decoded, Image | Audio | Video | Shape)
        if self.silent:
            lost = (*lost, self.silent)
        if isinstance(decoded, Video):
            sound, wrong = self.all_heard(conceal)
            decoded, lost = replace(films.dressed(decoded, self.info), audio=sound), (*lost, *wrong)
        return (replace(decoded, notes=note_bits.from_bits(self.info.notes)) if isinstance(decoded, Image) else decoded), lost

    def all_heard(self, conceal: bool = False) -> tuple[Audio | None, tuple[str, ...]]:
        """The sound beside a film's pictures, if there is one, and a line on each thing of it that is concealed."""
        if self.sound is None:
            return None, ()
        found, lost = self.sound.whole(None, conceal)
        assert isinstance(found, Audio)
        return found, lost

    def heard(self, start: float | None, end: float | None) -> Audio | None:
        """A stretch of the sound beside a film's pictures, from where the picture that is shown at its start begins; None where
        there is none, or it ends before."""
        if self.sound is None:
            return None
        start = None if start is None else shown_since(self.info, start)
        size = dict(self.sound.info.signal)
        if start is not None and round(start * size["rate"]) >= size["samples"]:
            return None
        found = self.sound.signal(None, start, end)
        assert isinstance(found, Audio)
        return found

    def _filled(self, found: Salvage) -> Tokens:
        from smalti.codecs.priors.masked import MaskedPrior
        from smalti.codecs.restore import restore, vectors_of

        prior, tokenizer = self.prior, self.tokenizer
        if self.made_by is not None and brings_masked(self.made_by) and not all(there.all() for there in found.received):
            prior = prior_named("masked", self.made_by, self.device)
        if tokenizer is None or not isinstance(prior, MaskedPrior) or not prior.takes(found.tokens.layout):
            return with_neighbours(found.tokens, found.received)
        quantizer = tokenizer.net.quantizer  # type: ignore[attr-defined]  # of whatever tokenizer a masked prior fits
        vectors = vectors_of(quantizer, prior.config.vocab, len(found.tokens.arrays))
        return restore(prior, found.tokens, found.received, vectors)

    def decoder(self) -> Tokenizer:
        """Whoever turns the tokens into a signal; raises BitstreamError for side fields that must be applied and are not."""
        check_applied(self.info, films.APPLIED if self.info.modality == "video" else ())
        if self.tokenizer is None:
            raise ModelError("raw tokens, made by no model, do not decode to a signal; smalti.open gives the tokens")
        return self.tokenizer


def is_there(file: File, stream: int) -> bool:
    """Whether a file holds anything of a stream; one that ends early may not."""
    return not isinstance(file.content, Chunked) or any(part.stream == stream for part in file.content.parts)


def the_stream(file: File) -> StreamInfo:
    """The first stream of a file that this release reads: of one picture, sound, shape or raw tokens, or of a film, which may have a second
    one, its sound. UsageError for others."""
    kinds = tuple(info.modality for info in file.streams)
    if kinds == ("video", "audio") or (len(kinds) == 1 and kinds[0] in ("image", "audio", "video", "shape", "raw")):
        return file.streams[0]
    held = f"{len(kinds)} streams ({', '.join(kinds)})" if len(kinds) != 1 else kinds[0]
    raise UsageError(f"the file holds {held}; this release reads one picture, sound, shape or film (with its sound), or raw tokens")


def _lost(loss: Loss, stages: int) -> str:
    stage = f"stage {loss.stage + 1} of {stages}"
    if loss.dropped:
        return f"{stage} left out"
    return f"{stage} concealed in {loss.axis}s {loss.start} to {loss.stop - 1} of {loss.count}"
