"""Settings that draw a codec's curve: at least five rates each, from the lowest that is of use upwards.

A comparison takes these unless its user names others. They are qualities of the codec's own scale, so every codec may differ from its
neighbours at each of them: rates are read off the files. Where a codec has fewer than five, it says why in `SHORT`.
"""

from __future__ import annotations

from dataclasses import dataclass

from smalti.codecs.registry import resolve
from smalti.tokenizers.contracts import Codec, Target
from smalti.tokenizers.errors import ModelError, UsageError


@dataclass(frozen=True)
class Setting:
    """label: how reports name it, unique within a codec."""

    label: str
    target: Target


LEAST = 5  # rates of a curve
QUALITIES: dict[str, tuple[float, ...]] = {
    "jpeg": (5, 10, 20, 35, 50, 75),
    "jpeg-420": (3, 8, 15, 30, 50, 75),
    "jpeg-444": (3, 8, 15, 30, 50, 75),
    "webp": (0.001, 5, 15, 35, 60, 80),
    "avif": (5, 20, 35, 45, 55, 70),
    "avif-420": (5, 20, 35, 45, 55, 70),
    "avif-444": (5, 20, 35, 45, 55, 70),
    "jpeg2000": (22, 28, 33, 38, 44, 52),
    "jxl": (0.001, 10, 25, 45, 65, 80),
    "hyperprior": (1, 21, 41, 60, 80, 100),
    "opus": (6, 9, 12, 16, 24, 32),
    "opus-audio": (6, 9, 12, 16, 24, 32),
    "mp3": (8, 16, 24, 32, 48, 64),
    "aac": (8, 12, 16, 24, 32, 48),
    "lyra": (1, 2, 3),
    "draco": (4, 6, 8, 10, 12, 14),
    "x264": (14, 20, 26, 32, 38, 44),
    "x265": (14, 20, 26, 32, 38, 44),
    "vp9": (1, 8, 16, 24, 32, 42),
    "svt-av1": (1, 8, 16, 24, 32, 42),
}
LOSSLESS = frozenset({"flac"})  # one file, no quality
SHORT = {
    "lyra": "its networks have three rates: 3.2, 6 and 9.2 kbps",
    "flac": "it loses nothing: one rate",
}


def ladder(name: str) -> list[Setting]:
    """The settings of a codec of the registry, ascending in rate; NAME/2 and NAME/4 have NAME's. Another distribution's codec may have a
    `ladder` of its own: pairs of label and target. UsageError for a name that nobody knows, and for codecs without."""
    base = name.partition("/")[0]
    if base in LOSSLESS:
        return [Setting("lossless", Target())]
    if base in QUALITIES:
        return [Setting(f"q{round(quality, 2):g}", Target(quality=quality)) for quality in QUALITIES[base]]
    own = getattr(resolve(name), "ladder", None)  # which says what is wrong with the name, if anything is
    if own:
        return [Setting(label, target) for label, target in own]
    raise UsageError(f"no ladder is known for codec {name!r}; name its settings yourself, say {name}@20,40,60,80")


def short(name: str) -> str | None:
    """Why a codec has fewer rates than a curve needs; None where it has enough."""
    return SHORT.get(name.partition("/")[0])


def absent(name: str) -> tuple[str, str] | None:
    """(why a codec of the registry cannot run here, what mends it); None where it can. UsageError for a name that nobody knows."""
    try:
        resolve(name)
    except ModelError as error:
        reason, colon, remedy = str(error).partition(": pip install ")
        return (reason, f"pip install {remedy}") if colon else (str(error), "put what it names where it says")
    return None


def version(codec: Codec) -> str:
    """Library and version of a codec, as reports and caches name it; empty where it does not tell."""
    return str(getattr(codec, "version", ""))
