"""Codecs by name: "module:factory"; other distributions add theirs by entry points `smalti.codecs`.

A factory is called without arguments, and raises ModelError where a package or a network that it needs is not at hand. NAME/2 and NAME/4
are codecs of pictures and films at half and a quarter of each side. Those of our own models need weights and stand in the zoo, not here.
"""

from __future__ import annotations

import difflib
import importlib
from importlib.metadata import entry_points

from smalti.codecs.classical.downscaled import FACTORS, Downscaled
from smalti.codecs.compressai_zoo.container import NAMES
from smalti.tokenizers.contracts import Codec
from smalti.tokenizers.errors import ModelError, UsageError

CODECS = {
    "jpeg": "smalti.codecs.classical.still:jpeg",
    "jpeg-420": "smalti.codecs.classical.still:jpeg_420",
    "jpeg-444": "smalti.codecs.classical.still:jpeg_444",
    "webp": "smalti.codecs.classical.still:webp",
    "avif": "smalti.codecs.classical.still:avif",
    "avif-420": "smalti.codecs.classical.still:avif_420",
    "avif-444": "smalti.codecs.classical.still:avif_444",
    "jpeg2000": "smalti.codecs.classical.still:jpeg2000",
    "jxl": "smalti.codecs.classical.jxl:Jxl",
    "hyperprior": "smalti.codecs.hyperprior.codec:load",
}

# learned ones that others trained, from checkpoints on this machine
ZOO_CODECS = {f"compressai-{name}": f"smalti.codecs.compressai_zoo.codec:{name.replace('-', '_')}" for name in NAMES}
SOUND_CODECS = {
    "opus": "smalti.codecs.classical.opus:Opus",
    "opus-audio": "smalti.codecs.classical.opus:opus_audio",
    "mp3": "smalti.codecs.classical.packets:mp3",
    "aac": "smalti.codecs.classical.packets:aac",
    "lyra": "smalti.codecs.classical.lyra:Lyra",
    "flac": "smalti.codecs.classical.flac:Flac",
}

# put together outside of this folder, since they join codecs with tokenizers
JOINED_CODECS = {
    "decimate-draco": "smalti.compare.decimated:DecimateDraco",
    **{f"tokens-{method}": f"smalti.compare.packed:tokens_{method}" for method in ("raw", "zlib", "bz2", "lzma", "zstd", "brotli")},
}
SHAPE_CODECS = {"draco": "smalti.codecs.classical.draco:Draco"}
VIDEO_CODECS = {
    "x264": "smalti.codecs.classical.video:x264",
    "x265": "smalti.codecs.classical.video:x265",
    "vp9": "smalti.codecs.classical.video:vp9",
    "svt-av1": "smalti.codecs.classical.video:svt_av1",
}


def known() -> dict[str, str]:
    """Ours and those of other distributions; a name of ours stays ours."""
    ours = CODECS | ZOO_CODECS | SOUND_CODECS | SHAPE_CODECS | VIDEO_CODECS | JOINED_CODECS
    return {point.name: point.value for point in entry_points(group="smalti.codecs")} | ours


def resolve(name: str) -> Codec:
    """The codec of a name; UsageError where nobody knows it, ModelError where it cannot be imported."""
    codecs = known()
    base, slash, factor = name.partition("/")
    if base not in codecs:
        near = difflib.get_close_matches(base, codecs, 1)
        raise UsageError(f"no codec {base!r}; " + (f"did you mean {near[0]!r}?" if near else f"known: {', '.join(codecs)}"))
    if slash and base in SOUND_CODECS | SHAPE_CODECS | JOINED_CODECS:
        kind = "sounds" if base in SOUND_CODECS else "tokens" if base.startswith("tokens-") else "shapes"
        raise UsageError(f"no codec {name!r}; pictures are shrunk, {kind} are not: {base!r}")
    if slash and factor not in map(str, FACTORS):
        raise UsageError(f"no codec {name!r}; pictures and films are shrunk by {' or '.join(f'{base}/{f}' for f in FACTORS)}")
    module, _, attribute = codecs[base].partition(":")
    try:
        factory = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ModelError(f"codec {base!r} cannot be imported from {codecs[base]}: {error}; install what it needs") from None
    if slash and base in VIDEO_CODECS:
        return factory(int(factor))  # shrinks frame by frame itself
    return Downscaled(factory(), int(factor)) if slash else factory()
