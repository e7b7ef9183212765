"""Our own models as codecs of comparisons, and the settings that draw their curves.

What a model has is used: decodable prefixes (bands of `image-line`, levels of sounds), sizes in bytes of what has many ways to say a shape,
bits of a mesh's coordinates. Picture models of one or two stages get lower rates by tables clustered into fewer entries (Mao et al., arXiv
2307.08265, see `recipes.ladder`), their first stage alone, coded by how much training used each entry. What is left with fewer than four
rates is compared at these, without a BD rate; `short` says so.
"""

from __future__ import annotations

from typing import Any

from smalti import api
from smalti.codecs.bitstream import parse
from smalti.codecs.ladders import Setting
from smalti.codecs.neural import NeuralCodec, fingerprint_bytes
from smalti.codecs.priors.static import StaticPrior
from smalti.compare import packed
from smalti.media import modality_of_kind
from smalti.tokenizers import zoo
from smalti.tokenizers.contracts import Codec, Target
from smalti.tokenizers.errors import ModelError, UsageError
from smalti.tokenizers.signals import Shape, Signal
from smalti.tokenizers.tokens import Tokens

MOST = 8  # settings of models with more prefixes than that
LEAST = 4  # for a BD rate
RUNGS = (8, 20, 48, 112)  # entries of clustered tables: with 256 a file was longer than the whole table's, whose prior knows more
SHAPE_BYTES = (48, 72, 96, 192, 384, 768)
_SIZES = {
    "image": (("height", 512), ("width", 512)),
    "audio": (("samples", 16000), ("rate", 16000), ("channels", 1)),
    "video": (("frames", 8), ("height", 256), ("width", 256), ("rate_num", 25), ("rate_den", 1)),
}


class Rungs:
    """`contracts.Codec` of a picture model with tables, whose quality is the entries of the first stage's table: fewer than it has.

    Targets other than a quality are the model's own. Clustered tables hang on floating-point sums: files of a quality are for comparing on
    one machine, not for keeping.
    """

    def __init__(self, whole: NeuralCodec) -> None:
        self.whole = whole
        self.name = whole.name
        self._rungs: dict[int, NeuralCodec] = {}

    def compress(self, signal: Signal, target: Target = Target()) -> bytes:
        """The file; UsageError where it does not fit, or for a quality that is no size of a table."""
        if target.quality is None:
            return self.whole.compress(signal, target)
        rung = self._rung(target.quality)
        return rung.compress(signal, Target(stages=rung.tokenizer.layout(_SIZES["image"]).cuts[0]))

    def decompress(self, data: bytes) -> Signal:
        """The picture of a file of the model or of a rung, which has been written or is one of `RUNGS`; ModelError for others."""
        return self.by(data).decompress(data)

    def by(self, data: bytes) -> NeuralCodec:
        """Who wrote a file."""
        info = parse(data).streams[0]
        sizes = [None, *self._rungs, *(size for size in RUNGS if size < _entries(self.whole)[0])]
        for size in sizes:
            by = self.whole if size is None else self._rung(size)
            if fingerprint_bytes(by.tokenizer) == info.fingerprint:
                return by
        raise ModelError(f"the file was written with model {info.fingerprint.hex()}, which is neither {self.name} nor one of its rungs")

    def _rung(self, quality: float) -> NeuralCodec:
        from smalti.recipes.ladder import books, smaller

        size, most = int(quality), _entries(self.whole)[0]
        if size != quality or not 2 <= size < most:
            raise UsageError(f"{self.name}: quality (entries of its table) {quality:g}, expected a whole number of 2 to {most - 1}")
        if size not in self._rungs:
            model: Any = self.whole.tokenizer
            tokenizer = smaller(model, size, {})
            counts = [getattr(book, "counts", None) for book in books(tokenizer.net.quantizer)]
            weights = [None if found is None else found.double().cpu().numpy() for found in counts]
            prior = StaticPrior.of_weights(weights, _entries(NeuralCodec(tokenizer, self.whole.prior)))
            self._rungs[size] = NeuralCodec(tokenizer, prior, self.name, False, self.whole.tone_passes, self.whole.allocate)
        return self._rungs[size]


