"""A parsed file of one picture, sound or shape with what its tokens need: all, a stretch of time, or what is left of a damaged file."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from smalti.codecs import notes as note_bits
from smalti.codecs.bitstream import File, StreamInfo, check_applied
from smalti.codecs.bitstream.salvage import Loss, Salvage, salvage
from smalti.codecs.conceal import conceal as with_neighbours
from smalti.priors import brings_masked, prior_named
from smalti.tokenizers.audio.excerpt import Stretch, excerpt
from smalti.tokenizers.audio.sounds import size_of
from smalti.tokenizers.contracts import Prior, Tokenizer
from smalti.tokenizers.errors import DamageWarning, ModelError, UsageError
from smalti.tokenizers.signals import Audio, Image, Shape
from smalti.tokenizers.tokens import Tokens

if TYPE_CHECKING:
    from smalti.tokenizers.zoo import ModelInfo


@dataclass(frozen=True)
class Opened:
    """A parsed file of one stream with what its tokens need. made_by, tokenizer: None for raw tokens, which carry their layout. device:
    of networks.
    """

    file: File
    info: StreamInfo
    made_by: ModelInfo | None
    tokenizer: Tokenizer | None
    prior: Prior
    device: str

    @property
    def cuts(self) -> tuple[int, ...]:
        """How many first stages decode: of the model's, or of raw tokens' own."""
        layout = self.info.layout if self.tokenizer is None else self.tokenizer.layout(self.info.signal)
        assert layout is not None  # of raw tokens, which alone have no tokenizer
        return layout.cuts

    def tokens(self, stages: int | None = None) -> Tokens:
        """All tokens that the file holds, or those of its first `stages`."""
        layout = None if self.tokenizer is None else self.tokenizer.layout(self.info.signal)
        return self.file.tokens(layout, self.prior, stages=stages)

    def stretch(self, start: float | None, end: float | None, stages: int | None = None) -> Stretch:
        """What is needed of a sound between two times in seconds (None: its ends); of long files no more than that is decoded.

        UsageError where the file holds no sound, or nothing lies between.
        """
        tokenizer, layout = self.decoder(), self.decoder().layout(self.info.signal)
        if self.info.modality != "audio" or not hasattr(tokenizer, "margins"):
            raise UsageError("start and end are times of a sound, and this holds none that can be cut in time; leave them out")
        config = tokenizer.config
        whole = size_of(self.info.signal, config.rate, tokenizer.name)
        found = excerpt(whole, config.rate, config.hop, tokenizer.margins, start, end)
        held = self.info.stages if self.info.grouped else self.file.stages()  # of groups, damage elsewhere costs no stage here
        wanted = stages or max((cut for cut in layout.cuts if cut <= held), default=layout.cuts[0])
        region = self.file.region(layout, self.prior, found.frames.start, found.frames.stop, stages=wanted)
        own = tokenizer.layout(found.size.signal).prefix(len(region.arrays))
        region.check_unmasked(tokenizer.name)
        return Stretch(Tokens(own, region.arrays), found.samples)

    def concealed(self, stages: int | None = None) -> Salvage:
        """What is left of a damaged file's tokens, or of those of its first `stages`; in the place of what was lost stands what the masked
        prior beside the model expects, or neighbours where there is none.
        """
        layout = None if self.tokenizer is None else self.tokenizer.layout(self.info.signal)
        found = salvage(self.file, layout, self.prior, stages=stages)
        return replace(found, tokens=self._filled(found))

    def lost(self, found: Salvage) -> tuple[str, ...]:
        """A line on each thing that is wrong with the file, and on what `concealed` did about it."""
        return (*self.file.problems, *(_lost(loss, self.info.stages) for loss in found.losses))

    def signal(
        self, stages: int | None = None, start: float | None = None, end: float | None = None, conceal: bool = False
    ) -> Image | Audio | Shape:
        """The picture, sound or shape, as `decompress` gives it. conceal, start and end want a file that was parsed not strictly."""
        timed = start is not None or end is not None
        if timed and conceal:
            raise UsageError("conceal goes with neither start nor end: a stretch is decoded as it was written, or not at all")
        if timed:
            part = self.stretch(start, end, stages)
            (whole,) = self.decoder().decode([part.tokens])
            assert isinstance(whole, Audio)
            return part.of(whole)
        tokenizer, lost = self.decoder(), tuple[str, ...]()
        if conceal:
            found = self.concealed(stages)
            tokens, lost = found.tokens, self.lost(found)
        else:
            tokens = self.tokens(stages)
        (decoded,) = tokenizer.decode([tokens])
        assert isinstance(decoded, Image | Audio | Shape)
        if lost:
            warnings.warn(DamageWarning(lost), stacklevel=5)  # where decompress was called
        return replace(decoded, notes=note_bits.from_bits(self.info.notes)) if isinstance(decoded, Image) else decoded

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
        check_applied(self.info)
        if self.tokenizer is None:
            raise ModelError("raw tokens, made by no model, do not decode to a signal; smalti.open gives the tokens")
        return self.tokenizer


def the_stream(file: File) -> StreamInfo:
    """The one stream of a picture's, a sound's or a shape's file, or of raw tokens; UsageError for other files."""
    if len(file.streams) != 1:
        raise UsageError(f"the file holds {len(file.streams)} streams; this release reads files of one picture, sound or shape")
    if file.streams[0].modality not in ("image", "audio", "shape", "raw"):
        raise UsageError(f"the file holds {file.streams[0].modality}; this release reads pictures, sounds, shapes and raw tokens")
    return file.streams[0]


def _lost(loss: Loss, stages: int) -> str:
    stage = f"stage {loss.stage + 1} of {stages}"
    if loss.dropped:
        return f"{stage} left out"
    return f"{stage} concealed in {loss.axis}s {loss.start} to {loss.stop - 1} of {loss.count}"