class MeshBits:
    """`contracts.Codec` of the mesh model, whose quality is the bits of a coordinate, 7 to 10."""

    def __init__(self, whole: NeuralCodec) -> None:
        self.whole = whole
        self.name = whole.name

    def compress(self, signal: Signal, target: Target = Target()) -> bytes:
        """The file; UsageError where it does not fit, or for bits that the model does not have."""
        if target.quality is None:
            return self.whole.compress(signal, target)
        model: Any = self.whole.tokenizer
        ways = {way.layout.size["bits"]: way for way in model.variants(signal)}
        if target.quality not in ways:
            raise UsageError(f"{self.name}: quality (bits of a coordinate) {target.quality:g}, expected {min(ways)} to {max(ways)}")
        return self.whole.pack(ways[int(target.quality)])

    def decompress(self, data: bytes) -> Signal:
        """The mesh of a file."""
        found = self.whole.decompress(data)
        assert isinstance(found, Shape)
        return found


def codec(name: str, device: str = "cpu") -> Codec:
    """A model as a codec that takes the targets of its ladder; MODEL+zlib and so on as `packed`. ModelError where it is not known."""
    if "+" in name:
        return packed.codec(name)
    whole = api.codec(name, device)
    kind = zoo.find(name).kind
    if kind == "mesh":
        return MeshBits(whole)
    return Rungs(whole) if kind == "image-grid" and _has_tables(whole) else whole


def writer(codec: Codec, data: bytes) -> NeuralCodec | None:
    """The tokenizer and the prior that a file of one of these codecs was written with; None for codecs that are not ours."""
    if isinstance(codec, Rungs):
        return codec.by(data)
    found = codec.whole if isinstance(codec, MeshBits) else codec
    return found if isinstance(found, NeuralCodec) else None


def tokens_of(codec: Codec, data: bytes) -> Tokens:
    """What a file of a model holds, of a film its pictures; UsageError for codecs that are not ours."""
    by = writer(codec, data)
    if by is None:
        raise UsageError(f"files of {codec.name} hold no tokens; name a model")
    file = parse(data)
    return file.tokens(by.tokenizer.layout(file.streams[0].signal), by.prior)


def ladder(name: str) -> list[Setting]:
    """The settings of a model, or of MODEL+zlib and so on, ascending in rate; ModelError where it is not known."""
    if "+" in name:
        return [setting for setting in ladder(name.rpartition("+")[0]) if setting.target.stages is not None]
    info = zoo.find(name)
    if info.kind == "mesh":
        return [Setting(f"{bits} bits", Target(quality=bits)) for bits in range(7, 11)]
    modality = modality_of_kind(info.kind)
    if modality == "shape":
        return [Setting(f"{size} bytes", Target(bytes=size)) for size in SHAPE_BYTES]
    whole = api.codec(name, "cpu")
    cuts = whole.tokenizer.layout(_SIZES[modality]).cuts
    settings = [Setting(f"{cut} stage{'' if cut == 1 else 's'}", Target(stages=cut)) for cut in thinned(cuts)]
    if info.kind == "image-grid" and len(settings) <= LEAST and _has_tables(whole):
        rungs = [size for size in RUNGS if size < _entries(whole)[0]]
        settings = [*(Setting(f"{size} entries", Target(quality=size)) for size in rungs), *settings]
    return settings


def short(name: str) -> str | None:
    """Why a model has fewer rates than a curve needs; None where it has enough."""
    count = len(ladder(name))
    return f"its tokens decode at {count} rate{'' if count == 1 else 's'}" if count < LEAST else None


def thinned(cuts: tuple[int, ...]) -> tuple[int, ...]:
    """At most `MOST` of decodable prefixes: both ends, and those nearest to equal ratios between them."""
    if len(cuts) <= MOST:
        return cuts
    wanted = [cuts[0] * (cuts[-1] / cuts[0]) ** (i / (MOST - 1)) for i in range(MOST)]
    return tuple(sorted({min(cuts, key=lambda cut: abs(cut - value)) for value in wanted}))


def _entries(whole: NeuralCodec) -> list[int]:
    """Of each stage's vocabulary."""
    return [stage.vocab for stage in whole.tokenizer.layout(_SIZES["image"]).stages]


def _has_tables(whole: NeuralCodec) -> bool:
    from smalti.recipes.ladder import books, table_of

    model: Any = whole.tokenizer
    return all(table_of(book) is not None for book in books(model.net.quantizer))
